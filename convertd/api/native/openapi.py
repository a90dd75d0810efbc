"""The OpenAPI 3.1 description of the native API. A test compares it with the routes, both ways."""

from __future__ import annotations

from typing import Any, Final

from convertd.api.native.schemas import reference, schemas, state_schema
from convertd.engines.base import Fidelity

_JSON: Final = "application/json"


def openapi_document(version: str) -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "convertd",
            "version": version,
            "description": "Files in, converted files out: jobs, signed links, idempotent retries.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}, {}],
        "paths": _paths(),
        "webhooks": {"jobEnded": {"post": _callback()}},
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "parameters": _parameters(),
            "responses": {
                "Problem": {
                    "description": "What failed and what to change.",
                    "content": {"application/problem+json": {"schema": reference("schemas", "Problem")}},
                }
            },
            "schemas": schemas(),
        },
    }


def _params(*names: str) -> list[dict[str, str]]:
    return [reference("parameters", name) for name in names]


def _json_of(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _bytes(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"*/*": {"schema": {}}}}


def _operation(name: str, summary: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        **more,
        "responses": responses | {"default": reference("responses", "Problem")},
    }


def _public(operation: dict[str, Any]) -> dict[str, Any]:
    return operation | {"security": [{}]}


def _paths() -> dict[str, Any]:
    job = reference("schemas", "Job")
    job_id = _params("JobId")
    return {
        "/jobs": {
            "post": _creation("createJob", "Create a job", {"202": _json_of(job, "Accepted, durably.")}),
            "put": _creation(
                "putJob", "Create a job (curl -T)", {"202": _json_of(job, "Accepted, durably.")}
            ),
            "get": _operation(
                "listJobs",
                "List own jobs, newest first",
                {"200": _json_of(reference("schemas", "JobPage"), "A page of jobs.")},
                parameters=_params("Status", "Limit", "Cursor"),
            ),
        },
        "/jobs/{id}": {
            "get": _operation(
                "getJob",
                "The job, with fresh links",
                {"200": _json_of(job, "The job."), "304": {"description": "Not changed."}},
                parameters=[*job_id, *_params("Prefer", "IfNoneMatch")],
            ),
            "delete": _operation(
                "cancelJob",
                "Cancel a queued or running job",
                {"200": _json_of(job, "The cancelled job.")},
                parameters=job_id,
            ),
        },
        "/jobs/{id}/archive": {
            "get": _archive("getArchive", "All outputs as one ZIP", job_id),
        },
        "/jobs/{id}/retry": {
            "post": _operation(
                "retryJob",
                "Run a failed or cancelled job again from its stored inputs",
                {"202": _json_of(job, "Queued again.")},
                parameters=job_id,
            ),
        },
        "/jobs/{id}/deliveries": {
            "get": _operation(
                "listDeliveries",
                "What was sent to the job's callback, attempt by attempt",
                {"200": _json_of(reference("schemas", "Deliveries"), "Oldest first.")},
                parameters=job_id,
            ),
        },
        "/deliveries/{id}/redeliver": {
            "post": _operation(
                "redeliver",
                "Send a callback again, under the same id",
                {"202": _json_of(reference("schemas", "Delivery"), "Due at once.")},
                parameters=_params("DeliveryId"),
            ),
        },
        "/callbacks/secret": {
            "get": _operation(
                "getCallbackSecret",
                "What signs the account's callbacks that bring no secret of their own",
                {"200": _json_of(reference("schemas", "Secret"), "Made when first asked for or needed.")},
            ),
            "post": _operation(
                "replaceCallbackSecret",
                "A new secret for the account; for a day the one before signs too",
                {"200": _json_of(reference("schemas", "Secret"), "The new one.")},
            ),
        },
        "/convert": {
            "post": _conversion("convert"),
            "put": _conversion("putConvert"),
        },
        "/download/{token}": {
            "get": _public(_download("download", "An output")),
        },
        "/formats": {
            "get": _operation(
                "listFormats",
                "What this machine converts, with the options of each operation",
                {"200": _json_of(reference("schemas", "Formats"), "Live capabilities.")},
                parameters=_params("Operation", "Source", "Target"),
            ),
        },
        "/": {"get": _public(_facts("root", "The process is alive"))},
        "/healthz": {"get": _public(_facts("health", "The process is alive"))},
        "/readyz": {"get": _public(_facts("ready", "Database, disk, sandbox and workers are well"))},
        "/version": {"get": _facts("version", "Versions of convertd and its engines")},
        "/openapi.json": {"get": _public(_facts("openapi", "This document"))},
    }


def _creation(name: str, summary: str, accepted: dict[str, Any]) -> dict[str, Any]:
    ended = _json_of(reference("schemas", "Job"), "Ended within 'Prefer: wait=N'.")
    return _operation(
        name,
        summary,
        {"200": ended, **accepted},
        parameters=_request_parameters(),
        requestBody=_request_body(),
    )


