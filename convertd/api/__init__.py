"""The HTTP APIs, one dialect a module."""
