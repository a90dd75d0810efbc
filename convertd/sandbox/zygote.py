"""The zygote: a small process that has the engines' libraries loaded and forks a child for each task.

It has one thread, one socket to the server, and decodes nothing. When the socket closes, it kills all that
descends from it and ends. Start: ``python -m convertd.sandbox.zygote FD MODULES`` with the number of the
inherited socket and a JSON list of further engine modules.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from convertd.engines.base import Capability, Engine
from convertd.engines.registry import discover
from convertd.sandbox import (
    child,
    kernel,
    landlock,
    layers,
    limits,
    namespaces,
    processes,
    protocol,
    seccomp,
    trial,
    view,
)
from convertd.sandbox.protocol import Breach, Budget, Ended, Kill, Ready, Run, Started

_DEADLINE_GRACE: Final = 5.0
"""Seconds that a child outlives its wall clock if the server, whose clock it is, does not come to kill it."""
_CENSUS_INTERVAL: Final = 0.25
_OOM_SCORE: Final = 500
"""Whom the kernel ends first when the machine is out of memory: children inherit it, the server does not."""

Route = tuple[str, str, str, str]
Routes = dict[Route, tuple[Engine, Capability]]


@dataclass
class _Task:
    """A child. ``may_fork``: nothing forbids it to start processes; ``in_world``: these die with it."""

    number: int
    pid: int
    budget: Budget
    deadline: float
    may_fork: bool
    in_world: bool
    breach: Breach = ""


class Zygote:
    """The loop that forks, kills and reaps."""

    def __init__(self, control: socket.socket, routes: Routes, found: dict[str, bool]) -> None:
        self._control = control
        self._routes = routes
        self._worlds = found[layers.PROCESSES]
        self._confinement = child.Confinement(
            landlock_version=landlock.abi() if found[layers.LANDLOCK] else 0,
            grants=view.common() if found[layers.LANDLOCK] else [],
            program_grants=view.programs(sockets=not found[layers.SECCOMP]) if found[layers.LANDLOCK] else [],
            filters={may: seccomp.assemble(processes=may) for may in (False, True)}
            if found[layers.SECCOMP]
            else {},
            baseline=limits.address_space(),
            null=os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC),
        )
        self._own_memory = processes.own_memory(os.getpid())
        self._tasks: dict[int, _Task] = {}
        self._by_pid: dict[int, _Task] = {}
        self._ending: list[Ended] = []
        self._strays_possible = False
        self._next_census = 0.0
        self._wake = _wake_on_child()

    def serve(self) -> None:
        """Until the server closes the socket."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poller.poll(self._patience())}
            if self._wake.fileno() in ready:
                with suppress(BlockingIOError):
                    self._wake.recv(4096)
            self._reap()
            if self._control.fileno() in ready and not self._receive():
                return
            self._watch()

    def _patience(self) -> int | None:
        """Milliseconds until some task has to be looked at, if any has."""
        if any(task.may_fork for task in self._tasks.values()):
            return int(_CENSUS_INTERVAL * 1000)
        if not self._tasks:
            return None
        nearest = min(task.deadline for task in self._tasks.values())
        return max(0, int((nearest - time.monotonic()) * 1000)) + 1

    def _receive(self) -> bool:
        """Whether the server is still there."""
        try:
            packet, descriptors, *_ = socket.recv_fds(self._control, protocol.MAX_PACKET, 1)
        except ConnectionError:
            return False
        if not packet:
            return False
        message = protocol.to_zygote.decode(packet)
        if isinstance(message, Kill):
            if task := self._tasks.get(message.task):
                processes.kill(task.pid)
        else:
            self._fork(message, descriptors[0])
        return True

    def _fork(self, order: Run, pipe: int) -> None:
        work = order.work
        route = self._routes.get((work.engine, work.operation, work.sources[0], work.target))
        if route is None:
            self._refuse(order, pipe, "route")
            return
        engine, capability = route
        may_fork = engine.processes or not self._confinement.filters
        in_world = may_fork and self._worlds
        try:
            pid = namespaces.fork_into_world() if in_world else os.fork()
        except OSError:
            self._refuse(order, pipe, "fork")
            return
        if pid == 0:
            errand = child.Errand(work, order.budget, order.scratch, engine, capability)
            child.main(errand, self._confinement, pipe)
        os.close(pipe)
        deadline = time.monotonic() + order.budget.wall_seconds + _DEADLINE_GRACE
        task = _Task(order.task, pid, order.budget, deadline, may_fork=may_fork, in_world=in_world)
        self._tasks[order.task] = self._by_pid[pid] = task
        self._send(Started(order.task, pid))

    def _refuse(self, order: Run, pipe: int, breach: Breach) -> None:
        os.close(pipe)
        self._send(Ended(order.task, breach=breach))

    def _reap(self) -> None:
        """Bury the dead; a task has ended when all that it started is dead, too."""
        while (pid := _dead_child()) is not None:
            if pid in self._by_pid:
                # While its leader is not buried, the group's number cannot be anybody else's.
                processes.kill_group(pid)
            _, status, usage = os.wait4(pid, 0)
            task = self._by_pid.pop(pid, None)
            if task is None:
                continue
            del self._tasks[task.number]
            code = os.waitstatus_to_exitcode(status)
            self._ending.append(
                Ended(
                    task.number,
                    exit_code=max(code, 0),
                    signal=max(-code, 0),
                    cpu_seconds=usage.ru_utime + usage.ru_stime,
                    peak_bytes=usage.ru_maxrss * 1024,
                    breach=task.breach,
                )
            )
            self._strays_possible |= task.may_fork and not task.in_world
        if self._ending and not (self._strays_possible and self._kill_strays()):
            for ended in self._ending:
                self._send(ended)
            self._ending.clear()
            self._strays_possible = False

    def _kill_strays(self) -> bool:
        """Kill what tasks left behind; whether there was any.

        A living task is the subreaper of all that it starts, so a child of the zygote that is no task was
        started by one that has ended. Its own children come to the zygote when it dies, and SIGCHLD with it.
        """
        everybody = processes.everybody()
        strays = [
            p.pid for p in everybody if p.parent == os.getpid() and not p.zombie and p.pid not in self._by_pid
        ]
        for pid in (*strays, *(p.pid for p in processes.descendants(strays, everybody))):
            processes.kill(pid)
        return bool(strays)

    def _watch(self) -> None:
        """Hold to their budget, as a whole, the tasks that may start processes; and the clock of all."""
        now = time.monotonic()
        for task in self._tasks.values():
            if now >= task.deadline:
                self._end(task, "time")
        forking = [task for task in self._tasks.values() if task.may_fork]
        if forking and now >= self._next_census:
            self._next_census = now + _CENSUS_INTERVAL
            everybody = processes.everybody()
            for task in forking:
                family = [p.pid for p in processes.descendants((task.pid,), everybody) if not p.zombie]
                if len(family) >= task.budget.processes:
                    self._end(task, "processes")
                elif self._memory((task.pid, *family)) > task.budget.memory_bytes:
                    self._end(task, "memory")

    def _memory(self, family: Sequence[int]) -> int:
        return sum(map(processes.own_memory, family)) - self._own_memory

    def _end(self, task: _Task, breach: Breach) -> None:
        task.breach = task.breach or breach
        processes.kill(task.pid)

    def _send(self, message: Ready | Started | Ended) -> None:
        with suppress(ConnectionError):
            self._control.sendall(protocol.encode(message))


