"""The system calls that the standard library has no name for.

Numbers and constants are those of the kernel's user-space headers (``linux/prctl.h``, ``linux/capability.h``,
``linux/sched.h``) and the same on every architecture, except where a table says otherwise.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

CAP_DAC_OVERRIDE: Final = 1
_CAPABILITY_VERSION_3: Final = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _checked(result: int, what: str) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")
    return result


def syscall(number: int, *arguments: object) -> int:
    """Do system call ``number``; each argument is an ``int`` or a ctypes pointer. Raises ``OSError``."""
    # libc's syscall() is variadic: without an explicit width an int would be passed as 32 bits.
    widened = [ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *widened), f"system call {number}")


def prctl(option: int, argument: int) -> None:
    """prctl(2) with one argument. Raises ``OSError``."""
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(argument), zero, zero, zero), f"prctl {option}")


def unshare(flags: int) -> None:
    """unshare(2). Raises ``OSError``."""
    _checked(_libc.unshare(flags), "unshare")


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityWords(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def keep_capabilities(mask: int) -> None:
    """Give up for good all capabilities but those in ``mask`` (capset(2)). Raises ``OSError``."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    words = (_CapabilityWords * 2)()
    _checked(_libc.capget(ctypes.byref(header), words), "capget")
    words[0].effective &= mask
    words[0].permitted &= mask
    words[0].inheritable = 0
    words[1].effective = words[1].permitted = words[1].inheritable = 0
    _checked(_libc.capset(ctypes.byref(header), words), "capset")
