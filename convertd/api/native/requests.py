"""Reading a request of the native API: three shapes, one meaning."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from convertd.api.dialect import check_secret
from convertd.engines.base import Fidelity
from convertd.engines.registry import Registry
from convertd.errors import InvalidRequest
from convertd.jobs.submission import TaskRequest, check_operation
from convertd.model.formats import Format, known_format
from convertd.model.operations import CONVERT

FILE_PART: Final = "file"
FORMATS_LISTED: Final = "GET /formats lists what converts into what."
_URL_FIELD: Final = "source_url"
MAX_WAIT: Final = 30.0

JSON_BYTES: Final = 1024 * 1024
_SHOWN: Final = 40
"""Characters of a client's name that an error repeats."""
_METADATA_BYTES: Final = 8 * 1024
_ONCE: Final = (
    *("operation", "source", "min_fidelity", "metadata", "options", "filename", "archive"),
    *("callback_url", "callback_secret"),
)

Fields = Sequence[tuple[str, Any]]
"""The request's fields in order: texts of a form or query, values of any type from JSON."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, but for the files."""

    operation: str
    targets: tuple[str | None, ...]
    source: str | None
    min_fidelity: Fidelity
    options: dict[str, Any]
    metadata: dict[str, Any]
    source_urls: tuple[str, ...]
    callback_url: str | None
    callback_secret: str | None
    archive: bool
    """Whether all outputs are offered as one ZIP, too."""

    def tasks(self, files: int, most: int, *, gathered: bool) -> tuple[TaskRequest, ...]:
        """Every file times every target, or all files together to every target."""
        groups = (tuple(range(files)),) if gathered else tuple((index,) for index in range(files))
        count = len(groups) * len(self.targets)
        if count > most:
            raise InvalidRequest(
                f"{files} files to {len(self.targets)} formats are {count} tasks; a job has at most {most}.",
                field="to",
            )
        return tuple(
            TaskRequest(
                inputs=group,
                operation=self.operation,
                target=target,
                options=self.options,
                min_fidelity=self.min_fidelity,
            )
            for group in groups
            for target in self.targets
        )


def read_fields(registry: Registry, fields: Fields) -> Wanted:
    """Check what can be checked before the files are there; raises :class:`InvalidRequest`."""
    if any(name == FILE_PART for name, _ in fields):
        raise InvalidRequest(
            "'file' takes the file itself: as a part of a form, or as the body.", field=FILE_PART
        )
    single = _once(fields)
    options = _options(fields, single)
    _check_names(registry, options)
    operation = _text(single, "operation") or CONVERT
    check_operation(registry, operation)
    url, secret = _text(single, "callback_url"), _text(single, "callback_secret")
    check_secret(url, secret, field="callback_url", key_field="callback_secret")
    source = _text(single, "source")
    if source is not None:
        format_named(source, field="source")
    return Wanted(
        operation=operation,
        targets=_targets(value for name, value in fields if name == "to"),
        source=source,
        min_fidelity=_fidelity(_text(single, "min_fidelity")),
        options=options,
        metadata=_object(single, "metadata", _METADATA_BYTES),
        source_urls=_source_urls(value for name, value in fields if name == _URL_FIELD),
        callback_url=url,
        callback_secret=secret,
        archive=_flag(single, "archive"),
    )


def _once(fields: Fields) -> dict[str, Any]:
    """The fields that may be given once."""
    single: dict[str, Any] = {}
    for name, value in fields:
        if name in _ONCE:
            if name in single:
                raise InvalidRequest(f"{name!r} is given more than once.", field=name)
            single[name] = value
    return single


def _text(single: dict[str, Any], name: str) -> str | None:
    value = single.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name!r} takes text.", field=name)
    return value or None


_FLAGS: Final = {"true": True, "1": True, "false": False, "0": False, "": False}


def _flag(single: dict[str, Any], name: str) -> bool:
    value = single.get(name, False)
    known = value if isinstance(value, bool) else _FLAGS.get(value.lower() if isinstance(value, str) else "?")
    if known is None:
        raise InvalidRequest(f"{name!r} is true or false.", field=name)
    return known


