"""The service's routes and errors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from convertd.api.convertly.callback import ConvertlyForm
from convertd.api.convertly.deliveries import DeliveryHandlers
from convertd.api.convertly.errors import error_response
from convertd.api.convertly.jobs import JobHandlers
from convertd.api.convertly.tools import OTHERS_TOOLS
from convertd.api.convertly.views import DOWNLOADS
from convertd.api.dialect import Services
from convertd.model.callback import CallbackForm
from convertd.web.problems import Problem
from convertd.web.server import Route

_OWN: Final = re.compile(
    r"/api/(jobs|convert|compress|files|folders|uploads|transfer|webhooks|workflows|currency|video)(/|$)"
)
_TOOL_NAME: Final = f"{{tool:(?!(?:{'|'.join(OTHERS_TOOLS)})$)[^/]+}}"
_TOOL: Final = re.compile(r"/api/media(?:/([^/]*)|$)")


class ConvertlyDialect:
    """Implements :class:`convertd.api.dialect.Dialect`."""

    name = "convertly"
    guide = (
        "This API has /api/jobs, /api/jobs/{id}, /api/convert, /api/compress, /api/media/{tool}, "
        "/api/webhooks/deliveries and /api/webhooks/deliveries/{id}/retry."
    )
    callback_form: CallbackForm | None

    def __init__(self, services: Services) -> None:
        self.callback_form = ConvertlyForm(services)
        self._jobs = JobHandlers(services, dialect=self.name)
        self._deliveries = DeliveryHandlers(services, dialect=self.name)

    def routes(self) -> Sequence[Route]:
        jobs, deliveries = self._jobs, self._deliveries
        return (
            Route(method="POST", path="/api/jobs", handler=jobs.create, accepts_work=True),
            Route(method="GET", path="/api/jobs", handler=jobs.list),
            Route(method="GET", path="/api/jobs/{id}", handler=jobs.show),
            Route(method="DELETE", path="/api/jobs/{id}", handler=jobs.cancel),
            Route(method="GET", path=f"{DOWNLOADS}/{{token}}", handler=jobs.download, public=True),
            Route(method="POST", path="/api/convert", handler=jobs.convert, accepts_work=True),
            Route(method="POST", path="/api/compress", handler=jobs.compress, accepts_work=True),
            Route(method="POST", path=f"/api/media/{_TOOL_NAME}", handler=jobs.tool, accepts_work=True),
            Route(method="GET", path="/api/webhooks/deliveries", handler=deliveries.list),
            Route(
                method="POST",
                path="/api/webhooks/deliveries/{id}/retry",
                handler=deliveries.retry,
                accepts_work=True,
            ),
        )

    def owns(self, path: str) -> bool:
        tool = _TOOL.match(path)
        return _OWN.match(path) is not None or (tool is not None and tool[1] not in OTHERS_TOOLS)

    def error(self, request: web.BaseRequest, problem: Problem) -> web.StreamResponse:
        return error_response(request, problem)
