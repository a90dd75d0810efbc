"""Engines: one module each; the registry finds them by listing this package."""
