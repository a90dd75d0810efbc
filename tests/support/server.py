"""The real command in a process of its own, and what a test wants to know about it."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from convertd.sandbox.processes import Process, descendants, everybody

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds after which a test takes the server for hung; nothing is timed by it."""

_LISTENING = "convertd listening on "


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without convertd's settings, and with ``extra``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CONVERTD_")}
    return kept | {"PYTHONPATH": str(REPOSITORY)} | extra


def convertd(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of convertd to its end."""
    return subprocess.run(
        [sys.executable, "-m", "convertd", *arguments],
        env=clean_environment(env or {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class ServerProcess:
    """``convertd serve`` on a free port of 127.0.0.1."""

    _COMMAND = (sys.executable, "-m", "convertd", "serve", "--port", "0")

    def __init__(self, data_dir: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        """Does nothing before :meth:`start`. ``env`` holds settings such as ``CONVERTD_JOBS_LEASE``."""
        self.data_dir = data_dir
        self.arguments = arguments
        self.env = dict(env or {})
        self.url = ""
        self.greeting: list[str] = []
        """The start-up lines."""
        self.seconds_to_ready = 0.0
        self._process: subprocess.Popen[str] | None = None
        self._log_file = data_dir.with_name(f"{data_dir.name}.log")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the server was not started"
        return self._process

    @property
    def log(self) -> str:
        """What it wrote to standard error, over all its starts."""
        return self._log_file.read_text(errors="replace")

    @property
    def complaints(self) -> list[str]:
        """What it took for a fault of its own. A file's fault is told at a lower level, trace and all."""
        return [line for line in self.log.splitlines() if " ERROR " in line or " CRITICAL " in line]

    @property
    def resident_bytes(self) -> int:
        """The memory that its first process takes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def start(self) -> ServerProcess:
        """Until it says that it listens."""
        started_at = time.monotonic()
        with self._log_file.open("a") as log:
            self._process = subprocess.Popen(
                [*self._COMMAND, "--data-dir", str(self.data_dir), *self.arguments],
                env=clean_environment(self.env),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.data_dir.parent,
            )
        self.greeting = [self._line()]
        self.seconds_to_ready = time.monotonic() - started_at
        assert self.greeting[0].startswith(_LISTENING), f"{self.greeting[0]}\n{self.log}"
        self.url = self.greeting[0].removeprefix(_LISTENING)
        self.greeting += [self._line() for _ in range(4)]
        return self

    def _line(self) -> str:
        """The next line of standard output, or nothing at its end."""
        stdout = self.process.stdout
        assert stdout is not None
        return stdout.readline().rstrip("\n")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it as its operator would, and expect it to end well."""
        if self.process.poll() is None:
            self.send(number)
        assert self.wait() == 0, self.log

    def wait(self) -> int:
        """The exit status, once it has ended."""
        return self.process.wait(PATIENCE)

    def kill9(self) -> None:
        """End it without warning; returns when it and all its processes are dead."""
        family = self.family()
        self.process.kill()
        self.wait()
        assert all_dead((process.pid for process in family), seconds=PATIENCE)

    def restart(self) -> ServerProcess:
        """Start it again on the same data directory; the port may change."""
        assert self.process.poll() is not None, "still running"
        return self.start()

    def dispose(self) -> None:
        """Whatever its state, leave nothing running."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.communicate()

    def family(self) -> list[Process]:
        """Every process that descends from the server: the zygote and its children."""
        return descendants([self.pid], everybody())

    def children(self) -> list[int]:
        """The converting processes that live now."""
        processes = everybody()
        zygotes = [process.pid for process in processes if process.parent == self.pid]
        return [process.pid for process in descendants(zygotes, processes) if not process.zombie]


@contextmanager
def serving(data_dir: Path, env: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """A server that must end well after all that was asked of it, and find no fault with itself."""
    process = ServerProcess(data_dir, env=env)
    try:
        yield process.start()
        process.stop()
    finally:
        process.dispose()
    assert process.complaints == []


def all_dead(pids: Iterable[int], *, seconds: float) -> bool:
    """Whether the processes end within ``seconds``; each is waited for, none is polled."""
    deadline = time.monotonic() + seconds
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            left = max(0.0, deadline - time.monotonic())
            if not select.select((descriptor,), (), (), left)[0]:
                return False
        finally:
            os.close(descriptor)
    return True


def engines(*names: str) -> dict[str, str]:
    """The setting that loads engines of tests.support by their module names."""
    return {"CONVERTD_ENGINES_MODULES": ",".join(f"tests.support.{name}" for name in names)}


__all__: Sequence[str] = ("ServerProcess", "all_dead", "clean_environment", "convertd", "engines", "serving")
