"""What a request asks for: the fields of a JSON body or of a query, in either spelling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from convertd.api.toolkitapi.endpoints import Endpoint, check_source
from convertd.engines.registry import Registry
from convertd.errors import EngineMissing, InvalidRequest, UnsupportedFormat
from convertd.model.formats import FORMATS, Family, find_format, format_of_name
from convertd.web.uploads import clean_name

URL: Final = "url"
_SOURCES: Final = ("source_format", "from_format")
_TARGETS: Final = ("target_format", "to_format")
_INLINE: Final = ("data", "content")
_FILENAME: Final = "filename"
_PAGES: Final = "pages"
"""Text, such as ``1-3,7``; of one page, clients send the number."""

_PICTURES: Final = frozenset(name for name, fmt in FORMATS.items() if fmt.family is Family.PICTURE)
_SHEETS: Final = frozenset(name for name, fmt in FORMATS.items() if fmt.family is Family.SPREADSHEET)
_CSV: Final = frozenset(("csv",))
_XML: Final = frozenset(("xml",))
_MD: Final = frozenset(("md",))
_TXT: Final = frozenset(("txt",))

_OPTIONS: Final[Mapping[str, tuple[frozenset[str], Any]]] = {
    "dpi": (_PICTURES, ""),
    "page_size": (frozenset(("html",)), ""),
    "title": (frozenset(("epub",)), ""),
    "author": (frozenset(("epub",)), ""),
    "sheet_name": (_SHEETS, ""),
    "delimiter": (_CSV, ","),
    "include_header": (_CSV, True),
    "has_header": (_CSV, True),
    "skip_rows": (_CSV, 0),
    "root_element": (_XML, ""),
    "pretty": (_XML | {"json"}, ""),
    "strip_namespaces": (_XML, False),
    "flow_style": (frozenset(), ""),
    "gfm": (_MD, True),
    "sanitize": (frozenset(("html",)), False),
    "preserve_links": (_TXT, True),
    "preserve_tables": (_TXT, True),
}
"""Documented options: which formats each is about, and the value that asks for nothing."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be met, but for what its file turns out to be."""

    url: str | None
    inline: bytes | None
    inline_field: str
    source: str | None
    source_field: str
    target: str
    target_field: str
    filename: str | None
    given: dict[str, Any]
    """Its options, as they came."""

    def check_route(self, registry: Registry, endpoint: Endpoint, source: str) -> dict[str, Any]:
        """The options for the route, those left out that the service would pass over as well.

        Refuses what the endpoint does not take, and what no engine makes or not with these options. Raises
        :class:`UnsupportedFormat`, :class:`EngineMissing` and :class:`InvalidRequest`, which name a field.
        """
        check_source(endpoint, source, field=self.source_field)
        try:
            plan = registry.plan(endpoint.operation, source, self.target)
        except EngineMissing as error:
            raise EngineMissing(error.message, field=self.target_field) from error
        except UnsupportedFormat as error:
            raise UnsupportedFormat(
                f"convertd has no engine that makes {self.target} of {source}; "
                f"{_possible(registry.targets(endpoint.operation, source))}.",
                field=self.target_field,
            ) from error
        ends = {source, self.target}
        options = {
            name: value
            for name, value in self.given.items()
            if (name in plan.option_names or name in _OPTIONS) and not _idle(name, value, ends)
        }
        for name in options:
            if name not in plan.option_names:
                raise InvalidRequest(
                    f"{name!r} is not supported: no engine of this server can do as it says; leave it out.",
                    field=name,
                )
        plan.parse_options(options)
        return options

    def output_name(self) -> str | None:
        """The file name that the result shall have, with the target's extension."""
        if self.filename is None:
            return None
        name = clean_name(self.filename)
        claimed = format_of_name(name)
        if claimed is not None and claimed.name == self.target:
            return name
        return f"{name}.{FORMATS[self.target].extensions[0]}"


def _possible(targets: Sequence[str]) -> str:
    return f"it makes {', '.join(targets)}" if targets else "GET /v1/convert/formats lists what it converts"


def _idle(name: str, value: Any, ends: Iterable[str]) -> bool:
    """Whether the option asks for nothing here: it has the usual value, or is about other formats."""
    if name not in _OPTIONS:
        return False
    about, usual = _OPTIONS[name]
    return about.isdisjoint(ends) or str(value).lower() == str(usual).lower()


def read(endpoint: Endpoint, fields: Mapping[str, Any]) -> Wanted:
    """Check what can be checked without the file; raises errors that name the request's own field."""
    left = {name: value for name, value in fields.items() if value is not None and value != ""}
    source, source_field = _take(left, _SOURCES, endpoint.source_field)
    targets = dict.fromkeys((*_TARGETS, endpoint.target_field))
    target, target_field = _take(left, tuple(targets), endpoint.target_field)
    url, _ = _take(left, (URL,), URL)
    filename, _ = _take(left, (_FILENAME,), _FILENAME)
    if type(left.get(_PAGES)) is int:
        left[_PAGES] = str(left[_PAGES])
    inline_field, inline = _take_inline(left) if endpoint.inline else (URL, None)
    if (url is None) == (inline is None):
        raise InvalidRequest(_how_to_send(endpoint), field=URL)
    if source is None and inline is not None:
        raise InvalidRequest(
            f"{source_field!r} is missing: the format of {inline_field!r}.", field=source_field
        )
    if target is None and endpoint.target is None:
        raise InvalidRequest(f"{target_field!r} is missing: the format to convert to.", field=target_field)
    source = None if source is None else _format(source, source_field)
    return Wanted(
        url=url,
        inline=_stored(inline, inline_field, source),
        inline_field=inline_field,
        source=source,
        source_field=source_field,
        target=_format(target or endpoint.target or "", target_field),
        target_field=target_field,
        filename=filename,
        given=left,
    )


def _take(left: dict[str, Any], names: tuple[str, ...], usual: str) -> tuple[str | None, str]:
    """The text under one of the names, taken out of ``left``, and the name that was used."""
    given = [name for name in names if name in left]
    values = [left.pop(name) for name in given]
    for name, value in zip(given, values, strict=True):
        if not isinstance(value, str):
            raise InvalidRequest(f"{name!r} takes text.", field=name)
        if value != values[0]:
            raise InvalidRequest(f"{given[0]!r} and {name!r} mean the same; send one of them.", field=name)
    return (values[0], given[0]) if given else (None, usual)


def _take_inline(left: dict[str, Any]) -> tuple[str, Any]:
    """The source that stands in the request, and the name of its field."""
    given = [name for name in _INLINE if name in left]
    if len(given) > 1:
        raise InvalidRequest("Send either 'data' or 'content'.", field=given[1])
    return (given[0], left.pop(given[0])) if given else (_INLINE[0], None)


def _stored(inline: Any, field: str, source: str | None) -> bytes | None:
    """The source's bytes: text as it is; only JSON may come as a value of the body's own."""
    if inline is None or isinstance(inline, str):
        return None if inline is None else inline.encode()
    if source != "json":
        raise InvalidRequest(f"{field!r} takes the file's content as text.", field=field)
    return msgspec.json.encode(inline)


def _how_to_send(endpoint: Endpoint) -> str:
    if endpoint.inline:
        return "Send either the address of the file as 'url', or its text as 'data' or 'content'."
    return "'url' is missing: the address of the file."


def _format(word: str, field: str) -> str:
    found = find_format(word)
    if found is None:
        raise UnsupportedFormat(
            f"convertd has no engine for the format {word[:40]!r}; "
            "GET /v1/convert/formats lists what it converts.",
            field=field,
        )
    return found.name
