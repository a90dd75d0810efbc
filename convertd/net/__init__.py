"""The way out: every request that convertd makes to an address that a client named."""
