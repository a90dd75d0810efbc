"""seccomp-BPF: which system calls a child may make.

A deny list, answered with an errno instead of a signal, so that a library that tries something it can do
without goes on. Source: https://docs.kernel.org/userspace-api/seccomp_filter.html; classic BPF as in
``linux/filter.h``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from convertd.sandbox import kernel
from convertd.sandbox.syscalls import NUMBERS

_SET_MODE_FILTER: Final = 1
_FLAG_SPEC_ALLOW: Final = 4
"""No speculation brakes: kernels before 5.16 would slow the codecs, to guard secrets that a child has not."""

_LOAD, _AND, _JUMP, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGS = 0, 4, 16

_ALLOW: Final = 0x7FFF_0000
_ERRNO: Final = 0x0005_0000
_DENY: Final = _ERRNO | errno.EPERM
_ABSENT: Final = _ERRNO | errno.ENOSYS
_PRETEND: Final = _ERRNO
"""Answers success and does nothing: for calls that programs make out of habit and break without."""

_CLONE_THREAD: Final = 0x0001_0000
_CLONE_NAMESPACES: Final = 0x7E02_0000
_AF_UNIX, _SOCK_STREAM, _SOCK_SEQPACKET, _SOCK_TYPE_MASK = 1, 1, 5, 0xF
_X32_CALLS: Final = 0x4000_0000
_OWN_PID: Final = 0x7FFF_FFFE
"""Stands for the number of the process that installs the filter; no process is ever numbered so high."""
_EVERYBODY: Final = 0xFFFF_FFFF
"""Process number -1, as kill(2) has it."""
_INSTRUCTION: Final = struct.Struct("=HBBI")
_CONSTANT: Final = struct.Struct("=I")

_DENIED: Final = """
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_open pidfd_getfd
    pidfd_send_signal mount umount2 pivot_root chroot mount_setattr fsopen fsconfig fsmount fspick
    move_mount open_tree open_tree_attr unshare setns keyctl add_key request_key bpf perf_event_open
    io_uring_setup io_uring_enter io_uring_register userfaultfd kexec_load kexec_file_load
    init_module finit_module delete_module reboot swapon swapoff acct quotactl quotactl_fd syslog
    settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname name_to_handle_at
    open_by_handle_at iopl ioperm modify_ldt vhangup chown fchown lchown fchownat setxattr lsetxattr
    fsetxattr removexattr lremovexattr fremovexattr setxattrat removexattrat file_setattr mknod
    mknodat fanotify_init mq_open mq_unlink shmget shmat shmctl msgget semget migrate_pages
    move_pages connect
"""
_PRETENDED: Final = "chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat"
"""Inputs are hard links to stored files: their modes and times belong to the storage."""
_PRETENDED_TO_PROGRAMS: Final = "bind listen"
"""LibreOffice does not start without a socket in /tmp for later callers, which nobody here may be."""
_PROCESS_CALLS: Final = "fork vfork execve execveat socket tkill"
_OF_ONESELF: Final = (
    "prlimit64",
    "sched_setaffinity",
    "sched_setscheduler",
    "sched_setattr",
    "sched_setparam",
)
"""Their first argument is a process, 0 for the caller; any of the same user's would do."""
_SIGNALS: Final = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")


class _Machine(NamedTuple):
    audit_arch: int
    column: int


_MACHINES: Final = {"x86_64": _Machine(0xC000_003E, 0), "aarch64": _Machine(0xC000_00B7, 1)}


class _Instruction(NamedTuple):
    code: int
    constant: int
    if_true: int = 0
    if_false: int = 0


_Block = list[_Instruction]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def supported() -> bool:
    """Whether this architecture's numbers are known here."""
    return platform.machine() in _MACHINES


