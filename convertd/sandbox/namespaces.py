"""Namespaces: no network for anybody, and a process world of its own for an engine that starts programs.

Source: namespaces(7), user_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path

from convertd.sandbox import kernel


def leave_network() -> None:
    """Move this process into a network namespace that has not even a loopback that is up.

    Without the privilege for that, it becomes the owner of a user namespace first; its user and group keep
    their numbers, so that files stay as accessible as they were. Raises ``OSError`` where the kernel forbids
    both.
    """
    try:
        kernel.unshare(kernel.CLONE_NEWNET)
        return
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
    # Nobody without privileges outside may map a group while setgroups(2) could still drop one.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")


def network_is_gone() -> bool:
    """Whether :func:`leave_network` works here and files stay accessible; changes this process for good."""
    leave_network()
    with socket.socket() as probe:
        unreachable = probe.connect_ex(("127.0.0.1", 9)) == errno.ENETUNREACH
    return unreachable and os.access(sys.executable, os.R_OK)


def fork_into_world() -> int:
    """os.fork(), but the child is the first process of a process namespace of its own.

    When it ends, for whatever reason, the kernel kills everything that it started. Raises ``OSError`` where
    the kernel forbids it. The caller must be a subreaper.

    What unshare(2) does to the caller's future children it could only take back with privileges, so a helper
    does it, forks, and leaves its child to the caller.
    """
    answer_in, answer_out = os.pipe()
    gone_in, gone_out = os.pipe()
    helper = os.fork()
    if helper == 0:
        _fork_as_helper(answer_out)
        os.close(gone_out)
        os.read(gone_in, 1)  # ends when the helper has: only then is the caller its parent
        for descriptor in (answer_in, answer_out, gone_in):
            os.close(descriptor)
        return 0
    os.close(answer_out)
    os.close(gone_out)
    answer = os.read(answer_in, 32)
    os.waitpid(helper, 0)
    os.close(answer_in)
    os.close(gone_in)
    if not answer:
        raise OSError(errno.EPERM, "no process namespace")
    return int(answer)


def _fork_as_helper(answer_out: int) -> None:
    """Returns in the grandchild alone; the helper ends here."""
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            return
        os.write(answer_out, str(pid).encode())
    finally:
        if os.getpid() != 1:
            os._exit(0)


def process_worlds_work() -> bool:
    """Whether :func:`fork_into_world` works here; to be called where :func:`leave_network` has been."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    pid = fork_into_world()
    if pid == 0:
        os._exit(0 if os.getpid() == 1 else 1)
    return os.waitpid(pid, 0)[1] == 0
