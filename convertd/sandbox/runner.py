"""The server's side of the sandbox: hand an engine call to a child process and judge what comes back."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from convertd.engines.base import Product
from convertd.errors import (
    ConvertdError,
    EngineError,
    EngineMissing,
    Timeout,
    Unavailable,
    WorkerCrash,
    from_code,
)
from convertd.sandbox import child, limits, trial
from convertd.sandbox.judge import judge
from convertd.sandbox.link import Running, ZygoteLink
from convertd.sandbox.protocol import Breach, Budget, Done, Ended, Failed, Work

__all__ = ["Budget", "Sandbox", "Work"]

_TOLD_BY_CHILD = frozenset(
    (
        *("invalid_request", "unsupported_format", "engine_missing", "file_invalid", "limit_exceeded"),
        *("engine_error", "storage_full", "unavailable", "timeout"),
    )
)
"""Codes that an engine may raise; the others are about requests and the server."""
_TRIAL_SECONDS = 30.0
_JUDGED_AT_ONCE = 8
"""So many products are looked at on the event loop, in less time than a thread would cost."""


class Sandbox:
    """Runs engine calls, each in a process of its own that can hurt nobody. One for a server."""

    def __init__(self, *, engine_modules: Sequence[str] = (), require: bool = False) -> None:
        """``engine_modules``: further modules with engines; ``require``: no start without all layers."""
        self._modules = tuple(engine_modules)
        self._require = require
        self._link: ZygoteLink | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def layers(self) -> Mapping[str, bool]:
        """What protects this machine from a child, by name; empty before :meth:`start`."""
        return MappingProxyType(self._link.layers if self._link else {})

    @property
    def disabled(self) -> Mapping[str, str]:
        """Engines that the child processes cannot use, with the reason; empty before :meth:`start`."""
        return MappingProxyType(self._link.disabled if self._link else {})

    async def start(self) -> None:
        """Load the engines' libraries; afterwards :meth:`run` is quick.

        Raises :class:`Unavailable` where that fails, or where ``require`` is set and a layer is missing.
        """
        await self._alive()

    async def ready(self) -> bool:
        """Whether calls can be made; brings the child processes' parent back if it has died."""
        try:
            await self._alive()
        except Unavailable:
            return False
        return True

    async def try_out(self, scratch: Path, budget: Budget) -> None:
        """Make one small call in the empty directory ``scratch``, through all that a conversion goes through.

        Raises :class:`Unavailable` that tells the operator why no conversion can run.
        """
        (scratch / child.OUT).mkdir()
        (scratch / trial.WORK.inputs[0]).write_text("well")
        try:
            patient = replace(budget, wall_seconds=_TRIAL_SECONDS)
            await self.run(trial.WORK, scratch=scratch, budget=patient, on_progress=lambda fraction: None)
        except ConvertdError as error:
            raise Unavailable(
                f"The sandbox can run no conversion on this machine: {_cause(error)}.", detail=error.detail
            ) from error

    async def close(self) -> None:
        """Kill all that runs, and wait until it is dead. May be called twice."""
        self._closed = True
        async with self._starting:
            if self._link is not None:
                await self._link.close()

    async def run(
        self, work: Work, *, scratch: Path, budget: Budget, on_progress: Callable[[float], None]
    ) -> list[Product]:
        """Make the engine call ``work`` and return its products, which are plain files in ``scratch/out``.

        ``scratch``, an absolute path, holds the inputs and the empty directory ``out``. ``on_progress`` is
        told 0.0 to 1.0. Raises :class:`ConvertdError`. Whatever the end, cancellation included, it comes when
        nothing that the call started is alive any more.
        """
        link = await self._alive()
        running = link.run(work, scratch, budget, on_progress)
        clock = asyncio.get_running_loop().call_later(budget.wall_seconds, running.expire)
        try:
            ended = await _whatever_happens(running)
        finally:
            clock.cancel()
        done = _verdict(work, budget, running, ended)
        await _judged(done.products, scratch / child.OUT, work.target, budget)
        return done.products

    async def _alive(self) -> ZygoteLink:
        """The zygote; a new one if the last has died."""
        async with self._starting:
            if self._closed:
                raise Unavailable("The server is stopping; try again later.")
            if self._link is None or not self._link.alive:
                link = await ZygoteLink.spawn(self._modules)
                missing = [name for name, is_on in link.layers.items() if not is_on]
                if self._require and missing:
                    await link.close()
                    raise Unavailable(
                        f"The sandbox is required, but this machine does not give: {', '.join(missing)}."
                    )
                self._link = link
            return self._link


