"""Convertly's API: its paths, words, errors and callbacks."""

from convertd.api.convertly.dialect import ConvertlyDialect

__all__ = ["ConvertlyDialect"]
