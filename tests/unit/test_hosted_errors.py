"""Errors that every hosted API tells in its own way."""

from __future__ import annotations

import json
import re
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from convertd.api.changethisfile import ChangeThisFileDialect
from convertd.api.convertly import ConvertlyDialect
from convertd.api.dialect import Dialect
from convertd.api.pipelyn import PipelynDialect
from convertd.api.toolkitapi import ToolkitDialect
from convertd.errors import Timeout, UploadTimeout
from convertd.web.problems import Problem

Kind = type[ChangeThisFileDialect] | type[ConvertlyDialect] | type[PipelynDialect] | type[ToolkitDialect]
KINDS: tuple[Kind, ...] = (ChangeThisFileDialect, ConvertlyDialect, PipelynDialect, ToolkitDialect)


def made(kind: Kind) -> Dialect:
    return kind(Mock(rate_headers=lambda request: {}))


def told(dialect: Dialect, error: Timeout) -> tuple[int, dict[str, Any]]:
    response = dialect.error(make_mocked_request("POST", "/"), Problem.of(error))
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(("kind", "status"), list(zip(KINDS, (400, 408, 408, 400), strict=True)))
def test_an_upload_that_stands_still_is_the_clients(kind: Kind, status: int) -> None:
    dialect = made(kind)
    assert told(dialect, UploadTimeout("The upload stood still."))[0] == status
    assert told(dialect, Timeout("The conversion took too long."))[0] >= 500


@pytest.mark.parametrize("kind", KINDS)
def test_the_guide_names_paths_that_there_are(kind: Kind) -> None:
    dialect = made(kind)
    named = set(re.findall(r"/[\w/{}-]*[\w}]", dialect.guide))
    assert len(named) > 5
    assert named <= {re.sub(r":[^}]*}", "}", route.path) for route in dialect.routes()}
