"""What the head of an answer says, and the beginning of its body as text."""

from __future__ import annotations

import re
from email.message import Message
from email.utils import collapse_rfc2231_value, parsedate_to_datetime
from typing import Final

from yarl import URL

_NAMELESS: Final = "download"
_NAME_LENGTH: Final = 255


def file_name(disposition: str | None, url: URL) -> str:
    """The name that ``Content-Disposition`` gives, else the end of the URL's path; one printable part."""
    for name in (_disposed(disposition or ""), url.path):
        last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
        printable = "".join(char for char in last if char.isprintable()).strip()
        if printable.strip("."):
            return printable[-_NAME_LENGTH:]
    return _NAMELESS


def _disposed(header: str) -> str:
    """``filename*`` (RFC 8187) before ``filename``; empty if neither can be read."""
    message = Message()
    message["Content-Disposition"] = _readable(header)
    try:
        # The extended form comes after the plain one, whatever their order in the header.
        parameters = dict(message.get_params([], header="Content-Disposition"))
        return collapse_rfc2231_value(parameters.get("filename", "")).strip('" ')
    except ValueError:  # numbered beyond all reason, or in an encoding that cannot be read
        return ""


def _readable(header: str) -> str:
    """Bytes that are not UTF-8 were kept as surrogates: servers that send them mean Latin-1."""
    raw = header.encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def retry_after(header: str | None, *, now: float) -> float | None:
    """Seconds to wait, from ``Retry-After`` as seconds or as a date; ``None`` if it is neither."""
    header = (header or "").strip()
    if re.fullmatch(r"\d{1,100}", header, re.ASCII):
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def beginning(body: bytes, *, length: int) -> str:
    """At most ``length`` printable characters, runs of others as one blank."""
    words = "".join(char if char.isprintable() else " " for char in body.decode(errors="replace")).split()
    return " ".join(words)[:length]
