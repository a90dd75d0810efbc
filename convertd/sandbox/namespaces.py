"""Namespaces: no network for anybody, and a process world of its own for an engine that starts programs.

Source: namespaces(7), user_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
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
    answer, go = os.pipe(), os.pipe()
    try:
        helper = os.fork()
    except OSError:
        _close(*answer, *go)
        raise
    if helper == 0:
        _help(answer, go)
        return 0
    _close(answer[1], go[0])
    told = os.read(answer[0], 32)
    os.waitpid(helper, 0)
    # Only now is the child this process's own, and a parent-death signal that it sets about this process.
    with suppress(BrokenPipeError):
        os.write(go[1], b"!")
    _close(answer[0], go[1])
    if not told:
        raise OSError(errno.EPERM, "no process namespace")
    return int(told)


def _help(answer: tuple[int, int], go: tuple[int, int]) -> None:
    """Fork into a new namespace and end; returns in the grandchild alone, once the caller is its parent."""
    try:
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            os.write(answer[1], str(pid).encode())
            os._exit(0)
        _close(*answer, go[1])
        if os.read(go[0], 1) != b"!":
            os._exit(1)
        _close(go[0])
    except BaseException:
        os._exit(1)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def process_worlds_work() -> bool:
    """Whether :func:`fork_into_world` works here; to be called where :func:`leave_network` has been."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    pid = fork_into_world()
    if pid == 0:
        os._exit(0 if os.getpid() == 1 else 1)
    return os.waitpid(pid, 0)[1] == 0
