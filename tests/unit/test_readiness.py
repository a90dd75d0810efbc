"""Readiness: asked by many, hanging for none."""

from __future__ import annotations

import asyncio

import pytest

from convertd.errors import Unavailable
from convertd.web import readiness
from convertd.web.readiness import Readiness


class Part:
    """A part that answers once it is let go on, and counts how often it was asked."""

    def __init__(self, *, well: bool = True) -> None:
        self.well = well
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def check(self) -> bool:
        self.asked += 1
        await self.go_on.wait()
        if not self.well:
            raise Unavailable("away")
        return True


async def test_each_part_has_its_answer() -> None:
    ask = Readiness({"one": Part().check, "other": Part(well=False).check})
    assert await ask() == {"one": True, "other": False}


async def test_many_who_ask_are_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part()
    ask = Readiness({"part": part.check})
    await asyncio.gather(*(ask() for _ in range(5)))
    await ask()
    assert part.asked == 1
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)
    part.well = False
    assert await ask() == {"part": False}
    assert part.asked == 2


async def test_a_part_that_hangs_is_not_well_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.01)
    part = Part()
    ask = Readiness({"part": part.check, "other": Part().check})
    part.go_on.clear()
    for _ in range(3):
        assert await ask() == {"part": False, "other": True}
    assert part.asked == 1
    part.go_on.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert await ask() == {"part": True, "other": True}
