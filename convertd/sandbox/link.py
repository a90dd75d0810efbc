"""The server's end of the zygote's socket, and of each task's result pipe. No threads, no polling."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from convertd.errors import LimitExceeded, Unavailable, WorkerCrash
from convertd.sandbox import processes, protocol
from convertd.sandbox.protocol import Budget, Done, Ended, Failed, Kill, Progress, Ready, Run, Started, Work

_START_SECONDS: Final = 60.0
_LINGER_SECONDS: Final = 1.0
"""How long a child may live after it has reported its result."""
_BURIAL_SECONDS: Final = 1.0
_CHUNK: Final = 64 * 1024
_LINES_AT_ONCE, _LINES_PER_SECOND = 200, 100
"""Far more than an honest child sends."""
_PASSED_ON: Final = ("PATH", "TZ", "LD_LIBRARY_PATH")


class Running:
    """One task in the zygote's hands. ``ended`` is :class:`WorkerCrash` if the zygote dies."""

    def __init__(
        self, number: int, pipe: int, on_progress: Callable[[float], None], kill: Callable[[], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_progress = on_progress
        self._pipe = pipe
        self._buffer = bytearray()
        self._born = self._loop.time()
        self._lines = 0
        self._linger: asyncio.TimerHandle | None = None
        self.number = number
        self.kill = kill
        self.pid: int | None = None
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        self.last_word: Done | Failed | None = None
        self.expired = False
        self.nonsense = ""
        """What the child sent that no honest child sends."""
        self._loop.add_reader(pipe, self._readable)

    def expire(self) -> None:
        """The wall clock has passed."""
        if self.last_word is None:
            self.expired = True
        self.kill()

    def finish(self, end: Ended | WorkerCrash) -> None:
        """The task is dead: take what it left in the pipe."""
        while self._pipe >= 0 and self._readable():
            pass
        self._close()
        if self._linger is not None:
            self._linger.cancel()
        if isinstance(end, Ended):
            self.ended.set_result(end)
        else:
            self.ended.set_exception(end)

    def _readable(self) -> bool:
        """Take in one chunk; whether there may be more."""
        try:
            chunk = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._close()
            return False
        if self.last_word is None and not self.nonsense:
            self._take(chunk)
        return True

    def _take(self, chunk: bytes) -> None:
        self._buffer += chunk
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = rest
        try:
            for line in lines:
                self._obey(line)
        except msgspec.MsgspecError as error:
            self._distrust(f"malformed report: {error}")
        if len(rest) > protocol.MAX_LINE:
            self._distrust("a report without an end")

    def _obey(self, line: bytearray) -> None:
        if self.last_word is not None:
            return
        self._lines += 1
        if self._lines > _LINES_AT_ONCE + _LINES_PER_SECOND * (self._loop.time() - self._born):
            self._distrust("a flood of reports")
            return
        message = protocol.from_child.decode(line)
        if isinstance(message, Progress):
            self._on_progress(message.fraction)
        else:
            self.last_word = message
            self._linger = self._loop.call_later(_LINGER_SECONDS, self.kill)

    def _distrust(self, why: str) -> None:
        self.nonsense = why
        self._buffer.clear()
        self.kill()

    def _close(self) -> None:
        if self._pipe >= 0:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1


class ZygoteLink:
    """A zygote that lives, or has lived. Made by :meth:`spawn`."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._control = control
        self._unsent: deque[tuple[bytes, int | None]] = deque()
        self._tasks: dict[int, Running] = {}
        self._count = 0
        self._ready: asyncio.Future[Ready] = self._loop.create_future()
        self.alive = True
        self.layers: dict[str, bool] = {}
        self.disabled: dict[str, str] = {}
        self._loop.add_reader(control, self._receive)

    @classmethod
    async def spawn(cls, modules: Sequence[str]) -> ZygoteLink:
        """Start a zygote and wait until it is ready. Raises :class:`Unavailable`."""
        try:
            process, control = _launch(modules)
        except OSError as error:
            raise Unavailable(f"The sandbox did not start: {error.strerror}.", detail=repr(error)) from error
        link = cls(process, control)
        try:
            ready = await asyncio.wait_for(link._ready, _START_SECONDS)
        except (TimeoutError, WorkerCrash) as error:
            await link.close()
            raise Unavailable(
                "The sandbox did not start; see the server's log.", detail=repr(error)
            ) from error
        except asyncio.CancelledError:
            await link.close()
            raise
        link.layers, link.disabled = ready.layers, ready.disabled
        return link

    def run(self, work: Work, scratch: Path, budget: Budget, on_progress: Callable[[float], None]) -> Running:
        """Have a child forked for ``work``.

        Raises :class:`LimitExceeded` if it names too many inputs, :class:`Unavailable` for want of a pipe.
        """
        self._count += 1
        number = self._count
        order = protocol.encode(Run(number, work, str(scratch), budget))
        if len(order) > protocol.MAX_PACKET:
            raise LimitExceeded("The task has too many inputs; split it.")
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise Unavailable(
                "The server has too many open files now; try again later.", detail=repr(error)
            ) from error
        os.set_blocking(reading, False)
        running = Running(number, reading, on_progress, lambda: self._kill(number))
        self._tasks[number] = running
        self._send(order, writing)
        return running

    async def close(self) -> None:
        """Tell the zygote to kill all and to end, and see that it has. May be called twice."""
        if self.alive:
            self._control.shutdown(socket.SHUT_WR)
            self._loop.remove_reader(self._control)
        await asyncio.to_thread(self._await_death)
        self._lost()

    def _await_death(self) -> None:
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _kill(self, number: int) -> None:
        if self.alive and number in self._tasks:
            self._send(protocol.encode(Kill(number)), None)

    def _send(self, packet: bytes, descriptor: int | None) -> None:
        self._unsent.append((packet, descriptor))
        self._flush()

    def _flush(self) -> None:
        """Send what waits, as far as the socket takes it; descriptors are closed once they are sent."""
        while self._unsent:
            packet, descriptor = self._unsent[0]
            try:
                socket.send_fds(self._control, [packet], [] if descriptor is None else [descriptor])
            except BlockingIOError:
                self._loop.add_writer(self._control, self._flush)
                return
            except OSError:
                # It is dead or dying; the reader learns that, too, and ends the tasks.
                pass
            self._unsent.popleft()
            if descriptor is not None:
                os.close(descriptor)
        self._loop.remove_writer(self._control)

    def _receive(self) -> None:
        try:
            packet = self._control.recv(protocol.MAX_PACKET)
        except BlockingIOError:
            return
        except ConnectionError:
            packet = b""
        if not packet:
            self._lost()
            return
        message = protocol.from_zygote.decode(packet)
        if isinstance(message, Ready):
            self._ready.set_result(message)
        elif isinstance(message, Started):
            self._tasks[message.task].pid = message.pid
        else:
            self._tasks.pop(message.task).finish(message)

    def _lost(self) -> None:
        """The zygote is gone, and its children by its will or the kernel's; programs of theirs may not be."""
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._control.close()
        self._process.kill()
        self._process.wait()
        for _, descriptor in self._unsent:
            if descriptor is not None:
                os.close(descriptor)
        self._unsent.clear()
        died = WorkerCrash("The process that converted the file died.", detail="zygote lost")
        if not self._ready.done():
            self._ready.set_exception(died)
        orphans = [running.pid for running in self._tasks.values() if running.pid is not None]
        for pid in orphans:
            processes.kill_group(pid)
        # The kernel is killing them already, which takes it milliseconds.
        processes.await_death(orphans, seconds=_BURIAL_SECONDS)
        for running in self._tasks.values():
            running.finish(died)
        self._tasks.clear()


def _launch(modules: Sequence[str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A zygote, and the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with theirs:
        try:
            # The interpreter is up within milliseconds after exec, which is all that this waits for.
            process = subprocess.Popen(  # noqa: S603
                _command(theirs.fileno(), modules),
                env=_environment(),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def _command(control: int, modules: Sequence[str]) -> list[str]:
    # -P and -s: nothing is imported from the working directory or a home; PYTHONPATH says where from.
    return [
        sys.executable,
        "-P",
        "-s",
        "-m",
        "convertd.sandbox.zygote",
        str(control),
        json.dumps(list(modules)),
    ]


def _environment() -> dict[str, str]:
    """All that a child ever sees of the server's environment."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "MALLOC_ARENA_MAX": "2",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
