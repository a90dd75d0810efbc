"""How the service calls back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from convertd.api.convertly.views import event_id, first_name, job_view, link_maker
from convertd.api.dialect import Services
from convertd.model.callback import Delivery, Event, Message
from convertd.model.signatures import timestamped_hex


class ConvertlyForm:
    """Implements :class:`convertd.model.callback.CallbackForm`."""

    schedule: Sequence[float] = (5.0, 25.0)
    spread = 0.1

    def __init__(self, services: Services) -> None:
        self._services = services

    def message(self, delivery: Delivery, secrets: Sequence[str], now: float) -> Message:
        """The header has room for one signature: that of the newest secret."""
        event, sent = event_type(delivery), int(now)
        envelope = {
            "id": event_id(delivery),
            "type": event,
            "created": int(delivery.created_at),
            "data": self._data(delivery),
        }
        body = msgspec.json.encode(envelope)
        signature = timestamped_hex(secrets[0].encode(), sent, body)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Convertly-Webhooks/1.0",
            "Convertly-Signature": f"t={sent},v1={signature}",
            "Convertly-Event": event,
            "Convertly-Timestamp": str(sent),
        }
        return Message(headers=headers, body=body)

    def _data(self, delivery: Delivery) -> dict[str, Any]:
        services, job = self._services, delivery.job
        if job is None:
            return {}
        view = job_view(job, link_maker(services, delivery.callback.origin, job))
        return {"filename": first_name(job), **view}


def event_type(delivery: Delivery) -> str:
    """The service's word for what happened."""
    if delivery.job is None:
        return "webhook.test"
    kind = "media.tool" if "tool" in delivery.job.extras else "conversion"
    return f"{kind}.{'completed' if delivery.event is Event.SUCCEEDED else 'failed'}"
