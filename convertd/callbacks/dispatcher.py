"""Sends deliveries until they are acknowledged or dead.

A delivery changes only after an attempt at it, so a server that dies in between sends it again, under the
same id: at least once. Within a process no delivery is sent twice at the same time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from convertd.callbacks.lanes import Lanes
from convertd.errors import ConvertdError
from convertd.jobs.hints import WorkDispatcher
from convertd.jobs.ledger import Clock
from convertd.jobs.store import DeliveryStore, DueDelivery
from convertd.model.callback import Attempt, CallbackForm, Delivery, DeliveryState, attempted
from convertd.net.outbound import Answer

log = logging.getLogger(__name__)

POLL_SECONDS: Final = 2.0
"""The floor under lost hints; also the wait before a store that failed is tried again."""
MOST_RETRY_AFTER: Final = 86400.0
"""How long a receiver can put off the next attempt, in seconds."""
WINDOW: Final = 200
"""So many are looked at before the store is asked for what is behind them."""
LONGEST_REST: Final = 0.5
"""The loop rests as long as a round took, up to this: where very many are blocked, a round is a long search,
and each end of an attempt asks for one."""
_BODY_SHOWN: Final = 500

Secrets = Callable[[Delivery, float], Awaitable[Sequence[str]]]
"""What to sign a delivery with at this time, newest first."""


class Poster(Protocol):
    """The way out: :class:`convertd.net.outbound.Gate`."""

    async def post(
        self,
        url: str,
        *,
        account: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - for the whole exchange
    ) -> Answer:
        """The answer, whatever its status; redirects are not followed.

        Raises :class:`~convertd.errors.ConvertdError` for a forbidden address or where none came in time.
        """


class Dispatcher:
    """Sends what is due, the earliest first among those that :class:`Lanes` have room for."""

    def __init__(
        self,
        *,
        store: DeliveryStore,
        gate: Poster,
        forms: Mapping[str, CallbackForm],
        secrets: Secrets,
        wake: WorkDispatcher,
        clock: Clock,
        jitter: Callable[[], float],
        timeout: float,
        pace: float = 1.0,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Does nothing before :meth:`start`.

        ``forms`` are by dialect. ``jitter`` gives numbers from 0 to 1, of which 0.5 changes nothing.
        ``timeout`` is for one attempt, in seconds; ``pace`` multiplies every wait of every schedule.
        """
        self._store = store
        self._gate = gate
        self._forms = forms
        self._secrets = secrets
        self._wake = wake
        self._clock = clock
        self._jitter = jitter
        self._timeout = timeout
        self._pace = pace
        self._pause = pause
        self._running: dict[str, asyncio.Task[None]] = {}
        self._lanes = Lanes()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to send."""
        self._loop = asyncio.create_task(self._forever(), name="callbacks")

    async def stop(self, grace: float) -> None:
        """Send no more; attempts that do not end within ``grace`` seconds are broken off and remain due."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        try:
            async with asyncio.timeout(grace):
                await self.settled()
        except TimeoutError:
            for task in self._running.values():
                task.cancel()
            await self.settled()  # which the last may have been just now

    async def run_once(self, now: float) -> int:
        """Begin an attempt at all that is due and has room; how many."""
        total = 0
        while not self._lanes.full(now):
            window = WINDOW + len(self._running)  # those under way are due, too
            blocked = self._lanes.blocked(now)
            due = await self._store.due_deliveries(before=now, blocked=blocked, limit=window)
            begun = await self._begin_some(due, now)
            total += begun
            if not begun or len(due) < window:
                break
        return total

    async def settled(self) -> None:
        """Return once all attempts under way have ended."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def _begin_some(self, window: Sequence[DueDelivery], now: float) -> int:
        """Begin an attempt at those that have room; how many."""
        begun, blocked = 0, self._lanes.blocked(now)
        for due in window:
            if self._lanes.full(now):
                break
            if due.id in self._running or blocked.holds(due):
                continue
            delivery = await self._store.delivery(due.id)  # its attempt may have ended just now
            if delivery is not None and delivery.next_at is not None and delivery.next_at <= now:
                self._begin(due, delivery, now)
                begun, blocked = begun + 1, self._lanes.blocked(now)
        return begun

    def _begin(self, due: DueDelivery, delivery: Delivery, now: float) -> None:
        task = asyncio.create_task(self._attempt(due, delivery), name=f"delivery {due.id}")
        self._running[due.id] = task
        self._lanes.take(due, now)
        task.add_done_callback(partial(self._ended, due))

    def _ended(self, due: DueDelivery, task: asyncio.Task[None]) -> None:
        del self._running[due.id]
        self._lanes.leave(due)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s ended with an error", task.get_name(), exc_info=error)
        self._wake.announce()

    async def _attempt(self, due: DueDelivery, delivery: Delivery) -> None:
        form = self._forms.get(delivery.dialect)
        attempt, retry_after = await self._send(delivery, form)
        self._lanes.note(due, silent=attempt.status is None)
        rule = partial(
            attempted,
            attempt=attempt,
            now=self._clock(),
            schedule=[seconds * self._pace for seconds in form.schedule] if form is not None else (),
            stretch=1 + form.spread * (2 * self._jitter() - 1) if form is not None else 1.0,
            retry_after=min(max(retry_after, 0.0), MOST_RETRY_AFTER),
        )
        changed = await self._record(delivery.id, rule)
        if changed is not None:
            _tell(changed, attempt)

    async def _send(self, delivery: Delivery, form: CallbackForm | None) -> tuple[Attempt, float]:
        """One POST, and how long the receiver asks to be left alone."""
        began = self._clock()
        status, error, body, retry_after = None, None, "", 0.0
        try:
            if form is None:
                raise LookupError(f"no form of callback for jobs of {delivery.dialect}")
            message = form.message(delivery, await self._secrets(delivery, began), began)
            answer = await self._gate.post(
                delivery.callback.url,
                account=delivery.account,
                headers=message.headers,
                body=message.body,
                timeout=self._timeout,
            )
        except ConvertdError as refusal:
            log.info("delivery %s: %s (%s)", delivery.id, refusal.message, refusal.detail)
            error = refusal.message
        except Exception:
            log.exception("delivery %s cannot be sent", delivery.id)
            error = "The server could not send it; its log says why."
        else:
            status, body, retry_after = answer.status, answer.body[:_BODY_SHOWN], answer.retry_after or 0.0
            error = _objection(answer.status)
        seconds = max(self._clock() - began, 0.0)
        return Attempt(at=began, seconds=seconds, status=status, error=error, body=body), retry_after

    async def _record(self, delivery_id: str, rule: Callable[[Delivery], Delivery | None]) -> Delivery | None:
        """Keep what became of an attempt, however long the store is away: it must not be sent again."""
        while True:
            try:
                return await self._store.update_delivery(delivery_id, rule)
            except ConvertdError as error:
                log.error("cannot record delivery %s: %s (%s)", delivery_id, error.message, error.detail)
            except Exception:
                log.exception("cannot record delivery %s", delivery_id)
            await self._pause(POLL_SECONDS)

    async def _forever(self) -> None:
        while True:
            now, wait = self._clock(), POLL_SECONDS
            try:
                await self.run_once(now)
                await self._pause(min(max(self._clock() - now, 0.0), LONGEST_REST))
                # What was due before is under way or blocked: until an end, which wakes, or one stands aside.
                for at in (await self._store.next_delivery_at(after=now), self._lanes.frees_at(now)):
                    if at is not None:
                        wait = min(wait, max(at - self._clock(), 0.0))
            except ConvertdError as error:
                log.error("cannot look for deliveries: %s (%s)", error.message, error.detail)
            except Exception:
                log.exception("the loop of callbacks stumbled")
            await self._wake.wait(wait)


def _objection(status: int) -> str | None:
    """Why an answer does not acknowledge."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"The receiver answered {status}; redirects are not followed, so give the final address."
    return f"The receiver answered {status}."


def _tell(delivery: Delivery, attempt: Attempt) -> None:
    if delivery.state is DeliveryState.DEAD:
        log.warning("delivery %s is dead: %s", delivery.id, attempt.error)
    else:
        log.debug("delivery %s is %s", delivery.id, delivery.state.value)
