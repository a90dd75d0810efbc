"""ToolkitAPI's Convert API: files by their addresses, answered inline or by a job to poll."""

from convertd.api.toolkitapi.dialect import ToolkitDialect

__all__ = ["ToolkitDialect"]
