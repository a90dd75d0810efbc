"""Pipelyn's API: one picture or video, made smaller by a preset."""

from convertd.api.pipelyn.dialect import PipelynDialect

__all__ = ["PipelynDialect"]
