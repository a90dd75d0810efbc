"""Whether the parts of the server are well, for those who ask often and cannot wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from convertd.errors import ConvertdError

Check = Callable[[], Awaitable[bool]]

FRESH_SECONDS: Final = 1.0
"""A check is made at most this often, however many ask."""
PATIENCE_SECONDS: Final = 2.0
"""A part that takes longer to answer is not well, until it has answered."""


class Readiness:
    """Asks all parts at the same time; each has one question before it at a time."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        """``checks`` by the part's name; one that raises :class:`ConvertdError` is as one that says no."""
        self._parts = {name: _Part(check) for name, check in checks.items()}

    async def __call__(self) -> Mapping[str, bool]:
        """Which parts are well."""
        answers = await asyncio.gather(*(part.well() for part in self._parts.values()))
        return dict(zip(self._parts, answers, strict=True))


class _Part:
    def __init__(self, check: Check) -> None:
        self._check = check
        self._asked_at = 0.0
        self._question: asyncio.Task[bool] | None = None

    async def well(self) -> bool:
        now = asyncio.get_running_loop().time
        question = self._question
        if question is None or (question.done() and now() - self._asked_at >= FRESH_SECONDS):
            self._asked_at = now()
            question = self._question = asyncio.create_task(self._ask())
        answered, _ = await asyncio.wait(
            (question,), timeout=max(self._asked_at + PATIENCE_SECONDS - now(), 0)
        )
        return question in answered and question.result()

    async def _ask(self) -> bool:
        try:
            return await self._check()
        except ConvertdError:
            return False
