"""The fields of a request: texts that mean words, numbers, or a list with a value for each file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from convertd.api.reception import Desk
from convertd.errors import InvalidRequest
from convertd.web.forms import plain_name
from convertd.web.objects import json_object

FILE_PARTS: Final = ("files", "file")
JSON_BYTES: Final = 1024 * 1024

_YES: Final = ("true", "1", "on", "yes")
_NO: Final = ("false", "0", "off", "no")

Pairs = Sequence[tuple[str, str]]


async def read_pairs(request: web.Request, desk: Desk, *, files: Sequence[str]) -> Pairs:
    """The request's text fields, its files stored: of a form or, without files, of JSON."""
    if request.content_type == "application/json":
        return _of_json(await desk.text(limit=JSON_BYTES))
    if request.content_type == "application/x-www-form-urlencoded":
        body = await desk.text(limit=JSON_BYTES)
        return parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
    if not request.content_type.startswith("multipart/"):
        raise InvalidRequest(
            f"Send a form (multipart/form-data) with the files as its part '{files[0]}'.", field=files[0]
        )
    return await desk.form(files=files)


def _of_json(body: bytes) -> Pairs:
    return [(name, _text(value)) for name, value in json_object(body).items() if value is not None]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


class Fields:
    """What a request asks for; a field without text counts as absent."""

    def __init__(self, pairs: Pairs) -> None:
        """Names may carry an index, as PHP writes those of a list: ``formats[0]``."""
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if value.strip():
                self._values.setdefault(plain_name(name), []).append(value)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def all(self, name: str) -> Sequence[str]:
        """Every value of a field that may be repeated."""
        return self._values.get(name, ())

    def text(self, name: str) -> str | None:
        """The value of a field that is given once."""
        values = self.all(name)
        if len(values) > 1:
            raise InvalidRequest(f"'{name}' is given more than once.", field=name)
        return values[0] if values else None

    def word(self, name: str, allowed: Sequence[str]) -> str | None:
        """One of a few words."""
        return checked_word(name, self.text(name), allowed)

    def flag(self, name: str) -> bool | None:
        """True or false."""
        return checked_flag(name, self.text(name))

    def integer(self, name: str, low: int, high: int) -> int | None:
        """A whole number."""
        return checked_integer(name, self.text(name), low, high)

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number."""
        return checked_number(name, self.text(name), low, high)

    def each(self, single: str, plural: str, files: int) -> list[str | None]:
        """A value for each file: one for all, or as many as files, in a JSON array or by repetition."""
        name = plural if plural in self else single
        given = self.all(name)
        values = [item for text in given for item in _items(name, text)]
        if not values:
            return [None] * files
        if len(given) == 1 and not _is_array(given[0]):
            return values * files
        if len(values) != files:
            raise InvalidRequest(
                f"'{name}' has {len(values)} values for {files} files; send one value per file, "
                f"or one '{single}' for all.",
                field=name,
            )
        return values


def _is_array(text: str) -> bool:
    return text.lstrip().startswith("[")


def _items(name: str, text: str) -> Iterable[str | None]:
    """The members of a JSON array as texts, or the text itself."""
    if not _is_array(text):
        return (text,)
    try:
        items = msgspec.json.decode(text, type=list[str | int | float | bool | None])
    except (msgspec.MsgspecError, RecursionError):
        raise InvalidRequest(
            f"'{name}' takes a JSON array with one value per file, or a single value.", field=name
        ) from None
    return [None if item is None else _text(item).strip() or None for item in items]


def checked_word(name: str, text: str | None, allowed: Sequence[str]) -> str | None:
    """``text`` in lower case; raises :class:`InvalidRequest` where it is none of ``allowed``."""
    if text is None:
        return None
    if text.strip().lower() in allowed:
        return text.strip().lower()
    raise InvalidRequest(f"'{name}' is one of {', '.join(allowed)}, not {text[:40]!r}.", field=name)


def checked_flag(name: str, text: str | None) -> bool | None:
    """What a word of yes or no means; raises :class:`InvalidRequest` for another."""
    if text is None:
        return None
    word = text.strip().lower()
    if word not in (*_YES, *_NO):
        raise InvalidRequest(f"'{name}' is true or false, not {text[:40]!r}.", field=name)
    return word in _YES


def checked_integer(name: str, text: str | None, low: int, high: int) -> int | None:
    """The whole number that ``text`` is; raises :class:`InvalidRequest`."""
    number = checked_number(name, text, low, high)
    if number is None:
        return None
    if number != int(number):
        raise InvalidRequest(f"'{name}' is a whole number, not {text}.", field=name)
    return int(number)


def checked_number(name: str, text: str | None, low: float, high: float) -> float | None:
    """The number that ``text`` is; raises :class:`InvalidRequest`."""
    if text is None:
        return None
    if re.fullmatch(r"\s*-?\d{1,12}(\.\d{1,12})?\s*", text, re.ASCII) and low <= float(text) <= high:
        return float(text)
    raise InvalidRequest(f"'{name}' is a number from {low} to {high}, not {text[:40]!r}.", field=name)
