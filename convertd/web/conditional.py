"""Preconditions and ranges of RFC 9110 (sections 13 and 14)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

_ETAG = re.compile(r'(W/)?"([^"]*)"')
# A number of more than 18 digits is no position in any file.
_RANGE = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """What is asked for: ``etag`` without quotes; ``last_modified`` in whole seconds since 1970."""

    size: int
    etag: str
    last_modified: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """``status`` is 200, 206, 304, 412 or 416; ``start`` and ``count`` say which bytes 200 and 206 send."""

    status: HTTPStatus
    start: int = 0
    count: int = 0


NOT_MODIFIED: Final = Answer(status=HTTPStatus.NOT_MODIFIED)
PRECONDITION_FAILED: Final = Answer(status=HTTPStatus.PRECONDITION_FAILED)
UNSATISFIABLE: Final = Answer(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)


def answer(request: web.Request, file: File) -> Answer:
    """How a GET or HEAD for ``file`` is to be answered, in the order of RFC 9110 section 13.2.2.

    A range that is malformed, of another unit or one of several is ignored, as the RFC allows.
    """
    whole = Answer(status=HTTPStatus.OK, count=file.size)
    if not _may_proceed(request, file):
        return PRECONDITION_FAILED
    if _is_unchanged(request, file):
        return NOT_MODIFIED
    ranges = request.headers.getall(hdrs.RANGE, [])
    if request.method != hdrs.METH_GET or len(ranges) != 1 or not _range_applies(request, file):
        return whole
    return _part(ranges[0], file.size) or whole


def client_holds(request: web.BaseRequest, fits: Callable[[str], bool]) -> bool | None:
    """Whether ``If-None-Match`` names a tag that fits, by weak comparison; ``None`` without such a header.

    Tags are handed over without their quotes; ``*`` fits always.
    """
    held = request.headers.getall(hdrs.IF_NONE_MATCH, None)
    if held is None:
        return None
    return _is_any(held) or any(fits(tag) for _, tag in _tags(held))


def _may_proceed(request: web.Request, file: File) -> bool:
    wanted = request.headers.getall(hdrs.IF_MATCH, None)
    if wanted is not None:
        return _is_any(wanted) or any(tag == file.etag and not weak for weak, tag in _tags(wanted))
    since = request.if_unmodified_since
    return since is None or file.last_modified is None or file.last_modified <= since.timestamp()


def _is_unchanged(request: web.Request, file: File) -> bool:
    holds = client_holds(request, file.etag.__eq__)
    if holds is not None:
        return holds
    since = request.if_modified_since
    return since is not None and file.last_modified is not None and file.last_modified <= since.timestamp()


def _range_applies(request: web.Request, file: File) -> bool:
    """If-Range: the file must be exactly the one that the client has a part of."""
    given = request.headers.getall(hdrs.IF_RANGE, None)
    if given is None:
        return True
    if len(given) == 1 and '"' not in given[0]:
        date = request.if_range
        return date is not None and date.timestamp() == file.last_modified
    return [text.strip() for text in given] == [f'"{file.etag}"']


def _part(text: str, size: int) -> Answer | None:
    match = _RANGE.fullmatch(text.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
        if size == 0 and int(last):
            return None
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        return UNSATISFIABLE
    return Answer(status=HTTPStatus.PARTIAL_CONTENT, start=start, count=end - start)


def _is_any(values: list[str]) -> bool:
    return ",".join(values).strip() == "*"


def _tags(values: list[str]) -> list[tuple[str, str]]:
    """Each tag of a list, after its mark of weakness."""
    return _ETAG.findall(",".join(values))
