"""Whether a client that can have the file or JSON wants JSON."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from convertd.web.negotiation import prefers_json


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/json, */*;q=0.5", True),
        ("application/json;q=0.2, */*;q=0.1", True),
        ("application/json, text/plain, */*", False),
        ("application/json;q=0.1, image/*", False),
        ("application/json;q=0", False),
        ("image/webp", False),
        ("*/*", False),
        ("", False),
        (",;q=,", False),
    ],
)
def test_json_only_where_nothing_else_is_as_welcome(accept: str, json: bool) -> None:
    assert prefers_json(make_mocked_request("POST", "/", headers={"Accept": accept})) is json
