"""Clocks, processor time, memory: of this machine, read from outside of what is measured."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

from convertd.sandbox import processes

T = TypeVar("T")

_TICK = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What something took, in seconds."""

    wall: float
    cpu: float


def in_turn(rounds: int, *sides: Callable[[], T]) -> list[list[T]]:
    """A B A B …: one list of measurements for each side, so that noise falls on all alike."""
    taken: list[list[T]] = [[] for _ in sides]
    for _ in range(rounds):
        for results, side in zip(taken, sides, strict=True):
            results.append(side())
    return taken


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of them lie."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def median_cost(costs: Sequence[Cost]) -> Cost:
    return Cost(wall=median(cost.wall for cost in costs), cpu=median(cost.cpu for cost in costs))


def run_program(command: Sequence[str | Path]) -> Cost:
    """Run a program to its end; its and its children's processor time."""
    began = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return Cost(wall=time.perf_counter() - began, cpu=usage.ru_utime + usage.ru_stime)


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    return [pid, *(process.pid for process in processes.descendants([pid], processes.everybody()))]


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time of the processes and of their children that have ended."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICK


def status_mib(pid: int, field: str) -> float:
    """A size of /proc/PID/status in MiB: ``VmRSS``, or ``VmHWM`` for the highest since :func:`reset_peak`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def reset_peak(pid: int) -> None:
    """Begin a new ``VmHWM``."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def proportional_mib(pids: Sequence[int]) -> float:
    """Memory of the processes together, what they share counted once."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


def descriptors(pid: int) -> int:
    """How many files the process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def page_cache_dir(needed: int) -> Path | None:
    """A directory in memory with room for ``needed`` bytes, or ``None`` for the usual temporary one."""
    memory = Path("/dev/shm")
    with suppress(OSError):
        volume = os.statvfs(memory)
        available = next(
            int(line.split()[1]) * 1024
            for line in Path("/proc/meminfo").read_text().splitlines()
            if line.startswith("MemAvailable")
        )
        if os.access(memory, os.W_OK) and min(volume.f_bavail * volume.f_frsize, available) > 2 * needed:
            return memory
    return None
