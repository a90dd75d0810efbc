"""seccomp-BPF: which system calls a child may make.

A deny list, answered with an errno instead of a signal, so that a library that tries something it can do without
goes on. Source: https://docs.kernel.org/userspace-api/seccomp_filter.html; classic BPF as in ``linux/filter.h``;
numbers from ``asm/unistd_64.h`` (x86-64) and ``asm-generic/unistd.h`` (aarch64).
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from convertd.sandbox import kernel

_SET_MODE_FILTER: Final = 1
_FLAG_SPEC_ALLOW: Final = 4
"""No speculation brakes: kernels before 5.16 would otherwise slow the codecs, to guard secrets that a child has not."""

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
_EVERYBODY: Final = 0xFFFF_FFFF
"""Process number -1, as kill(2) has it."""

_DENIED: Final = """
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_open pidfd_getfd pidfd_send_signal
    mount umount2 pivot_root chroot mount_setattr fsopen fsconfig fsmount fspick move_mount open_tree open_tree_attr
    unshare setns keyctl add_key request_key bpf perf_event_open io_uring_setup io_uring_enter io_uring_register
    userfaultfd kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl
    quotactl_fd syslog settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname name_to_handle_at
    open_by_handle_at iopl ioperm modify_ldt vhangup chown fchown lchown fchownat setxattr lsetxattr fsetxattr
    removexattr lremovexattr fremovexattr setxattrat removexattrat file_setattr mknod mknodat fanotify_init mq_open
    mq_unlink shmget shmat shmctl msgget semget migrate_pages move_pages connect
""".split()
_PRETENDED: Final = "chmod fchmod fchmodat fchmodat2 utime utimes futimesat utimensat".split()
"""Inputs are hard links to stored files: their modes and times belong to the storage."""
_PROCESS_CALLS: Final = "fork vfork execve execveat socket tkill".split()
_OF_ONESELF: Final = "prlimit64 sched_setaffinity sched_setscheduler sched_setattr sched_setparam".split()
"""Their first argument is a process, 0 for the caller; any of the same user's would do."""
_SIGNALS: Final = "kill tgkill rt_sigqueueinfo rt_tgsigqueueinfo".split()

# name: (x86-64, aarch64); -1 where an architecture never had the call.
_NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    name: (int(x86), int(arm))
    for name, x86, arm in (
        row.split()
        for row in """
        ptrace 101 117;process_vm_readv 310 270;process_vm_writev 311 271;process_madvise 440 440;kcmp 312 272
        pidfd_getfd 438 438;pidfd_open 434 434;pidfd_send_signal 424 424;mount 165 40;umount2 166 39
        pivot_root 155 41;chroot 161 51;mount_setattr 442 442;fsopen 430 430;fsconfig 431 431;fsmount 432 432
        fspick 433 433;move_mount 429 429;open_tree 428 428;open_tree_attr 467 467;unshare 272 97;setns 308 268
        keyctl 250 219;add_key 248 217;request_key 249 218;bpf 321 280;perf_event_open 298 241
        io_uring_setup 425 425;io_uring_enter 426 426;io_uring_register 427 427;userfaultfd 323 282
        kexec_load 246 104;kexec_file_load 320 294;init_module 175 105;finit_module 313 273;delete_module 176 106
        reboot 169 142;swapon 167 224;swapoff 168 225;acct 163 89;quotactl 179 60;quotactl_fd 443 443
        syslog 103 116;settimeofday 164 170;clock_settime 227 112;clock_adjtime 305 266;adjtimex 159 171
        sethostname 170 161;setdomainname 171 162;name_to_handle_at 303 264;open_by_handle_at 304 265
        iopl 172 -1;ioperm 173 -1;modify_ldt 154 -1;vhangup 153 58;chmod 90 -1;fchmod 91 52;fchmodat 268 53
        fchmodat2 452 452;chown 92 -1;fchown 93 55;lchown 94 -1;fchownat 260 54;setxattr 188 5;lsetxattr 189 6
        fsetxattr 190 7;removexattr 197 14;lremovexattr 198 15;fremovexattr 199 16;setxattrat 463 463
        removexattrat 466 466;file_setattr 469 469;utime 132 -1;utimes 235 -1;futimesat 261 -1;utimensat 280 88
        mknod 133 -1;mknodat 259 33;fanotify_init 300 262;mq_open 240 180;mq_unlink 241 181;shmget 29 194
        shmat 30 196;shmctl 31 195;msgget 68 186;semget 64 190;prlimit64 302 261;sched_setaffinity 203 122
        sched_setscheduler 144 119;sched_setattr 314 274;sched_setparam 142 118;migrate_pages 256 238
        move_pages 279 239;setpriority 141 140;ioprio_set 251 30;kill 62 129;tkill 200 130;tgkill 234 131
        rt_sigqueueinfo 129 138;rt_tgsigqueueinfo 297 240;clone 56 220;clone3 435 435;fork 57 -1;vfork 58 -1
        execve 59 221;execveat 322 281;socket 41 198;connect 42 203;socketpair 53 199;seccomp 317 277
        prctl 157 167
        """.strip().replace("\n", ";").split(";")
    )
}  # fmt: skip


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


def assemble(*, processes: bool, pid: int) -> bytes:
    """The filter for a child numbered ``pid`` that may start ``processes``, as the kernel reads it."""
    machine = _MACHINES[platform.machine()]

    def call(name: str, block: _Block) -> _Block:
        number = _NUMBERS[name][machine.column]
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
        **(_rules_with_processes() if processes else _rules_alone(pid)),
    }
    for name, block in rules.items():
        program += call(name, block)
    denied = _DENIED if processes else (*_DENIED, *_PROCESS_CALLS)
    program += _all_of((_NUMBERS[name][machine.column] for name in denied), _DENY)
    program += _all_of((_NUMBERS[name][machine.column] for name in _PRETENDED), _PRETEND)
    program.append(_Instruction(_RETURN, _ALLOW))
    return b"".join(struct.pack("=HBBI", i.code, i.if_true, i.if_false, i.constant) for i in program)


def install(program: bytes) -> None:
    """Put ``program`` on this thread and all it will start, for good. Needs no_new_privs. Raises ``OSError``."""
    number = _NUMBERS["seccomp"][_MACHINES[platform.machine()].column]
    argument = _Program(len(program) // 8, program)
    kernel.syscall(number, _SET_MODE_FILTER, _FLAG_SPEC_ALLOW, ctypes.byref(argument))


def _rules_alone(pid: int) -> dict[str, _Block]:
    """Threads yes, processes no; signals to itself only, for abort() and the like."""
    rules = {"clone": [*_load_argument(0), _Instruction(_HAS_BITS, _CLONE_THREAD, 0, 1), *_ALLOW_ELSE_DENY]}
    rules |= {name: _argument_among(0, (pid,)) for name in _SIGNALS}
    rules |= {name: _argument_among(0, (0, pid)) for name in _OF_ONESELF}
    return rules


def _rules_with_processes() -> dict[str, _Block]:
    """Programs may be started and signalled; of sockets only a listening Unix stream (LibreOffice wants one)."""
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
    """The lower half: every argument looked at here is an int to the kernel, and both machines are little-endian."""
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
