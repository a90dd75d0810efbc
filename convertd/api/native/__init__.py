"""convertd's own API: JSON, snake_case, RFC 3339 times in UTC, sizes in bytes, durations in seconds."""

from convertd.api.native.dialect import NativeDialect

__all__ = ["NativeDialect"]
