"""Every API that the server answers."""

from __future__ import annotations

import convertd
from convertd.api.changethisfile import ChangeThisFileDialect
from convertd.api.convertly import ConvertlyDialect
from convertd.api.dialect import Dialect, Services
from convertd.api.native import NativeDialect
from convertd.api.native.system import Readiness
from convertd.api.pipelyn import PipelynDialect
from convertd.api.toolkitapi import ToolkitDialect


def dialects_of(services: Services, readiness: Readiness) -> list[Dialect]:
    """All of them, the native one last, for it owns what no other does.

    ``readiness`` is asked at every ``/readyz``.
    """
    return [
        ChangeThisFileDialect(services),
        ConvertlyDialect(services),
        PipelynDialect(services),
        ToolkitDialect(services),
        NativeDialect(services, version=convertd.__version__, readiness=readiness),
    ]
