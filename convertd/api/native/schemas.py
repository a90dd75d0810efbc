"""The shapes of documents, as JSON Schema: the ``schemas`` of the OpenAPI description."""

from __future__ import annotations

from typing import Any

from convertd.model.callback import DeliveryState, Event
from convertd.model.job import State
from convertd.web.problems import STATUS


def reference(kind: str, name: str) -> dict[str, str]:
    """To a component of the description."""
    return {"$ref": f"#/components/{kind}/{name}"}


def state_schema() -> dict[str, Any]:
    """The states of jobs and tasks."""
    return {"type": "string", "enum": [state.value for state in State]}


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _nullable(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": [kind, "null"], **more}


def schemas() -> dict[str, Any]:
    """All, by name."""
    text, whole = {"type": "string"}, {"type": "integer", "minimum": 0}
    percent = {"type": "number", "minimum": 0, "maximum": 100}
    moment = _nullable("string", format="date-time")
    file = {"name": text, "format": text, "media_type": text, "bytes": whole, "sha256": text}
    error = {"oneOf": [reference("schemas", "Failure"), {"type": "null"}]}
    return {
        "Job": _object(
            {
                "id": text,
                "status": state_schema(),
                "operation": text,
                "progress": percent
                | {"description": "Mean of what the tasks reached; 100 once the job has succeeded."},
                "created_at": {"type": "string", "format": "date-time"},
                "started_at": moment,
                "finished_at": moment,
                "expires_at": moment,
                "queue_position": {"type": "integer", "minimum": 1},
                "attempts": whole,
                "metadata": {"type": "object"},
                "inputs": {"type": "array", "items": reference("schemas", "File")},
                "tasks": {"type": "array", "items": reference("schemas", "Task")},
                "outputs": {"type": "array", "items": reference("schemas", "Output")},
                "truncated": {
                    "const": True,
                    "description": "Only in callbacks: of inputs, tasks and outputs the first are shown.",
                },
                "counts": {"type": "object", "additionalProperties": whole},
                "error": error,
                "links": {"type": "object", "additionalProperties": text},
                "archive_url": {"type": "string", "format": "uri"},
                "callback_secret": text
                | {"description": "Only in the answer to the request that made the job without one."},
            },
            optional=("queue_position", "archive_url", "callback_secret", "truncated"),
        ),
        "JobPage": _object(
            {
                "jobs": {"type": "array", "items": reference("schemas", "Job")},
                "next_cursor": _nullable("string"),
            }
        ),
        "File": _object(file),
        "Task": _object(
            {
                "id": whole,
                "input": whole,
                "inputs": {"type": "array", "items": whole},
                "operation": text,
                "target": text,
                "status": state_schema(),
                "progress": percent,
                "engine": text,
                "fidelity": text,
                "attempts": whole,
                "error": error,
                "output": _nullable("integer"),
                "outputs": {"type": "array", "items": whole},
            }
        ),
        "Output": _object(
            {
                "task": whole,
                **file,
                "url": _nullable("string", format="uri"),
                "url_expires_at": moment,
                "notes": {"type": "array", "items": text},
            }
        ),
        "Deliveries": _object({"deliveries": {"type": "array", "items": reference("schemas", "Delivery")}}),
        "Delivery": _object(
            {
                "id": text,
                "event": {"type": "string", "enum": [event.value for event in Event]},
                "job": _nullable("string"),
                "url": {"type": "string", "format": "uri"},
                "status": {"type": "string", "enum": [state.value for state in DeliveryState]},
                "created_at": {"type": "string", "format": "date-time"},
                "next_at": moment,
                "attempts": {"type": "array", "items": reference("schemas", "Attempt")},
            }
        ),
        "Event": _object(
            {
                "type": {"type": "string", "enum": [event.value for event in Event]},
                "timestamp": {"type": "string", "format": "date-time"},
                "data": _object({"job": reference("schemas", "Job")}, optional=("job",)),
            }
        ),
        "Attempt": _object(
            {
                "at": {"type": "string", "format": "date-time"},
                "seconds": {"type": "number", "minimum": 0},
                "status": _nullable("integer"),
                "error": _nullable("string"),
                "body": text,
            }
        ),
        "Failure": _object({"code": {"type": "string", "enum": sorted(STATUS)}, "message": text}),
        "Problem": _object(
            {
                "type": text,
                "title": text,
                "status": whole,
                "code": {"type": "string", "enum": sorted(STATUS)},
                "detail": text,
                "field": text,
            },
            optional=("field",),
        ),
        "Secret": _object({"secret": text}),
        "Form": {
            "type": "object",
            "properties": {
                "file": {
                    "type": "array",
                    "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                },
                "to": {"type": "array", "items": text},
                "operation": text,
                "options": text,
                "source": text,
                "min_fidelity": text,
                "metadata": text,
                "archive": text,
                "callback_url": text,
                "callback_secret": text,
            },
            "required": ["file"],
            "additionalProperties": True,
        },
        "Formats": _object(
            {
                "formats": {"type": "object"},
                "engines": {"type": "object"},
                "routes": {"type": "array", "items": {"type": "object"}},
                "$defs": {"type": "object"},
            }
        ),
    }
