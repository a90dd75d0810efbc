"""Who descends from whom, as /proc tells it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process(NamedTuple):
    """One line of /proc: ``zombie`` has ended and waits to be reaped."""

    pid: int
    parent: int
    zombie: bool


def everybody() -> list[Process]:
    """All processes that can be seen."""
    found = []
    for name in filter(str.isdecimal, (entry.name for entry in os.scandir("/proc"))):
        with suppress(OSError):
            # The program's name, in parentheses, may hold anything: split behind its end.
            fields = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
            found.append(Process(int(name), int(fields[1]), fields[0] in "ZX"))
    return found


def descendants(roots: Iterable[int], processes: Iterable[Process]) -> list[Process]:
    """Those of ``processes`` that descend from any of ``roots``, without the roots."""
    children = defaultdict(list)
    for process in processes:
        children[process.parent].append(process)
    found: list[Process] = []
    ahead = list(roots)
    while ahead:
        born = children.pop(ahead.pop(), [])
        found += born
        ahead += (process.pid for process in born)
    return found


def own_memory(pid: int) -> int:
    """Bytes of memory that a process shares with no file; 0 if it is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE


def kill(pid: int) -> None:
    """SIGKILL to a process, if it is still there."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """SIGKILL to a process group, if it is still there."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def await_death(pids: Iterable[int], *, seconds: float) -> None:
    """Block until the processes, which need not be children, have ended, but not longer than ``seconds``."""
    deadline = time.monotonic() + seconds
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            continue
        select.select((descriptor,), (), (), max(0.0, deadline - time.monotonic()))
        os.close(descriptor)
