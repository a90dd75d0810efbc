"""Running engine calls in child processes that can hurt nobody."""
