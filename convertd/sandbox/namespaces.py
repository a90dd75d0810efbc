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


class ProcessWorlds:
    """Lets the calling process fork children that are the first of a process namespace of their own.

    When such a child ends, for whatever reason, the kernel kills everything that it started.
    """

    def __init__(self) -> None:
        self._home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self) -> int:
        """os.fork() into a new process namespace. Raises ``OSError`` where the kernel forbids it."""
        kernel.unshare(kernel.CLONE_NEWPID)
        pid = os.fork()
        if pid:
            kernel.setns(self._home, kernel.CLONE_NEWPID)
        return pid


def process_worlds_work() -> bool:
    """Whether :class:`ProcessWorlds` works here; to be called where :func:`leave_network` has been."""
    worlds = ProcessWorlds()
    for _ in range(2):
        pid = worlds.fork()
        if pid == 0:
            os._exit(0 if os.getpid() == 1 else 1)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
            return False
    return True