async def _whatever_happens(running: Running) -> Ended:
    """Wait for the end of a task; if this waiting is cancelled, hasten the end and still wait for it."""
    cancelled: asyncio.CancelledError | None = None
    while not running.ended.done():
        try:
            await asyncio.wait((running.ended,))
        except asyncio.CancelledError as error:
            cancelled = error
            running.kill()
    if cancelled is not None:
        running.ended.exception()
        raise cancelled
    return running.ended.result()


def _verdict(work: Work, budget: Budget, running: Running, ended: Ended) -> Done:
    """What a task's end means, as its result or the error."""
    if running.expired:
        raise _breached("time", work, budget)
    if ended.breach:
        raise _breached(ended.breach, work, budget)
    if running.nonsense:
        raise EngineError("The conversion failed.", detail=running.nonsense)
    if isinstance(running.last_word, Done):
        return running.last_word
    if isinstance(running.last_word, Failed):
        raise _told(running.last_word)
    raise _silent_death(work, budget, ended)


def _cause(error: ConvertdError) -> str:
    """What went wrong, for the operator: of a traceback, the last statement and the exception."""
    lines = [line.strip() for line in (error.detail or "").splitlines() if line.strip(" ~^")]
    return ": ".join(lines[-2:]) or error.message.rstrip(".")


def _breached(breach: Breach, work: Work, budget: Budget) -> ConvertdError:
    """The error for a task that was ended, or not even begun, for a reason of ours."""
    match breach:
        case "time":
            return Timeout(
                f"The conversion took longer than the {budget.wall_seconds:g} s allowed; use a smaller file."
            )
        case "processes":
            return limits.too_many_processes(budget)
        case "memory":
            return limits.out_of_memory(budget)
        case "route":
            return EngineMissing(
                f"The {work.engine} engine is not available; ask the server's operator for it."
            )
        case _:
            return Unavailable("The server cannot start a process now; try again later.")


def _told(failed: Failed) -> ConvertdError:
    """The error that a child reported; it cannot choose one of those that are about the server itself."""
    if failed.code not in _TOLD_BY_CHILD:
        return EngineError(
            "The conversion failed.", detail=f"{failed.code}: {failed.message}\n{failed.detail}"
        )
    error = from_code(failed.code, failed.message, detail=failed.detail)
    error.field = failed.field
    return error


def _silent_death(work: Work, budget: Budget, ended: Ended) -> ConvertdError:
    """The error for a child that ended without a word."""
    if ended.signal == signal.SIGXCPU or ended.cpu_seconds >= budget.cpu_seconds:
        return Timeout(f"The conversion used more than the {budget.cpu_seconds} s of processor time allowed.")
    return WorkerCrash("The process that converted the file died.", detail=f"{work.engine}: {_manner(ended)}")


def _manner(ended: Ended) -> str:
    if not ended.signal:
        return f"exit code {ended.exit_code}"
    try:
        return signal.Signals(ended.signal).name
    except ValueError:  # a real-time signal
        return f"signal {ended.signal}"


async def _judged(products: Sequence[Product], out: Path, target: str, budget: Budget) -> None:
    if len(products) <= _JUDGED_AT_ONCE:
        judge(products, out=out, target=target, file_bytes=budget.file_bytes)
    else:
        await asyncio.to_thread(judge, products, out=out, target=target, file_bytes=budget.file_bytes)
