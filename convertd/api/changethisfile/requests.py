"""Reading a request: the file as the body with its fields in the query, or a form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from convertd.engines.registry import Registry
from convertd.errors import InvalidRequest, UnsupportedFormat
from convertd.jobs.submission import TaskRequest
from convertd.model.formats import Format, find_format
from convertd.model.job import Artifact
from convertd.model.operations import CONVERT
from convertd.web import idempotency
from convertd.web.objects import json_object
from convertd.web.queries import whole_number

FILE_PART: Final = "file"
JSON_BYTES: Final = 64 * 1024

_METADATA_BYTES: Final = 8 * 1024
_KEY: Final = re.compile(r"[A-Za-z0-9._:+/-]{1,128}", re.ASCII)
_BOUNDARY: Final = re.compile(r";\s*boundary\s*=\s*[^\s;]", re.IGNORECASE)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, but for the file."""

    target: str
    source: str | None
    quality: int | None
    filename: str
    """Empty where the request tells none; stands before the name of the form's file."""
    webhook_url: str | None
    metadata: dict[str, Any]


def key_of(request: web.Request) -> str | None:
    """The idempotency key; raises :class:`InvalidRequest` for characters that the service does not take."""
    key = request.headers.get(idempotency.HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"{idempotency.HEADER} takes 1 to 128 characters of A-Z a-z 0-9 . _ - : + /",
            field=idempotency.HEADER,
        )
    return key


def is_form(request: web.Request) -> bool:
    """Whether the body is a form; whatever else it says it is, it is the file."""
    header = request.headers.get("Content-Type", "")
    return request.content_type == "multipart/form-data" and _BOUNDARY.search(header) is not None


def read_fields(fields: Iterable[tuple[str, str]]) -> Wanted:
    """Check what can be checked without the file. Empty fields count as absent, unknown ones for nothing.

    Raises :class:`InvalidRequest` and, for formats that nobody knows, :class:`UnsupportedFormat`.
    """
    given = {name: value.strip() for name, value in fields if value.strip()}
    if "target" not in given:
        raise InvalidRequest(
            "'target' is missing: the format to convert to, such as target=webp.", field="target"
        )
    source = given.get("source")
    return Wanted(
        target=_format(given["target"], "target").name,
        source=_format(source, "source").name if source is not None else None,
        quality=_quality(given),
        filename=given.get("filename", ""),
        webhook_url=given.get("webhook_url"),
        metadata=_metadata(given),
    )


def _format(word: str, field: str) -> Format:
    found = find_format(word)
    if found is None:
        raise UnsupportedFormat(f"{field} {word[:40]!r} is no format that this server knows.", field=field)
    return found


def _quality(given: Mapping[str, str]) -> int | None:
    text = given.get("quality")
    return None if text is None else whole_number(text, "quality", least=1, most=100)


def _metadata(given: Mapping[str, str]) -> dict[str, Any]:
    text = given.get("webhook_metadata", "{}")
    if len(text.encode()) > _METADATA_BYTES:
        raise InvalidRequest(
            f"'webhook_metadata' is longer than {_METADATA_BYTES} bytes.", field="webhook_metadata"
        )
    return json_object(text.encode(), "'webhook_metadata'", field="webhook_metadata")


def task_of(registry: Registry, media: Artifact, wanted: Wanted) -> TaskRequest:
    """The conversion; a quality is passed on where the route has one.

    Raises :class:`UnsupportedFormat` and :class:`~convertd.errors.EngineMissing`.
    """
    plan = registry.plan(CONVERT, media.format, wanted.target)
    chosen = {"quality": wanted.quality} if wanted.quality is not None else {}
    options = {name: value for name, value in chosen.items() if name in plan.option_names}
    return TaskRequest(inputs=(0,), operation=CONVERT, target=wanted.target, options=options)
