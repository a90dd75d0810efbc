"""Sizes and durations as people write them.

A kilobyte is 1024 bytes here, whether written kB or KiB, and so on up.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

MB: Final = 1024**2
GB: Final = 1024**3
MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) *(?:([kmgt])i?)?b?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,6})?(?:ms|[smhdw]) *)+", re.IGNORECASE | re.ASCII)
_DURATION_PART = re.compile(r"([\d.]+)(ms|[smhdw])", re.IGNORECASE | re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}


def parse_size(text: str) -> int:
    """Bytes of ``500MB``, ``2GiB``, ``1.5g`` or ``1048576``; ValueError otherwise."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    exponent = "kmgt".index(match[2].lower()) + 1 if match[2] else 0
    return int(Decimal(match[1]) * 1024**exponent)


def parse_duration(text: str) -> float:
    """Seconds of ``24h``, ``1h30m``, ``90s``, ``7d``, ``250ms`` or a bare ``15``. ValueError otherwise."""
    text = text.strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text, re.ASCII):
        return float(text)
    if not _DURATION.fullmatch(text):
        raise ValueError(text)
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in _DURATION_PART.findall(text))


def show_size(value: int) -> str:
    """The shortest exact form that :func:`parse_size` reads back."""
    for unit in ("B", "kB", "MB", "GB"):
        if value == 0 or value % 1024:
            return f"{value}{unit}"
        value //= 1024
    return f"{value}TB"


def show_duration(value: float) -> str:
    """A form that :func:`parse_duration` reads back; days only from two whole ones."""
    if value >= 2 * DAY and value % DAY == 0:
        return f"{value / DAY:g}d"
    hours, rest = divmod(value, HOUR)
    minutes, seconds = divmod(rest, MINUTE)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number:g}{unit}" for number, unit in parts if number) or "0s"
