"""Jobs: the service that moves them and the stores that keep them."""
