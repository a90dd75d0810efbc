"""A sandbox without processes: what a child does is a coroutine of the test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from convertd.engines.base import Product
from convertd.sandbox.runner import Budget, Work


@dataclass
class Child:
    """One engine call, as the coroutine in place of a child sees it."""

    work: Work
    scratch: Path
    budget: Budget
    report: Callable[[float], None]

    def make(self, *names: str) -> list[Product]:
        """Write a file for each name; what stands between the dots is the product's part."""
        for name in names:
            (self.scratch / "out" / name).write_bytes(f"made {name}".encode())
        parts = (name.split(".")[1:-1] for name in names)
        return [
            Product(name=name, part=".".join(part) or None) for name, part in zip(names, parts, strict=True)
        ]


Act = Callable[[Child], Awaitable[list[Product]]]


async def convert(child: Child) -> list[Product]:
    """A child that makes one file."""
    return child.make(f"out.{child.work.target}")


class FakeSandbox:
    """Serves as :class:`convertd.sandbox.runner.Sandbox`; ``act`` may be changed between calls."""

    def __init__(self, act: Act = convert) -> None:
        self.act = act
        self.calls: list[Child] = []
        self.entered = asyncio.Event()
        self.killed = 0

    async def run(
        self, work: Work, *, scratch: Path, budget: Budget, on_progress: Callable[[float], None]
    ) -> list[Product]:
        child = Child(work, scratch, budget, on_progress)
        self.calls.append(child)
        self.entered.set()
        try:
            return await self.act(child)
        except asyncio.CancelledError:
            self.killed += 1
            raise


async def hang(child: Child) -> list[Product]:
    """A child that never ends by itself."""
    await asyncio.Event().wait()
    return []
