"""ChangeThisFile's API: one file to one format, at once or as a job."""

from convertd.api.changethisfile.dialect import ChangeThisFileDialect

__all__ = ["ChangeThisFileDialect"]
