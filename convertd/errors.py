"""Everything that can go wrong, as one tree.

::

    ConvertdError
    ├── InvalidRequest        invalid_request
    ├── Unauthorized          unauthorized
    ├── NotFound              not_found
    ├── Conflict              conflict
    ├── IdempotencyInFlight   idempotency_in_flight
    ├── IdempotencyKeyReused  idempotency_key_reused
    ├── NotReady              not_ready
    ├── Expired               expired
    ├── TooLarge              too_large
    ├── UnsupportedFormat     unsupported_format
    ├── EngineMissing         engine_missing
    ├── FileInvalid           file_invalid
    ├── LimitExceeded         limit_exceeded
    ├── FetchRefused          fetch_refused
    ├── FetchFailed           fetch_failed
    ├── QueueFull             queue_full
    ├── RateLimited           rate_limited
    ├── EngineError           engine_error
    ├── WorkerCrash           worker_crash      (retryable)
    ├── StorageFull           storage_full      (retryable)
    ├── Unavailable           unavailable       (retryable)
    └── Timeout               timeout
        └── UploadTimeout     timeout           (the request's own body came too slowly)

``code`` is stable and from a closed list; ``message`` is a sentence fit for a client: what failed and
what to change. ``detail`` is for the log alone and may hold anything but secrets.
"""

from __future__ import annotations

from typing import ClassVar


class ConvertdError(Exception):
    """Base of all errors that convertd reports to somebody."""

    code: ClassVar[str] = "engine_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        detail: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """``field`` names the request's faulty field; ``retry_after`` is in seconds."""
        super().__init__(message)
        self.message = message
        self.field = field
        self.detail = detail
        self.retry_after = retry_after


class InvalidRequest(ConvertdError):
    """The request itself is wrong: an unknown or ill-typed field, a missing one, a bad header."""

    code = "invalid_request"


class Unauthorized(ConvertdError):
    """No key, or one that is not known."""

    code = "unauthorized"


class NotFound(ConvertdError):
    """No such thing for this account."""

    code = "not_found"


class Conflict(ConvertdError):
    """The thing is in a state that forbids what was asked."""

    code = "conflict"


class IdempotencyInFlight(ConvertdError):
    """The first request with this key has not been answered yet."""

    code = "idempotency_in_flight"


class IdempotencyKeyReused(ConvertdError):
    """The key came before, with another request."""

    code = "idempotency_key_reused"


class NotReady(ConvertdError):
    """The result is not there yet."""

    code = "not_ready"


class Expired(ConvertdError):
    """The link or the file has passed its time."""

    code = "expired"


class TooLarge(ConvertdError):
    """More bytes than the server accepts."""

    code = "too_large"


class UnsupportedFormat(ConvertdError):
    """No route between the formats, or the content is not what it claims to be."""

    code = "unsupported_format"


class EngineMissing(ConvertdError):
    """The route is known, but the tool for it is not installed."""

    code = "engine_missing"


class FileInvalid(ConvertdError):
    """The file is damaged, empty, encrypted or otherwise not readable as its format."""

    code = "file_invalid"


class LimitExceeded(ConvertdError):
    """The file asks for more pixels, frames, pages, seconds or memory than allowed."""

    code = "limit_exceeded"


class FetchRefused(ConvertdError):
    """The outbound gate does not allow this address."""

    code = "fetch_refused"


class FetchFailed(ConvertdError):
    """The address did not give the file."""

    code = "fetch_failed"


class QueueFull(ConvertdError):
    """Too many jobs wait already."""

    code = "queue_full"


class RateLimited(ConvertdError):
    """This account asks too often."""

    code = "rate_limited"


class EngineError(ConvertdError):
    """The conversion failed for a reason that is not the file's known fault."""

    code = "engine_error"


class WorkerCrash(ConvertdError):
    """The converting process died."""

    code = "worker_crash"
    retryable = True


class StorageFull(ConvertdError):
    """The disk has no room."""

    code = "storage_full"
    retryable = True


class Unavailable(ConvertdError):
    """The server is stopping, or a part of it is not well."""

    code = "unavailable"
    retryable = True


class Timeout(ConvertdError):
    """It took longer than allowed."""

    code = "timeout"


class UploadTimeout(Timeout):
    """The request's own body did not arrive in time: no work had begun."""


BY_CODE: dict[str, type[ConvertdError]] = {cls.code: cls for cls in ConvertdError.__subclasses__()}


def from_code(code: str, message: str, *, detail: str | None = None) -> ConvertdError:
    """Rebuild an error that crossed a process border or a database row."""
    return BY_CODE.get(code, EngineError)(message, detail=detail)
