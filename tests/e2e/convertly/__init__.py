"""Convertly through the client that its documentation shows."""
