"""Landlock: which files a process may touch, enforced by the kernel without privileges.

Source: https://docs.kernel.org/userspace-api/landlock.html and ``linux/landlock.h``. Every right that the
kernel's ABI knows is handled, so what no rule grants is denied; TCP and, from ABI 6, signals and abstract
sockets that lead out of the domain are denied whole.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from typing import Final

from convertd.sandbox import kernel

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
_REMOVE_DIR: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_DIR: Final = 1 << 7
_MAKE_REG: Final = 1 << 8
MAKE_SOCK: Final = 1 << 9
_MAKE_FIFO: Final = 1 << 10
_MAKE_SYM: Final = 1 << 12
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_IOCTL_DEV: Final = 1 << 15

_ALL_RIGHTS: Final = (0, 0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF)
"""Every file right that an ABI knows, by its number; later ones added none."""
_FILE_RIGHTS: Final = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _IOCTL_DEV
"""Those that make sense on something that is not a directory."""
_NETWORK: Final = 0b11
"""Bind and connect TCP (ABI 4)."""
_SCOPES: Final = 0b11
"""Abstract Unix sockets and signals (ABI 6)."""

READ: Final = READ_FILE | READ_DIR
WRITE: Final = READ | WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
SPECIAL: Final = MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
"""What programs want in their own temporary directory beyond :data:`WRITE`."""
DEVICE: Final = READ_FILE | WRITE_FILE | _TRUNCATE | _IOCTL_DEV


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The kernel's Landlock ABI, 0 where it has none or it is off."""
    try:
        return kernel.syscall(_CREATE_RULESET, 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


class Grant:
    """Rights on one existing file or directory (and all beneath it), with the descriptor held open."""

    def __init__(self, path: str, rights: int) -> None:
        """Raises ``OSError`` where ``path`` cannot be opened."""
        self.descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        is_directory = stat.S_ISDIR(os.fstat(self.descriptor).st_mode)
        self.rights = rights if is_directory else rights & _FILE_RIGHTS


def open_grants(wanted: Iterable[tuple[str, int]]) -> list[Grant]:
    """Grants for those of the paths that exist and may be opened."""
    grants = []
    for path, rights in wanted:
        try:
            grants.append(Grant(path, rights))
        except OSError:
            continue
    return grants


def restrict(grants: Iterable[Grant], *, version: int) -> None:
    """Confine this thread, and all it will start, to ``grants``. Needs no_new_privs. Raises ``OSError``."""
    rights = _ALL_RIGHTS[min(version, len(_ALL_RIGHTS) - 1)]
    attr = _RulesetAttr(rights, _NETWORK if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = kernel.syscall(_CREATE_RULESET, ctypes.byref(attr), size, 0)
    try:
        for grant in grants:
            rule = _PathBeneathAttr(grant.rights & rights, grant.descriptor)
            kernel.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
        kernel.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
