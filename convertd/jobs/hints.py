"""Hints between parts of the server: lossy by contract, so whoever waits also looks again by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Subscription(Protocol):
    """One listener's view of a topic."""

    async def wait(self, seconds: float) -> bool:
        """Whether something was published since the last call, waiting up to ``seconds`` for it."""


class Bus(Protocol):
    """Tells listeners that something about a topic (a job's id) changed, not what."""

    def publish(self, topic: str) -> None:
        """Wake all listeners of the topic; none is no error."""

    def publish_all(self) -> None:
        """Wake all listeners of all topics."""

    def subscribe(self, topic: str) -> AbstractContextManager[Subscription]:
        """Listen for as long as the context lasts; what is published inside it is not missed."""


class WorkDispatcher(Protocol):
    """Wakes workers when there may be work."""

    def announce(self) -> None:
        """There may be a job to claim."""

    async def wait(self, seconds: float) -> bool:
        """Whether work was announced since the last call, waiting up to ``seconds`` for it."""


class Signal:
    """An event that each successful wait takes back; serves as :class:`Subscription` and dispatcher."""

    def __init__(self) -> None:
        """Starts without anything announced."""
        self._event = asyncio.Event()

    def announce(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class LocalBus:
    """The bus within one process."""

    def __init__(self) -> None:
        """Starts without listeners."""
        self._topics: dict[str, set[Signal]] = {}

    def publish(self, topic: str) -> None:
        for signal in self._topics.get(topic, ()):
            signal.announce()

    def publish_all(self) -> None:
        for topic in self._topics:
            self.publish(topic)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Subscription]:
        signal = Signal()
        self._topics.setdefault(topic, set()).add(signal)
        try:
            yield signal
        finally:
            listeners = self._topics[topic]
            listeners.discard(signal)
            if not listeners:
                del self._topics[topic]