def _targets(values: Iterable[Any]) -> tuple[str | None, ...]:
    """Canonical target names in order, each once; ``(None,)`` where the operation's default is wanted."""
    words: list[str] = []
    for value in values:
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, str):
                raise InvalidRequest("'to' takes the name of a format, or a list of them.", field="to")
            words += [word for word in item.split(",") if word.strip()]
    names = dict.fromkeys(format_named(word, field="to").name for word in words)
    return tuple(names) or (None,)


def format_named(word: str, *, field: str) -> Format:
    """The format; raises :class:`InvalidRequest` that says where all are listed."""
    try:
        return known_format(word, field=field)
    except InvalidRequest as error:
        raise InvalidRequest(f"{error.message} {FORMATS_LISTED}", field=field) from error


def _source_urls(values: Iterable[Any]) -> tuple[str, ...]:
    urls = [url for value in values for url in (value if isinstance(value, list) else [value])]
    if not all(isinstance(url, str) and url for url in urls):
        raise InvalidRequest("'source_url' takes an address, or a list of them.", field=_URL_FIELD)
    return tuple(urls)


def _fidelity(word: str | None) -> Fidelity:
    try:
        return Fidelity(word) if word is not None else Fidelity.TEXT_ONLY
    except ValueError:
        allowed = ", ".join(fidelity.value for fidelity in Fidelity)
        raise InvalidRequest(f"'min_fidelity' is one of {allowed}.", field="min_fidelity") from None


def _options(fields: Fields, single: dict[str, Any]) -> dict[str, Any]:
    """Options given one by one, and those of the ``options`` object."""
    options = _object(single, "options", JSON_BYTES)
    for name, value in fields:
        if name in (*_ONCE, "to", _URL_FIELD):
            continue
        if name in options:
            raise InvalidRequest(f"Option {name!r} is given more than once.", field=name)
        options[name] = value
    return options


def _check_names(registry: Registry, options: Iterable[str]) -> None:
    """A name that no operation knows is told before all else: it may be the missing field, misspelt."""
    known = {*_ONCE, "to", _URL_FIELD, FILE_PART, *registry.option_names}
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name[:_SHOWN], sorted(known), n=1)
            hint = f"did you mean {close[0]!r}?" if close else "GET /formats lists the options."
            raise InvalidRequest(
                f"There is no field or option {name[:_SHOWN]!r}; {hint}", field=name[:_SHOWN]
            )


def check_parameters(request: web.Request, *allowed: str) -> None:
    """Refuse a query that holds any other parameter than these; raises :class:`InvalidRequest`."""
    for name in request.query:
        if name not in allowed:
            takes = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
            raise InvalidRequest(f"Unknown parameter {name[:_SHOWN]!r}; {takes}.", field=name[:_SHOWN])


def _object(single: dict[str, Any], name: str, most: int) -> dict[str, Any]:
    value = single.get(name)
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        if len(value) > most:
            raise InvalidRequest(f"{name!r} is longer than {most} characters.", field=name)
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name!r} takes a JSON object.", field=name)
    if len(msgspec.json.encode(value)) > most:
        raise InvalidRequest(f"{name!r} is longer than {most} bytes.", field=name)
    return value


def query_fields(request: web.Request) -> Fields:
    """The fields of the query."""
    return list(request.query.items())


def is_json(request: web.Request) -> bool:
    """Whether the body is a request in JSON: it says so, and the query does not make it a raw file."""
    return request.content_type == "application/json" and "to" not in request.query


def is_multipart(request: web.Request) -> bool:
    """Whether the body is a form with files."""
    return request.content_type == "multipart/form-data"


def is_urlencoded(request: web.Request) -> bool:
    """Whether the body is a form that cannot hold a file (curl ``-d``, not ``-F``)."""
    return request.content_type == "application/x-www-form-urlencoded" and not request.query


_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?", re.IGNORECASE)


def preferred_wait(request: web.Request) -> float | None:
    """Seconds of ``Prefer: wait=N`` (RFC 7240), at most 30; ``None`` where it is absent or not understood."""
    match = _WAIT.search(",".join(request.headers.getall("Prefer", ())))
    return min(float(match[1]), MAX_WAIT) if match else None
