"""Options from what a client gave: checked, coerced from text, and every fault told by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from convertd.errors import InvalidRequest
from convertd.model.operations import Options

OptionsT = TypeVar("OptionsT", bound=Options)


@cache
def option_fields(kind: type[Options]) -> tuple[str, ...]:
    """Names of the options in declaration order."""
    return tuple(field.name for field in msgspec.structs.fields(kind))


_UNITS: Final = {
    "bits/s": re.compile(r"^(\d{1,15}(?:\.\d{1,15})?)\s*([kKmM])$"),
    "bytes": re.compile(r"^(\d{1,15}(?:\.\d{1,15})?)\s*([kKmMgG])i?[bB]$"),
    "seconds": re.compile(r"^(?:(\d{1,5}):)?(\d{1,2}):(\d{1,2}(?:\.\d{1,15})?)$"),
}
_POWERS: Final = {"k": 1, "m": 2, "g": 3}


def _from_unit(unit: str, text: str) -> int | float | str:
    """``text`` as the number it means, or unchanged for the validation to judge."""
    match = _UNITS[unit].match(text.strip())
    if match is None:
        return text
    if unit == "seconds":
        hours, minutes, seconds = match.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    base = 1000 if unit == "bits/s" else 1024
    return int(float(match[1]) * base ** _POWERS[match[2].lower()])


@cache
def _units(kind: type[Options]) -> Mapping[str, str | None]:
    """Each option's unit; looking at annotations takes longer than a small picture's whole request should."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: _unit_of(hints[name]) for name in option_fields(kind)}


def _unit_of(hint: Any) -> str | None:
    for part in (hint, *get_args(hint)):
        for meta in getattr(part, "__metadata__", ()):
            if isinstance(meta, Meta) and meta.extra and "unit" in meta.extra:
                return str(meta.extra["unit"])
    return None


def parse_options(kind: type[OptionsT], given: Mapping[str, Any]) -> OptionsT:
    """Validate and coerce ``given`` (values from JSON, a form or a query) into ``kind``.

    Raises :class:`InvalidRequest` that names the field and what is allowed.
    """
    units = _units(kind)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in units:
            allowed = ", ".join(option_fields(kind)) or "none"
            shown = name[:40]
            raise InvalidRequest(f"Unknown option {shown!r}; allowed here: {allowed}.", field=shown)
        unit = units[name]
        values[name] = _from_unit(unit, value) if unit and isinstance(value, str) else value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        name = _field_of(str(error))
        raise InvalidRequest(
            f"Option {name!r} has a wrong value ({_shown(given.get(name))}): {_allowed(kind, name)}.",
            field=name,
        ) from error


def _field_of(text: str) -> str:
    match = re.search(r"`\$\.([A-Za-z_]+)", text)
    return match[1] if match else "options"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _allowed(kind: type[Options], name: str) -> str:
    """What the field takes, as a phrase: ``a whole number from 1 to 100``."""
    _, components = msgspec.json.schema_components([kind])
    schema = components[kind.__name__]["properties"].get(name, {})
    choices = [_describe(part) for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    return "it takes " + " or ".join(choices)


def _describe(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"] if value is not None)
    words = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    kind = words.get(str(schema.get("type")), "text")
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum")
    if low is not None and high is not None:
        kind += f" from {low} to {high}"
    elif low is not None:
        kind += f" of at least {low}"
    if "maxLength" in schema:
        kind += f" of at most {schema['maxLength']} characters"
    description = str(schema.get("description", "")).rstrip(".")
    return f"{kind} ({description})" if description else kind
