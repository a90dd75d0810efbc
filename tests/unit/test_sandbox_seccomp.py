"""The system call filter, read by a small interpreter of its own for both machines."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from convertd.sandbox import seccomp
from convertd.sandbox.syscalls import NUMBERS

ALLOW = 0x7FFF_0000
AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
OWN_PID = 0x7FFF_FFFE
CLONE_THREAD, CLONE_NEWUSER = 0x0001_0000, 0x1000_0000
UNIX, INET, INET6, NETLINK, STREAM, DATAGRAM, CLOEXEC = 1, 2, 10, 16, 1, 2, 0o2000000


def answer(program: bytes, arch: int, number: int, arguments: tuple[int, ...]) -> int:
    """What ``program`` returns for a call: classic BPF as in linux/filter.h, over struct seccomp_data."""
    padded = [argument & 0xFFFF_FFFF_FFFF_FFFF for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number, arch, 0, *padded)
    accumulator = position = 0
    while True:
        code, if_true, if_false, constant = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        match code:
            case 0x06:
                return constant
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, constant)
            case 0x54:
                accumulator &= constant
            case 0x05:
                position += constant
            case 0x15:
                position += if_true if accumulator == constant else if_false
            case 0x35:
                position += if_true if accumulator >= constant else if_false
            case 0x45:
                position += if_true if accumulator & constant else if_false
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setattr(seccomp.platform, "machine", lambda: name)
    return name


def judged(machine: str, name: str, *arguments: int, processes: bool = False) -> str:
    number = getattr(NUMBERS[name], machine)
    if number < 0:
        pytest.skip(f"{machine} has no {name}")
    result = answer(seccomp.assemble(processes=processes), AUDIT[machine], number, arguments)
    if result == ALLOW:
        return "allowed"
    assert result & 0xFFFF_0000 == 0x0005_0000
    return errno.errorcode.get(result & 0xFFFF, "pretended")


def test_every_call_of_the_table_is_judged_and_no_other(machine: str) -> None:
    program = seccomp.assemble(processes=False)
    known = {getattr(numbers, machine) for numbers in NUMBERS.values()}
    harmless = {getattr(NUMBERS[name], machine) for name in ("seccomp", "prctl", "bind", "listen")}
    for number in range(600):
        allowed = answer(program, AUDIT[machine], number, (-2, -2, -2)) == ALLOW
        # With arguments that fit nobody, all that is judged by arguments is denied, a thread's clone aside.
        assert allowed == (number not in known or number in harmless | {getattr(NUMBERS["clone"], machine)})


@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "ptrace",
        "mount",
        "unshare",
        "setns",
        "bpf",
        "io_uring_setup",
        "keyctl",
        "connect",
        "open_by_handle_at",
    ],
)
def test_powers_over_the_machine_are_denied_to_all(machine: str, name: str, processes: bool) -> None:
    assert judged(machine, name, processes=processes) == "EPERM"


@pytest.mark.parametrize("name", ["fork", "vfork", "execve", "execveat", "socket"])
def test_programs_and_sockets_need_permission(machine: str, name: str) -> None:
    assert judged(machine, name, UNIX, STREAM) == "EPERM"
    assert judged(machine, name, UNIX, STREAM, processes=True) == "allowed"


def test_threads_are_always_allowed_and_namespaces_never(machine: str) -> None:
    assert judged(machine, "clone", CLONE_THREAD | 0x3D0F00) == "allowed"
    assert judged(machine, "clone", 17) == "EPERM"
    assert judged(machine, "clone", 17, processes=True) == "allowed"
    assert judged(machine, "clone", 17 | CLONE_NEWUSER, processes=True) == "EPERM"
    assert judged(machine, "clone3", processes=True) == "ENOSYS"


@pytest.mark.parametrize(
    ("family", "kind", "outcome"),
    [
        (UNIX, STREAM, "allowed"),
        (UNIX, STREAM | CLOEXEC, "allowed"),
        (UNIX, DATAGRAM, "EPERM"),
        (INET, STREAM, "EPERM"),
        (INET6, DATAGRAM, "EPERM"),
        (NETLINK, 3, "EPERM"),
    ],
)
def test_programs_get_unix_streams_only(machine: str, family: int, kind: int, outcome: str) -> None:
    assert judged(machine, "socket", family, kind, processes=True) == outcome


@pytest.mark.parametrize("name", ["bind", "listen"])
def test_programs_only_believe_that_they_have_an_address(machine: str, name: str) -> None:
    assert judged(machine, name, 3, processes=True) == "pretended"


def test_socket_pairs_send_to_nobody_else(machine: str) -> None:
    assert judged(machine, "socketpair", UNIX, STREAM | CLOEXEC) == "allowed"
    assert judged(machine, "socketpair", UNIX, DATAGRAM) == "EPERM"


@pytest.mark.parametrize("name", ["kill", "tgkill", "rt_sigqueueinfo"])
def test_signals_reach_the_process_itself_only(machine: str, name: str) -> None:
    assert judged(machine, name, OWN_PID) == "allowed"
    for other in (1, 0, -1, os.getpid()):
        assert judged(machine, name, other) == "EPERM"


def test_programs_may_signal_their_own_but_never_everybody(machine: str) -> None:
    assert judged(machine, "kill", 12345, processes=True) == "allowed"
    assert judged(machine, "kill", -1, processes=True) == "EPERM"


def test_limits_and_scheduling_are_its_own(machine: str) -> None:
    for name in ("prlimit64", "sched_setaffinity", "sched_setscheduler"):
        assert judged(machine, name, 0) == judged(machine, name, OWN_PID) == "allowed"
        assert judged(machine, name, 4242) == "EPERM"
        assert judged(machine, name, 4242, processes=True) == "EPERM"
    assert judged(machine, "setpriority", 0, 0) == "allowed"
    assert judged(machine, "setpriority", 0, 4242) == "EPERM"


def test_it_cannot_ask_to_outlive_the_zygote_nor_to_be_looked_into(machine: str) -> None:
    assert judged(machine, "prctl", 1, 0) == "EPERM"
    assert judged(machine, "prctl", 4, 1) == "EPERM"
    assert judged(machine, "prctl", 15, 0) == "allowed"


@pytest.mark.parametrize("name", ["chmod", "fchmod", "fchmodat", "utimensat"])
def test_modes_and_times_are_left_alone_without_a_word(machine: str, name: str) -> None:
    assert judged(machine, name) == judged(machine, name, processes=True) == "pretended"


def test_other_calling_conventions_are_closed(machine: str) -> None:
    program = seccomp.assemble(processes=True)
    read_on_i386 = answer(program, 0x4000_0003, 3, ())
    assert read_on_i386 == 0x0005_0000 | errno.EPERM
    if machine == "x86_64":
        assert answer(program, AUDIT[machine], 0x4000_0000, ()) == 0x0005_0000 | errno.ENOSYS
