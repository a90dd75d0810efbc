"""How the service calls back, and where results are downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from convertd.api.changethisfile import views
from convertd.api.dialect import Services, has_all_outputs, result_key
from convertd.model.callback import Delivery, Event, Message
from convertd.model.job import Job, State
from convertd.model.signatures import hashed_key, timestamped_hex
from convertd.units import MINUTE
from convertd.web.replies import timestamp

DOWNLOADS: Final = "/v1/jobs/download"
TEST_EVENT: Final = "webhook.test"

_EVENTS: Final = {
    Event.SUCCEEDED: "job.completed",
    Event.FAILED: "job.failed",
    Event.CANCELLED: "job.failed",
    Event.TEST: TEST_EVENT,
}


class ChangeThisFileForm:
    """Implements :class:`convertd.model.callback.CallbackForm`."""

    schedule: Sequence[float] = (30.0, 5 * MINUTE, 30 * MINUTE)
    spread = 0.1

    def __init__(self, services: Services) -> None:
        self._services = services

    def message(self, delivery: Delivery, secrets: Sequence[str], now: float) -> Message:
        """Signed with the newest secret alone: the header has room for one signature."""
        event = _EVENTS[delivery.event]
        body = msgspec.json.encode({"event": event, **self._told(delivery)})
        sent = int(now)
        signature = timestamped_hex(hashed_key(secrets[0]), sent, body)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "ChangeThisFile-Webhook/1.0",
            "X-CTF-Event": event,
            "X-CTF-Signature": f"t={sent},v1={signature}",
        }
        return Message(headers=headers, body=body)

    def _told(self, delivery: Delivery) -> dict[str, Any]:
        """What both of the service's documents say that a callback holds."""
        job = delivery.job
        if job is None:
            return {"data": {"id": delivery.id, "created_at": timestamp(delivery.created_at)}}
        view = views.job_view(job, url=download_url(self._services, delivery.callback.origin, job))
        outcome = "result" if job.state is State.SUCCEEDED else "error"
        top = ("job_id", "state", "status", "download_url", "metadata", "duration_ms", "error")
        return {
            "data": {name: view[name] for name in ("job_id", "status", outcome)},
            **{name: view[name] for name in top},
        }


def download_url(services: Services, origin: str, job: Job) -> str | None:
    """A fresh link to the job's output, or to the ZIP of several; ``None`` where there is none (any more)."""
    if job.state is not State.SUCCEEDED or not has_all_outputs(job):
        return None
    return services.link(origin + DOWNLOADS, result_key(job), services.links_until(job))
