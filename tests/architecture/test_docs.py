"""The README tells of every setting, route and error, and of none that is not there."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from convertd.api.dialects import dialects_of
from convertd.config import settings_table
from convertd.errors import BY_CODE
from convertd.web.problems import STATUS, Problem

README = Path(__file__).parents[2] / "README.md"
ROUTE = re.compile(r"\b(GET|HEAD|POST|PUT|PATCH|DELETE) (/[^`\s]*)")

Row = tuple[str, ...]


def tables() -> list[list[Row]]:
    """Every table as its rows, the heading first; each cell without its surrounding blanks."""
    found: list[list[Row]] = []
    inside = False
    for line in README.read_text(encoding="utf-8").splitlines():
        is_row = line.startswith("|")
        if is_row and not inside:
            found.append([])
        if is_row and not re.fullmatch(r"[|\s:-]+", line):
            found[-1].append(tuple(cell.strip() for cell in line.strip("|").split("|")))
        inside = is_row
    return found


def table(first_heading: str) -> list[Row]:
    """The rows below the heading of the one table that begins with it."""
    (rows,) = (rows for rows in tables() if rows[0][0].lower() == first_heading)
    return rows[1:]


DIALECTS = {dialect.name: dialect for dialect in dialects_of(Mock(rate_headers=lambda request: {}), Mock())}


def routes(dialect: str) -> list[tuple[str, str]]:
    """Method and path of everything that the API answers, variables without what they match."""
    return [
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path))
        for route in DIALECTS[dialect].routes()
    ]


def test_every_setting_is_told_with_its_default() -> None:
    told = {row[0].strip("`"): row for row in table("setting")}
    for setting in settings_table():
        assert setting.key in told, f"add to README.md: {setting.key}"
        cells = [cell.strip("`") for cell in told[setting.key]]
        assert setting.default in cells or (not setting.default and "" in cells), (
            f"the default of {setting.key} is {setting.default!r}"
        )


def test_no_setting_is_told_that_is_not_there() -> None:
    assert {row[0].strip("`") for row in table("setting")} == {row.key for row in settings_table()}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_route_is_told_and_no_other(dialect: str) -> None:
    heading = "method and path" if dialect == "native" else f"{dialect}: method and path"
    cells = (row[0].replace("`", "").replace(",", " ") for row in table(heading))
    assert {match.groups() for cell in cells for match in ROUTE.finditer(cell)} == set(routes(dialect))


def test_every_route_belongs_to_one_dialect() -> None:
    everything = [route for dialect in DIALECTS for route in routes(dialect)]
    assert len(everything) == len(set(everything))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_route_is_owned_by_its_dialect(dialect: str) -> None:
    for _, path in routes(dialect):
        plain = re.sub(r"\{[^}]*\}", "x", path)
        assert next(name for name, each in DIALECTS.items() if each.owns(plain)) == dialect


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_has_a_form_in_every_dialect(dialect: str, code: str) -> None:
    problem = Problem.of(BY_CODE[code]("What failed, and what to change.", retry_after=3))
    response = DIALECTS[dialect].error(make_mocked_request("GET", "/"), problem)
    assert isinstance(response, web.Response)
    assert response.status >= 400
    assert "json" in response.content_type
    assert isinstance(response.body, bytes)
    assert b"what to change" in response.body
    assert response.headers["Retry-After"] == "3"


def test_every_error_is_told_with_its_status() -> None:
    told = {row[0].strip("`"): int(row[1]) for row in table("code")}
    assert told == dict(STATUS)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_error_has_a_status(code: str) -> None:
    assert 400 <= STATUS[code] < 600


def test_no_status_is_kept_for_an_error_that_is_not_there() -> None:
    assert set(STATUS) == set(BY_CODE)