def assemble(*, processes: bool) -> bytes:
    """The filter for a child that may or may not start ``processes``, for :func:`install`."""
    machine = _MACHINES[platform.machine()]

    def call(name: str, block: _Block) -> _Block:
        number = NUMBERS[name][machine.column]
        return [_Instruction(_EQUAL, number, 0, len(block)), *block] if number >= 0 else []

    program: _Block = [
        _Instruction(_LOAD, _OFFSET_ARCH),
        _Instruction(_EQUAL, machine.audit_arch, 1, 0),
        _Instruction(_RETURN, _DENY),
        _Instruction(_LOAD, _OFFSET_NUMBER),
    ]
    if machine.column == 0:
        program += [_Instruction(_AT_LEAST, _X32_CALLS, 0, 1), _Instruction(_RETURN, _ABSENT)]
    rules = {
        "clone3": [_Instruction(_RETURN, _ABSENT)],  # its flags lie in memory, out of a filter's sight
        "socketpair": _argument_among(1, (_SOCK_STREAM, _SOCK_SEQPACKET), mask=_SOCK_TYPE_MASK),
        "prctl": _argument_not_among(0, (kernel.PR_SET_PDEATHSIG, kernel.PR_SET_DUMPABLE)),
        "setpriority": _argument_among(1, (0,)),
        "ioprio_set": _argument_among(1, (0,)),
        **(_rules_with_processes() if processes else _rules_alone()),
    }
    for name, block in rules.items():
        program += call(name, block)
    denied = _DENIED if processes else f"{_DENIED} {_PROCESS_CALLS}"
    program += _all_of((NUMBERS[name][machine.column] for name in denied.split()), _DENY)
    pretended = f"{_PRETENDED} {_PRETENDED_TO_PROGRAMS}" if processes else _PRETENDED
    program += _all_of((NUMBERS[name][machine.column] for name in pretended.split()), _PRETEND)
    program.append(_Instruction(_RETURN, _ALLOW))
    return b"".join(_INSTRUCTION.pack(i.code, i.if_true, i.if_false, i.constant) for i in program)


def install(program: bytes) -> None:
    """Put ``program`` on this thread and what it will start. Needs no_new_privs. Raises ``OSError``."""
    program = program.replace(_CONSTANT.pack(_OWN_PID), _CONSTANT.pack(os.getpid()))
    number = NUMBERS["seccomp"][_MACHINES[platform.machine()].column]
    argument = _Program(len(program) // 8, program)
    kernel.syscall(number, _SET_MODE_FILTER, _FLAG_SPEC_ALLOW, ctypes.byref(argument))


def _rules_alone() -> dict[str, _Block]:
    """Threads yes, processes no; signals to itself only, for abort() and the like."""
    rules = {"clone": [*_load_argument(0), _Instruction(_HAS_BITS, _CLONE_THREAD, 0, 1), *_ALLOW_ELSE_DENY]}
    rules |= {name: _argument_among(0, (_OWN_PID,)) for name in _SIGNALS}
    rules |= {name: _argument_among(0, (0, _OWN_PID)) for name in _OF_ONESELF}
    return rules


def _rules_with_processes() -> dict[str, _Block]:
    """Programs may be started and signalled; of sockets only a Unix stream, which leads nowhere."""
    unix_stream = [
        *_load_argument(0),
        _Instruction(_EQUAL, _AF_UNIX, 1, 0),
        _Instruction(_RETURN, _DENY),
        *_argument_among(1, (_SOCK_STREAM,), mask=_SOCK_TYPE_MASK),
    ]
    namespaces = [*_load_argument(0), _Instruction(_HAS_BITS, _CLONE_NAMESPACES, 1, 0), *_ALLOW_ELSE_DENY]
    rules = {"clone": namespaces, "socket": unix_stream, "kill": _argument_not_among(0, (_EVERYBODY,))}
    return rules | {name: _argument_among(0, (0,)) for name in _OF_ONESELF}


_ALLOW_ELSE_DENY: Final[_Block] = [_Instruction(_RETURN, _ALLOW), _Instruction(_RETURN, _DENY)]


def _load_argument(index: int) -> _Block:
    """The lower half: all arguments judged here are ints to the kernel, and both machines little-endian."""
    return [_Instruction(_LOAD, _OFFSET_ARGS + 8 * index)]


def _argument_among(index: int, values: tuple[int, ...], *, mask: int | None = None) -> _Block:
    masked = [] if mask is None else [_Instruction(_AND, mask)]
    tests = [_Instruction(_EQUAL, value, len(values) - i, 0) for i, value in enumerate(values)]
    return [
        *_load_argument(index),
        *masked,
        *tests,
        _Instruction(_RETURN, _DENY),
        _Instruction(_RETURN, _ALLOW),
    ]


def _argument_not_among(index: int, values: tuple[int, ...]) -> _Block:
    tests = [_Instruction(_EQUAL, value, len(values) - i, 0) for i, value in enumerate(values)]
    return [*_load_argument(index), *tests, *_ALLOW_ELSE_DENY]


def _all_of(numbers: Iterable[int], answer: int) -> _Block:
    known = [number for number in numbers if number >= 0]
    tests = [_Instruction(_EQUAL, number, len(known) - i, 0) for i, number in enumerate(known)]
    return [*tests, _Instruction(_JUMP, 1), _Instruction(_RETURN, answer)]
