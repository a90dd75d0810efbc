"""Which layers of the sandbox this kernel really gives: each is tried in a child of its own, not guessed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from convertd.sandbox import kernel, landlock, limits, namespaces, seccomp

LIMITS: Final = "resource limits"
PRIVILEGES: Final = "privileges dropped"
LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"
NETWORK: Final = "network namespace"
PROCESSES: Final = "process namespace"


def establish() -> dict[str, bool]:
    """Try every layer, and enter the network namespace for good where there is one."""
    found = {
        LIMITS: _holds(limits.work),
        PRIVILEGES: _holds(_privileges_drop),
        LANDLOCK: _holds(_landlock_denies),
        SECCOMP: _holds(_seccomp_denies),
        NETWORK: _holds(namespaces.network_is_gone),
    }
    if found[NETWORK]:
        namespaces.leave_network()
    return found | {PROCESSES: _holds(namespaces.process_worlds_work)}


def _holds(test: Callable[[], bool]) -> bool:
    """Whether ``test`` is true in a child process, which it may leave in any state."""
    pid = os.fork()
    if pid == 0:
        holds = False
        with suppress(BaseException):
            holds = test()
        os._exit(0 if holds else 1)
    return os.waitpid(pid, 0)[1] == 0


def _privileges_drop() -> bool:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.keep_capabilities(0)
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    return int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0 and status["NoNewPrivs"] == "1"


def _landlock_denies() -> bool:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict((), version=landlock.abi())
    return _refused(lambda: os.scandir("/"), errno.EACCES)


def _seccomp_denies() -> bool:
    if not seccomp.supported():
        return False
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(seccomp.assemble(processes=False))
    return _refused(lambda: kernel.unshare(0), errno.EPERM) and _refused(os.fork, errno.EPERM)


def _refused(attempt: Callable[[], object], number: int) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno == number
    return False
