"""The child: the only place where bytes from a client are decoded.

It is forked from the zygote with all libraries loaded, gives up everything that its one engine call does not
need, makes the call, and reports through a pipe.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from convertd.engines.base import Call, Capability, Engine
from convertd.errors import ConvertdError, EngineError, LimitExceeded, StorageFull, Unavailable
from convertd.sandbox import kernel, landlock, limits, protocol, seccomp
from convertd.sandbox.protocol import Budget, Done, Failed, Progress, Work

OUT: Final = "out"
TEMPORARY: Final = "tmp"
"""Directories in the scratch directory: for the engine's products, and for its temporary files."""

_NICE: Final = 5
_EXIT_FAILED: Final = 1


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What the zygote has found out and opened once, for all children.

    ``landlock_version`` is 0 where there is none; ``filters``, of seccomp, are by whether programs may be
    started, and none where there is no seccomp.
    """

    landlock_version: int
    grants: list[landlock.Grant]
    program_grants: list[landlock.Grant]
    filters: dict[bool, bytes]
    baseline: int
    null: int


@dataclass(frozen=True)
class Errand:
    """One task as the child gets it, with its engine already found."""

    work: Work
    budget: Budget
    scratch: str
    engine: Engine
    capability: Capability


def main(errand: Errand, confinement: Confinement, pipe: int) -> NoReturn:
    """Never returns: ends the process, successful or not, once it has reported through ``pipe``."""
    code = _EXIT_FAILED
    try:
        _send(pipe, _outcome(errand, confinement, pipe))
        code = 0
    finally:
        os._exit(code)


def _outcome(errand: Errand, confinement: Confinement, pipe: int) -> Done | Failed:
    try:
        _become_leader(confinement.null)
        _settle(errand.scratch)
        _confine(errand, confinement, pipe)
    except BaseException as error:
        return _failed(Unavailable("The sandbox could not be set up; try again later."), error)
    try:
        return Done(errand.engine.run(_call(errand, pipe)))
    except BaseException as error:
        return _failed(_explained(error, errand.budget), error)


def _call(errand: Errand, pipe: int) -> Call:
    work, scratch = errand.work, Path(errand.scratch)
    return Call(
        operation=work.operation,
        target=work.target,
        options=msgspec.convert(work.options, errand.capability.options),
        inputs=tuple(scratch / name for name in work.inputs),
        sources=work.sources,
        names=work.names or work.inputs,
        output_dir=scratch / OUT,
        limits=work.limits,
        report=_throttled(pipe),
    )


def _become_leader(null: int) -> None:
    """Of a session and process group of its own, deaf and mute, and dead as soon as the zygote is."""
    os.setsid()
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for standard in range(3):
        os.dup2(null, standard)


def _settle(scratch: str) -> None:
    """Make the scratch directory the home of everything, temporary files included."""
    os.chdir(scratch)
    os.umask(0o077)
    temporary = f"{scratch}/{TEMPORARY}"
    with suppress(FileExistsError):
        os.mkdir(temporary)  # noqa: PTH102 -- each page of memory that a child is first to touch costs time
    os.environ["TMPDIR"] = os.environ["HOME"] = temporary
    tempfile.tempdir = None


def _confine(errand: Errand, confinement: Confinement, pipe: int) -> None:
    """Give up all powers. The order matters: each step would forbid one before it."""
    others = limits.tasks_of_machine()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if confinement.landlock_version:
        landlock.restrict(_grants(errand, confinement), version=confinement.landlock_version)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, limits.ZYGOTE_OPEN_FILES)
    limits.apply(
        errand.budget, baseline=confinement.baseline, others=others, programs=errand.engine.processes
    )
    # Root keeps its way past file modes, so that data directories of other owners work; Landlock bounds it.
    kernel.keep_capabilities(1 << kernel.CAP_DAC_OVERRIDE if os.geteuid() == 0 else 0)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    with suppress(OSError):  # a courtesy, for which no conversion shall fail
        os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    if confinement.filters:
        seccomp.install(confinement.filters[errand.engine.processes])
    gc.enable()


def _grants(errand: Errand, confinement: Confinement) -> list[landlock.Grant]:
    programs = errand.engine.processes
    writing = landlock.WRITE | (landlock.SPECIAL if programs else 0)
    own = [
        landlock.Grant(errand.scratch, landlock.READ),
        landlock.Grant(f"{errand.scratch}/{OUT}", writing),
        landlock.Grant(f"{errand.scratch}/{TEMPORARY}", writing),
    ]
    return [*confinement.grants, *(confinement.program_grants if programs else ()), *own]


def _throttled(pipe: int) -> Callable[[float], None]:
    """A reporter of progress that may be called as often as wanted."""
    due = 0.0

    def report(fraction: float) -> None:
        nonlocal due
        now = time.monotonic()
        if now >= due:
            due = now + protocol.PROGRESS_INTERVAL
            _send(pipe, Progress(min(max(fraction, 0.0), 1.0)))

    return report


def _send(pipe: int, message: Done | Failed | Progress) -> None:
    line = memoryview(protocol.encode(message) + b"\n")
    while line:
        line = line[os.write(pipe, line) :]


def _explained(error: BaseException, budget: Budget) -> ConvertdError:
    """The error as a client may read it; ``error`` itself if it is fit for that."""
    if isinstance(error, ConvertdError):
        return error
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        allowed = budget.memory_bytes // 1_000_000
        return LimitExceeded(
            f"The conversion needed more memory than the {allowed} MB allowed; use a smaller file."
        )
    if number == errno.EAGAIN:  # what fork(2) says at RLIMIT_NPROC; files and pipes here never do
        return limits.too_many_processes(budget)
    if number == errno.EFBIG:
        allowed = budget.file_bytes // 1_000_000
        return LimitExceeded(f"The result grew past the {allowed} MB allowed; ask for a smaller one.")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull("The disk has no room for the result; try again later.")
    return EngineError(
        "The conversion failed; the file may be damaged or use a feature that is not supported."
    )


def _failed(told: ConvertdError, cause: BaseException) -> Failed:
    detail = told.detail or _trace(cause)
    return Failed(told.code, told.message[: protocol.MAX_MESSAGE], detail[-protocol.MAX_DETAIL :], told.field)


def _trace(error: BaseException) -> str:
    # After a MemoryError the frames may still hold what filled the memory.
    traceback.clear_frames(error.__traceback__)
    return "".join(traceback.format_exception(error))
