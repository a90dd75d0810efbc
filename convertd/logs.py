"""Logging to standard error: lines for people, or one JSON object a line."""

from __future__ import annotations

import datetime
import logging

import msgspec
from aiohttp.web import RequestPayloadError

from convertd.config import Log


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry).decode()


class _TextFormatter(logging.Formatter):
    """One entry a line; the further lines of a traceback are indented.

    What a client sent can thus neither pass for an entry nor steer the reader's terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(map(_visible, super().format(record).split("\n")))


def _visible(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def _no_fault_of_ours(record: logging.LogRecord) -> bool:
    """Keeps out what aiohttp says of a malformed body that it met again after the answer was given."""
    return record.exc_info is None or not isinstance(record.exc_info[1], RequestPayloadError)


def configure(settings: Log) -> None:
    """Set up the root logger; libraries speak from warning upwards."""
    handler = logging.StreamHandler()
    text = _TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if settings.format == "json" else text)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("aiohttp.server").addFilter(_no_fault_of_ours)
    logging.getLogger("convertd").setLevel(settings.level.upper())
