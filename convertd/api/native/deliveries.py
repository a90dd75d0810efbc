"""What was sent to callbacks, and sending it again."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from convertd.api.dialect import Services
from convertd.api.native.requests import check_parameters
from convertd.model.callback import Attempt, Delivery
from convertd.web.replies import json_response, timestamp
from convertd.web.server import ACCOUNT


class DeliveryHandlers:
    """Handlers of deliveries."""

    def __init__(self, services: Services) -> None:
        self._deliveries = services.deliveries

    async def list(self, request: web.Request) -> web.Response:
        """GET /jobs/{id}/deliveries, oldest first."""
        check_parameters(request)
        found = await self._deliveries.of_job(request[ACCOUNT], request.match_info["id"])
        return json_response({"deliveries": [delivery_view(delivery) for delivery in found]})

    async def redeliver(self, request: web.Request) -> web.Response:
        """POST /deliveries/{id}/redeliver: a new round of attempts, under the same id, begins at once."""
        check_parameters(request)
        delivery = await self._deliveries.redeliver(request[ACCOUNT], request.match_info["id"])
        return json_response(delivery_view(delivery), status=202)

    async def secret(self, request: web.Request) -> web.Response:
        """GET /callbacks/secret: what signs the account's callbacks that bring no secret of their own."""
        check_parameters(request)
        return _secret_response(await self._deliveries.secret(request[ACCOUNT]))

    async def rotate(self, request: web.Request) -> web.Response:
        """POST /callbacks/secret: a new one; for a day the one before signs too."""
        check_parameters(request)
        return _secret_response(await self._deliveries.rotate(request[ACCOUNT]))


def _secret_response(secret: str) -> web.Response:
    return json_response({"secret": secret}, headers={"Cache-Control": "no-store"})


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """The delivery without what signs it."""
    return {
        "id": delivery.id,
        "event": delivery.event.value,
        "job": delivery.job.id if delivery.job is not None else None,
        "url": delivery.callback.url,
        "status": delivery.state.value,
        "created_at": timestamp(delivery.created_at),
        "next_at": timestamp(delivery.next_at),
        "attempts": [_attempt(attempt) for attempt in delivery.attempts],
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": timestamp(attempt.at),
        "seconds": round(attempt.seconds, 3),
        "status": attempt.status,
        "error": attempt.error,
        "body": attempt.body,
    }
