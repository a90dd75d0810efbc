"""What a setting is: how it is declared on a field of a msgspec struct, read, checked and shown.

A field is ``Annotated[type, Meta(...)]``; :func:`size`, :func:`seconds`, :func:`count` and :func:`text` make
the ``Meta`` of the usual kinds. :mod:`convertd.config` declares the settings themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from convertd.units import DAY, GB, parse_duration, parse_size, show_duration, show_size

ENV_PREFIX: Final = "CONVERTD_"

_TYPE_NAMES: Final = {
    "size": "size",
    "duration": "duration",
    "integer": "integer",
    "boolean": "true or false",
    "text": "text",
    "address": "address",
    "list": "list of text",
    "path": "path",
}
_KINDS: Final[dict[Any, str]] = {
    bool: "boolean",
    int: "integer",
    str: "text",
    Path: "path",
    Literal: "choice",
    tuple: "list",
}
_BOOLEANS: Final = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(
    ("false", "no", "off", "0"), False
)


def size(description: str, *, ge: int = 1) -> Meta:
    """An ``int`` of bytes that may be written with a unit."""
    return Meta(description=description, ge=ge, le=1024 * 1024 * GB, extra={"kind": "size"})


def seconds(description: str, *, ge: float = 0.001) -> Meta:
    """A ``float`` of seconds that may be written with units."""
    return Meta(description=description, ge=ge, le=3650 * DAY, extra={"kind": "duration"})


def count(description: str, *, ge: int = 1, le: int = 10**12) -> Meta:
    """A whole number."""
    return Meta(description=description, ge=ge, le=le)


def text(
    description: str,
    *,
    allowed: str | None = None,
    kind: str | None = None,
    secret: bool = False,
    check: Callable[[str], object] | None = None,
) -> Meta:
    """Text or a list of it; ``allowed`` says what is, ``secret`` keeps the value out of every message.

    ``check`` raises ValueError for an entry of a list that is not allowed.
    """
    extra = {"allowed": allowed, "kind": kind, "secret": secret, "check": check}
    return Meta(description=description, extra=extra)


class WrongEntry(ValueError):
    """One entry of a list is not allowed; the argument is that entry."""


class Setting(NamedTuple):
    """One declared setting; everything shown or read about it comes from here."""

    section: str
    name: str
    annotation: Any
    default: Any

    @property
    def key(self) -> str:
        """``section.name``, or the bare name of a top-level setting."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def env(self) -> str:
        """Name of the environment variable."""
        return ENV_PREFIX + self.key.replace(".", "_").upper()

    @property
    def flag(self) -> str:
        """Name of the command-line flag."""
        return "--" + self.key.replace(".", "-").replace("_", "-")

    @property
    def meta(self) -> Meta:
        """Description and range."""
        return next(item for item in self.annotation.__metadata__ if isinstance(item, Meta))

    @property
    def description(self) -> str:
        """One sentence."""
        return self.meta.description or ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed words of a choice."""
        return get_args(get_args(self.annotation)[0]) if self.kind == "choice" else ()

    @property
    def secret(self) -> bool:
        """Whether the value must not be shown."""
        return bool((self.meta.extra or {}).get("secret"))

    @property
    def kind(self) -> str:
        """size, duration, integer, boolean, text, address, list, path or choice."""
        bare = get_args(self.annotation)[0]
        return (self.meta.extra or {}).get("kind") or _KINDS[get_origin(bare) or bare]

    @property
    def type_name(self) -> str:
        """The type as the documentation names it."""
        return f"one of {', '.join(self.choices)}" if self.choices else _TYPE_NAMES[self.kind]

    @property
    def allowed(self) -> str:
        """What may be given, to finish the sentence "give …"."""
        match self.kind:
            case "size":
                return f"a size such as 500MB or 2GiB, {self._span}"
            case "duration":
                return f"a duration such as 90s, 1h30m or 7d, {self._span}"
            case "integer":
                return f"a whole number {self._span}"
        return (self.meta.extra or {}).get("allowed") or self.type_name

    @property
    def _span(self) -> str:
        return f"from {self.show(self.meta.ge)} to {self.show(self.meta.le)}"

    def parse(self, value: Any) -> Any:
        """``value``, text or typed, in the setting's type and range; ValueError if it does not fit."""
        plain = self._from_text(value.strip()) if isinstance(value, str) else self._from_typed(value)
        try:
            value = msgspec.convert(plain, self.annotation, strict=True)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None
        if check := (self.meta.extra or {}).get("check"):
            for entry in value:
                _checked(entry, check)
        return value

    def show(self, value: Any) -> str:
        """A valid value as a person would write it."""
        match self.kind:
            case "size":
                return show_size(value)
            case "duration":
                return show_duration(value)
            case "boolean":
                return str(value).lower()
            case "list":
                return ", ".join(value)
        return str(value)

    def toml(self) -> str:
        """The default as a TOML value."""
        shown = self.show(self.default)
        if self.kind in ("integer", "boolean"):
            return shown
        return str(list(self.default)).replace("'", '"') if self.kind == "list" else f'"{shown}"'

    def _from_text(self, given: str) -> Any:
        match self.kind:
            case "size":
                return parse_size(given)
            case "duration":
                return parse_duration(given)
            case "integer":
                return int(given)
            case "boolean" if given.lower() in _BOOLEANS:
                return _BOOLEANS[given.lower()]
            case "list":
                return tuple(part.strip() for part in given.split(",") if part.strip())
            case "path" if given:
                return Path(given).expanduser()
            case "address" if given:
                return _web_address(given)
        return given

    def _from_typed(self, given: Any) -> Any:
        if self.kind == "duration" and type(given) is int:
            return float(given)
        if self.kind == "list" and isinstance(given, list | tuple):
            return tuple(given)
        return given


def _checked(entry: str, check: Callable[[str], object]) -> None:
    try:
        check(entry)
    except ValueError:
        raise WrongEntry(entry) from None


def _web_address(given: str) -> str:
    url = urlsplit(given)
    plain = not (url.query or url.fragment or "@" in url.netloc or re.search(r"[\s\\\"<>]", given))
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0 or not plain:
        raise ValueError(given)
    return given.rstrip("/")
