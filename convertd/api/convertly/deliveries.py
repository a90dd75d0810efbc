"""What was sent to callbacks, and sending it again."""

from __future__ import annotations

from aiohttp import web

from convertd.api.convertly.callback import event_type
from convertd.api.convertly.views import delivery_view
from convertd.api.dialect import Services
from convertd.web.queries import page_size
from convertd.web.replies import json_response
from convertd.web.server import ACCOUNT

_PAGE = 25


class DeliveryHandlers:
    """Handlers under ``/api/webhooks/deliveries``."""

    def __init__(self, services: Services, *, dialect: str) -> None:
        self._deliveries = services.deliveries
        self._dialect = dialect

    async def list(self, request: web.Request) -> web.Response:
        """GET: the newest first."""
        limit = page_size(request, _PAGE)
        found = await self._deliveries.page(request[ACCOUNT], limit, dialect=self._dialect)
        return json_response({"deliveries": [delivery_view(each, event_type(each)) for each in found]})

    async def retry(self, request: web.Request) -> web.Response:
        """POST …/{id}/retry: send it again at once; ``{id}`` may be that of its event, too."""
        delivery_id = request.match_info["id"].removeprefix("evt_")
        delivery = await self._deliveries.redeliver(request[ACCOUNT], delivery_id, dialect=self._dialect)
        return json_response(delivery_view(delivery, event_type(delivery)))
