"""The native dialect: its routes and its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from convertd.api.dialect import Services
from convertd.api.native.callback import NativeForm
from convertd.api.native.deliveries import DeliveryHandlers
from convertd.api.native.jobs import JobHandlers
from convertd.api.native.requests import FORMATS_LISTED
from convertd.api.native.system import Readiness, SystemHandlers
from convertd.api.native.views import DOWNLOADS
from convertd.errors import UnsupportedFormat
from convertd.model.callback import CallbackForm
from convertd.web.problems import Problem, problem_response
from convertd.web.server import Route


class NativeDialect:
    """Implements :class:`convertd.api.dialect.Dialect`."""

    name = "native"
    guide = "GET /openapi.json describes the API."

    def __init__(self, services: Services, *, version: str, readiness: Readiness) -> None:
        """``readiness`` is asked at every ``/readyz``."""
        self.callback_form: CallbackForm | None = NativeForm(services, version=version)
        self._jobs = JobHandlers(services, dialect=self.name)
        self._deliveries = DeliveryHandlers(services)
        self._system = SystemHandlers(services, version=version, readiness=readiness)

    def routes(self) -> Sequence[Route]:
        jobs, deliveries, system = self._jobs, self._deliveries, self._system
        return (
            Route(method="POST", path="/jobs", handler=jobs.create, accepts_work=True),
            Route(method="PUT", path="/jobs", handler=jobs.create, accepts_work=True),
            Route(method="GET", path="/jobs", handler=jobs.list),
            Route(method="GET", path="/jobs/{id}", handler=jobs.show),
            Route(method="DELETE", path="/jobs/{id}", handler=jobs.cancel),
            Route(method="GET", path="/jobs/{id}/archive", handler=jobs.archive),
            Route(method="POST", path="/jobs/{id}/retry", handler=jobs.retry, accepts_work=True),
            Route(method="GET", path="/jobs/{id}/deliveries", handler=deliveries.list),
            Route(
                method="POST",
                path="/deliveries/{id}/redeliver",
                handler=deliveries.redeliver,
                accepts_work=True,
            ),
            Route(method="GET", path="/callbacks/secret", handler=deliveries.secret),
            Route(method="POST", path="/callbacks/secret", handler=deliveries.rotate),
            Route(method="POST", path="/convert", handler=jobs.convert, accepts_work=True),
            Route(method="PUT", path="/convert", handler=jobs.convert, accepts_work=True),
            Route(method="GET", path=f"{DOWNLOADS}/{{token}}", handler=system.download, public=True),
            Route(method="GET", path="/formats", handler=system.formats),
            Route(method="GET", path="/", handler=system.health, public=True),
            Route(method="GET", path="/healthz", handler=system.health, public=True),
            Route(method="GET", path="/readyz", handler=system.ready, public=True),
            Route(method="GET", path="/version", handler=system.show_version),
            Route(method="GET", path="/openapi.json", handler=system.openapi, public=True),
        )

    def owns(self, path: str) -> bool:
        """The native API answers for whatever no other dialect owns."""
        return True

    def error(self, request: web.BaseRequest, problem: Problem) -> web.StreamResponse:
        if problem.code == UnsupportedFormat.code:
            problem = replace(problem, message=f"{problem.message} {FORMATS_LISTED}")
        return problem_response(problem)
