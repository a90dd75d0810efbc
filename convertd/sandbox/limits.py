"""Resource limits of one child (setrlimit(2))."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from convertd.errors import LimitExceeded
from convertd.sandbox.protocol import Budget

ZYGOTE_OPEN_FILES = 1024
"""Soft limit of descriptors of the zygote: no child inherits one that is numbered higher."""

_PROGRAM_SPACE = 1024**3
"""Bytes of libraries, stacks and reserves in a large program. One that may not map them takes its input for
damaged; what all programs of a task really use, the zygote counts."""
_CPU_GRACE = 2
"""Seconds between SIGXCPU, which a program may catch, and the kernel's SIGKILL."""


def address_space() -> int:
    """Bytes of address space that this process has mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def tasks_of_machine() -> int:
    """Number of threads that exist on this machine now."""
    descriptor = os.open("/proc/loadavg", os.O_RDONLY)
    try:
        return int(os.read(descriptor, 200).split()[3].partition(b"/")[2])
    finally:
        os.close(descriptor)


def apply(budget: Budget, *, baseline: int, others: int, programs: bool) -> None:
    """Hold this process to ``budget``.

    ``baseline`` is the address space that it was born with, ``others`` the number of threads on the machine;
    with ``programs``, there is room for what a program maps without using it.
    """
    _lower(resource.RLIMIT_AS, baseline + budget.memory_bytes + (_PROGRAM_SPACE if programs else 0))
    _lower(resource.RLIMIT_CPU, budget.cpu_seconds, budget.cpu_seconds + _CPU_GRACE)
    _lower(resource.RLIMIT_FSIZE, budget.file_bytes)
    _lower(resource.RLIMIT_NOFILE, budget.open_files)
    # RLIMIT_NPROC counts all that the user runs, everywhere: what runs already must not count against this
    # child. The kernel does not hold root to it, which is why the zygote counts a task's processes as well.
    _lower(resource.RLIMIT_NPROC, others + budget.processes)
    _lower(resource.RLIMIT_CORE, 0)


def bound_descriptors() -> None:
    """Hold this process, the zygote, below :data:`ZYGOTE_OPEN_FILES`; its children may raise theirs again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > ZYGOTE_OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ZYGOTE_OPEN_FILES, hard))


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, never above what this process is allowed already."""
    ceiling = resource.getrlimit(which)[1]
    if ceiling == resource.RLIM_INFINITY:
        ceiling = max(soft, hard or soft)
    resource.setrlimit(which, (min(soft, ceiling), min(hard or soft, ceiling)))


def out_of_memory(budget: Budget) -> LimitExceeded:
    """The error for a call that needed more than ``budget`` gives."""
    allowed = budget.memory_bytes // 1_000_000
    return LimitExceeded(
        f"The conversion needed more memory than the {allowed} MB allowed; use a smaller file."
    )


def too_many_processes(budget: Budget) -> LimitExceeded:
    """The error for a call that started more processes than ``budget`` gives."""
    return LimitExceeded(f"The conversion started more than the {budget.processes} processes allowed.")


def work() -> bool:
    """Whether a limit that is set really binds; changes this process for good."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    try:
        descriptors = [os.dup(0) for _ in range(32)]
    except OSError:
        return True
    for descriptor in descriptors:
        os.close(descriptor)
    return False