def _conversion(name: str) -> dict[str, Any]:
    return _operation(
        name,
        "One file in, one file out",
        {
            "200": _bytes("The converted file."),
            "202": _json_of(reference("schemas", "Job"), "Took too long, or made several files: a job."),
        },
        parameters=_request_parameters(),
        requestBody=_request_body(),
    )


def _request_parameters() -> list[dict[str, str]]:
    names = (
        "To",
        "Operation",
        "Source",
        "MinFidelity",
        "Filename",
        "Options",
        "Metadata",
        "Archive",
        "CallbackUrl",
        "CallbackSecret",
        "IdempotencyKey",
        "Prefer",
    )
    return _params(*names)


def _request_body() -> dict[str, Any]:
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": reference("schemas", "Form")},
            "*/*": {"schema": {}},
        },
    }


def _download(name: str, summary: str) -> dict[str, Any]:
    return _operation(
        name,
        summary,
        {
            "200": _bytes("The whole file."),
            "206": _bytes("The asked range."),
            "304": {"description": "Not changed."},
        },
        parameters=_params("Token", "Range", "IfRange", "IfNoneMatch"),
    )


def _archive(name: str, summary: str, parameters: list[dict[str, str]]) -> dict[str, Any]:
    whole = {"description": "The whole archive.", "content": {"application/zip": {"schema": {}}}}
    return _operation(name, summary, {"200": whole}, parameters=parameters)


def _callback() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "summary": "To a job's callback_url when the job has ended (Standard Webhooks 1.0)",
        "security": [{}],
        "parameters": [
            _parameter("webhook-id", "header", text, "The delivery's id, the same on every attempt."),
            _parameter("webhook-timestamp", "header", text, "Seconds since 1970 at which it was sent."),
            _parameter("webhook-signature", "header", text, "'v1,' and base64; several parted by blanks."),
        ],
        "requestBody": {"content": {_JSON: {"schema": reference("schemas", "Event")}}},
        "responses": {
            "2XX": {"description": "Acknowledged."},
            "410": {"description": "Not to be sent again."},
            "default": {"description": "To be sent again later, or after Retry-After."},
        },
    }


def _facts(name: str, summary: str) -> dict[str, Any]:
    return _operation(name, summary, {"200": _json_of({"type": "object"}, summary + ".")})


def _parameter(name: str, place: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    required = {"required": True} if place == "path" else {}
    return {"name": name, "in": place, "schema": schema, "description": description, **required}


def _parameters() -> dict[str, Any]:
    text = {"type": "string"}
    fidelities = [fidelity.value for fidelity in Fidelity]
    return {
        "JobId": _parameter("id", "path", text, "The job's id."),
        "DeliveryId": _parameter("id", "path", text, "The delivery's id."),
        "Token": _parameter("token", "path", text, "From a job's output url."),
        "To": _parameter("to", "query", {"type": "array", "items": text}, "Target format, once or more."),
        "Operation": _parameter("operation", "query", text, "What to do; default convert."),
        "Source": _parameter("source", "query", text, "Overrides what name and content say."),
        "Target": _parameter("target", "query", text, "Only routes to this format."),
        "MinFidelity": _parameter(
            "min_fidelity", "query", {"type": "string", "enum": fidelities}, "Refuse routes below it."
        ),
        "Filename": _parameter("filename", "query", text, "Name of a raw body."),
        "Options": _parameter(
            "options",
            "query",
            text,
            "JSON object of options; each option may be a parameter of its own too. GET /formats lists them.",
        ),
        "Metadata": _parameter("metadata", "query", text, "JSON object that the job echoes."),
        "CallbackUrl": _parameter("callback_url", "query", text, "Where to be told of the job's end."),
        "CallbackSecret": _parameter(
            "callback_secret",
            "query",
            text,
            "What to sign callbacks with; if absent the account's, which the answer tells.",
        ),
        "Archive": _parameter(
            "archive", "query", {"type": "boolean", "default": False}, "Offer one ZIP of all outputs, too."
        ),
        "IdempotencyKey": _parameter(
            "Idempotency-Key",
            "header",
            {"type": "string", "maxLength": 255},
            "Makes a repeated request harmless.",
        ),
        "Prefer": _parameter("Prefer", "header", text, "'wait=N': wait up to N ≤ 30 seconds."),
        "IfNoneMatch": _parameter("If-None-Match", "header", text, "An ETag that is known already."),
        "Range": _parameter("Range", "header", text, "bytes=FIRST-LAST."),
        "IfRange": _parameter("If-Range", "header", text, "The ETag that the range belongs to."),
        "Status": _parameter("status", "query", state_schema(), "Only jobs in this state."),
        "Limit": _parameter(
            "limit",
            "query",
            {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            "Jobs on a page.",
        ),
        "Cursor": _parameter("cursor", "query", text, "next_cursor of the page before."),
    }
