"""Callbacks made up for tests, and a world that answers them as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from convertd.errors import ConvertdError
from convertd.model.callback import Delivery, Event, Message
from convertd.model.ids import new_delivery_id
from convertd.model.job import Callback
from convertd.net.outbound import Answer
from tests.support.jobs import NOW

URL = "https://receiver.example/hook"


def make_delivery(url: str = URL, **changes: Any) -> Delivery:
    given: dict[str, Any] = {
        "id": new_delivery_id(),
        "account": "local",
        "dialect": "native",
        "event": Event.TEST,
        "callback": Callback(url=url, secret="key"),
        "job": None,
        "created_at": NOW,
        "next_at": NOW,
    }
    return Delivery(**(given | changes))


def answer(status: int, *, body: str = "", retry_after: float | None = None) -> Answer:
    return Answer(status=status, body=body, retry_after=retry_after)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One POST as it arrived."""

    at: float
    url: str
    account: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["id"]


Answering = Callable[[Sent], Awaitable[Answer]]


@dataclass
class FakeGate:
    """Serves as :class:`convertd.callbacks.dispatcher.Poster`.

    Gives the ``answers`` in order, the last one from then on; ``by_host`` has its own for some hosts.
    """

    clock: Callable[[], float]
    answers: Sequence[Answer | ConvertdError] = (answer(200),)
    by_host: dict[str, Answering] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    timeouts: set[float] = field(default_factory=set)

    async def post(
        self, url: str, *, account: str, headers: Mapping[str, str], body: bytes, timeout: float
    ) -> Answer:
        sent = Sent(at=self.clock(), url=url, account=account, headers=headers, body=body)
        self.sent.append(sent)
        self.timeouts.add(timeout)
        await asyncio.sleep(0)
        answering = self.by_host.get(url.split("/")[2])
        if answering is not None:
            return await answering(sent)
        given = self.answers[min(len(self.sent), len(self.answers)) - 1]
        if isinstance(given, ConvertdError):
            raise given
        return given


@dataclass
class TarPit:
    """Takes requests, and answers only when it is opened."""

    inside: int = 0
    most: int = 0
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    entered: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def __call__(self, sent: Sent) -> Answer:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.entered.release()
        try:
            await self.opened.wait()
        finally:
            self.inside -= 1
        return answer(200)


@dataclass(frozen=True, kw_only=True)
class PlainForm:
    """Says the delivery's id, and the secrets without any signing."""

    schedule: Sequence[float] = (5.0, 60.0, 600.0)
    spread: float = 0.0

    def message(self, delivery: Delivery, secrets: Sequence[str], now: float) -> Message:
        return Message(headers={"id": delivery.id, "secrets": " ".join(secrets)}, body=str(now).encode())
