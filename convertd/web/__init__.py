"""HTTP plumbing that all dialects share."""
