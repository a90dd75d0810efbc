"""Sending what is owed to callbacks."""