def end_all_descendants() -> None:
    """Kill and reap until this process has no child left."""
    with suppress(ChildProcessError):
        while True:
            for process in processes.descendants((os.getpid(),), processes.everybody()):
                processes.kill(process.pid)
            os.waitpid(-1, 0)


def load(modules: Sequence[str]) -> tuple[Routes, dict[str, str]]:
    """Import the engines' libraries: the routes that can be run, and why engines cannot."""
    routes: Routes = {}
    disabled: dict[str, str] = {}
    for engine in (*discover(modules).values(), trial.ENGINE):
        try:
            available = engine.probe()
            if not available.ok:
                disabled[engine.name] = available.hint
                continue
            for name in engine.preload:
                importlib.import_module(name)
            engine.warm_up()
        except Exception as error:
            disabled[engine.name] = f"{type(error).__name__}: {error}"
            continue
        for capability in (*engine.capabilities, *engine.internal):
            routes[engine.name, capability.operation, capability.source, capability.target] = (
                engine,
                capability,
            )
            with suppress(msgspec.ValidationError):
                msgspec.convert({}, capability.options)  # msgspec keeps what it learns about a type
    return routes, disabled


def _dead_child() -> int | None:
    """The process number of a child that has ended and is not buried yet."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return found.si_pid if found else None


def _wake_on_child() -> socket.socket:
    """A socket that becomes readable when a child has ended."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing.detach(), warn_on_full_buffer=False)
    return reading


def _harden() -> None:
    """Survive what is meant for the server alone, and be nobody's to look into."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))
    limits.bound_descriptors()
    # Only for finding modules; a child's programs have no use for it.
    os.environ.pop("PYTHONPATH", None)


def main() -> None:
    """See the module's docstring."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _harden()
    found = layers.establish()
    routes, disabled = load(json.loads(sys.argv[2]))
    zygote = Zygote(control, routes, found)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    gc.collect()
    gc.disable()
    gc.freeze()
    control.sendall(protocol.encode(Ready(found, disabled)))
    try:
        zygote.serve()
    finally:
        end_all_descendants()


if __name__ == "__main__":
    main()
