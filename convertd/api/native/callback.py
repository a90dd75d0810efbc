"""How the native API calls back: Standard Webhooks 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec

from convertd.api.dialect import Services
from convertd.api.native.views import DOWNLOADS, job_view
from convertd.model.callback import Delivery, Message
from convertd.model.job import Job
from convertd.model.signatures import standard_signature
from convertd.units import HOUR, MINUTE
from convertd.web.replies import timestamp

MOST_BYTES: Final = 20_000
"""Of a body (Standard Webhooks asks for less than 20 kB)."""
_LISTS: Final = ("inputs", "tasks", "outputs")


class NativeForm:
    """Implements :class:`convertd.model.callback.CallbackForm`."""

    schedule: Sequence[float] = (
        5.0,
        5 * MINUTE,
        30 * MINUTE,
        2 * HOUR,
        5 * HOUR,
        10 * HOUR,
        14 * HOUR,
        20 * HOUR,
        24 * HOUR,
    )
    spread = 0.1

    def __init__(self, services: Services, *, version: str) -> None:
        self._services = services
        self._version = version

    def message(self, delivery: Delivery, secrets: Sequence[str], now: float) -> Message:
        """A signature for each secret: receivers that know one of them are content."""
        body = self._body(delivery, now)
        sent = int(now)
        signatures = (standard_signature(secret, delivery.id, sent, body) for secret in secrets)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"convertd/{self._version}",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(sent),
            "webhook-signature": " ".join(signatures),
        }
        return Message(headers=headers, body=body)

    def _body(self, delivery: Delivery, now: float) -> bytes:
        event: dict[str, Any] = {"type": delivery.event.value, "timestamp": timestamp(delivery.created_at)}
        if delivery.job is None:
            return msgspec.json.encode(event | {"data": {}})
        view = self._view(delivery.job, delivery.callback.origin, now)
        shown, most = view, max(len(view[name]) for name in _LISTS)
        while len(body := msgspec.json.encode(event | {"data": {"job": shown}})) >= MOST_BYTES and most:
            most //= 2
            shown = view | {name: view[name][:most] for name in _LISTS} | {"truncated": True}
        return body

    def _view(self, job: Job, origin: str, now: float) -> dict[str, Any]:
        services = self._services
        return job_view(
            job,
            origin=origin,
            link=partial(services.link, origin + DOWNLOADS),
            links_until=services.links_until(job, now),
            queue_position=None,
        )
