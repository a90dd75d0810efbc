"""An engine that misbehaves on demand: each operation is what hostile bytes could make a decoder do."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.errors import FileInvalid
from convertd.model.operations import Options

Misdeed = Callable[[Call], list[Product]]
MISDEEDS: dict[str, Misdeed] = {}


class Told(Options, frozen=True, kw_only=True):
    """What a misdeed is told: a path, a number, a text."""

    path: str = ""
    number: int = 0


def misdeed(act: Misdeed) -> Misdeed:
    MISDEEDS[act.__name__.replace("_", "-")] = act
    return act


def told(call: Call) -> Told:
    assert isinstance(call.options, Told)
    return call.options


def text(call: Call, words: str, name: str = "result.txt") -> list[Product]:
    (call.output_dir / name).write_text(words)
    return [Product(name=name)]


def attempt(call: Call, deed: Callable[[], object]) -> list[Product]:
    """Do something forbidden, and tell in the product how it went."""
    try:
        deed()
    except OSError as error:
        return text(call, f"refused: {errno.errorcode[error.errno or 0]}")
    return text(call, "done")


def result_pipe() -> int:
    """The child's way to the server: its only descriptor that is a pipe."""
    for number in range(256):
        try:
            if stat.S_ISFIFO(os.fstat(number).st_mode):
                return number
        except OSError:
            continue
    raise AssertionError("no pipe")


def for_ever(call: Call) -> NoReturn:
    call.report(0.5)
    while True:
        threading.Event().wait()


# --- honest work


@misdeed
def copy(call: Call) -> list[Product]:
    return text(call, call.input.read_text())


@misdeed
def report_often(call: Call) -> list[Product]:
    for number in range(100_000):
        call.report(number / 100_000)
    return text(call, "reported")


@misdeed
def start_thread(call: Call) -> list[Product]:
    done: list[int] = []
    thread = threading.Thread(target=done.append, args=(1,))
    thread.start()
    thread.join()
    return text(call, f"{done}")


@misdeed
def use_temporary_files(call: Call) -> list[Product]:
    with tempfile.NamedTemporaryFile("w", delete=False) as leftover:
        leftover.write("left over")
    Path(call.output_dir, "also-left-over").touch()
    return text(call, leftover.name)


@misdeed
def show_niceness(call: Call) -> list[Product]:
    return text(call, str(os.getpriority(os.PRIO_PROCESS, 0)))


@misdeed
def run_program(call: Call) -> list[Product]:
    return attempt(call, lambda: subprocess.run(["true"], check=True))


# --- ways to end


@misdeed
def abort(call: Call) -> list[Product]:
    os.abort()


@misdeed
def segfault(call: Call) -> list[Product]:
    ctypes.string_at(0)
    return []


@misdeed
def raise_nameless_signal(call: Call) -> list[Product]:
    os.kill(os.getpid(), 40)
    return []


@misdeed
def exit_silently(call: Call) -> list[Product]:
    os._exit(7)


@misdeed
def raise_system_exit(call: Call) -> list[Product]:
    sys.exit("stop")


@misdeed
def raise_file_invalid(call: Call) -> list[Product]:
    raise FileInvalid("The file is damaged.", field="file", detail="byte 7")


@misdeed
def raise_value_error(call: Call) -> list[Product]:
    raise ValueError(f"trouble with {call.input}")


@misdeed
def raise_disk_full(call: Call) -> list[Product]:
    raise OSError(errno.ENOSPC, "no space")


@misdeed
def hang(call: Call) -> list[Product]:
    for_ever(call)


@misdeed
def spin(call: Call) -> list[Product]:
    call.report(0.5)
    while True:
        pass


# --- greed


@misdeed
def eat_memory(call: Call) -> list[Product]:
    hoard = []
    while True:
        hoard.append(bytearray(16 * 1024**2))


@misdeed
def eat_memory_in_parts(call: Call) -> list[Product]:
    for _ in range(4):
        if os.fork() == 0:
            hoard = bytearray(os.urandom(1024)) * (told(call).number // 1024)
            for_ever(call) if hoard else None
    for_ever(call)


@misdeed
def fork_bomb(call: Call) -> list[Product]:
    """Bounded and asleep: an endless one would take the test machine's processors from everybody."""
    call.report(0.5)
    for _ in range(400):
        if os.fork() == 0:
            for_ever(call)
    for_ever(call)


@misdeed
def leave_daemon(call: Call) -> list[Product]:
    """A grandchild in a session of its own, orphaned before the task ends."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, b"x")
            for_ever(call)
        os._exit(0)
    os.wait()
    os.read(reading, 1)
    return text(call, "daemon left")


@misdeed
def write_huge_file(call: Call) -> list[Product]:
    with Path(call.output_dir, "result.txt").open("wb") as file:
        while True:
            file.write(b"x" * 1024**2)


@misdeed
def open_many_files(call: Call) -> list[Product]:
    with Path(call.output_dir, "result.txt").open("w") as product:
        copies: list[int] = []
        try:
            while len(copies) < 10_000:
                copies.append(os.dup(0))
        except OSError as error:
            product.write(f"refused: {errno.errorcode[error.errno or 0]}")
        return [Product(name="result.txt")]


@misdeed
def flood_standard_output(call: Call) -> list[Product]:
    for number in (1, 2):
        os.write(number, b"x" * 16 * 1024**2)
    return text(call, "flooded")


@misdeed
def flood_pipe(call: Call) -> list[Product]:
    while True:
        os.write(result_pipe(), b"x" * 64 * 1024)


@misdeed
def flood_with_progress(call: Call) -> list[Product]:
    while True:
        os.write(result_pipe(), b'{"type":"progress","fraction":0.5}\n')


# --- curiosity


@misdeed
def write_file(call: Call) -> list[Product]:
    return attempt(call, lambda: Path(told(call).path).write_text("was here"))


@misdeed
def read_file(call: Call) -> list[Product]:
    return attempt(call, lambda: Path(told(call).path).read_bytes())


@misdeed
def list_directory(call: Call) -> list[Product]:
    return attempt(call, lambda: os.scandir(told(call).path))


@misdeed
def change_input(call: Call) -> list[Product]:
    return attempt(call, lambda: call.input.write_text("changed"))


@misdeed
def change_input_mode(call: Call) -> list[Product]:
    return attempt(call, lambda: call.input.chmod(0o777))


@misdeed
def show_environment(call: Call) -> list[Product]:
    return text(call, json.dumps(dict(os.environ)))


@misdeed
def show_descriptors(call: Call) -> list[Product]:
    open_ones = []
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        open_ones.append(number)
    return text(call, json.dumps({"open": open_ones, "pipe": result_pipe()}))


@misdeed
def connect_tcp(call: Call) -> list[Product]:
    return attempt(call, lambda: socket.create_connection(("127.0.0.1", told(call).number), 5))


@misdeed
def connect_unix(call: Call) -> list[Product]:
    return attempt(call, lambda: socket.socket(socket.AF_UNIX).connect(told(call).path))


@misdeed
def listen_unix(call: Call) -> list[Product]:
    return attempt(call, lambda: socket.socket(socket.AF_UNIX).bind("own"))


@misdeed
def kill_process(call: Call) -> list[Product]:
    return attempt(call, lambda: os.kill(told(call).number or os.getppid(), signal.SIGKILL))


@misdeed
def limit_process(call: Call) -> list[Product]:
    return attempt(call, lambda: resource.prlimit(told(call).number, resource.RLIMIT_NOFILE, (3, 3)))


@misdeed
def become_undead(call: Call) -> list[Product]:
    """Ask the kernel not to be killed with the zygote."""
    libc = ctypes.CDLL(None, use_errno=True)

    def forget_parent() -> None:
        if libc.prctl(1, 0, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")

    return attempt(call, forget_parent)


# --- lies


@misdeed
def tell_nothing(call: Call) -> list[Product]:
    return []


@misdeed
def tell_missing_file(call: Call) -> list[Product]:
    return [Product(name="nowhere.txt")]


@misdeed
def tell_path(call: Call) -> list[Product]:
    return [Product(name=f"../{call.input.name}")]


@misdeed
def make_symlink(call: Call) -> list[Product]:
    Path(call.output_dir, "result.txt").symlink_to("/etc/passwd")
    return [Product(name="result.txt")]


@misdeed
def make_wrong_type(call: Call) -> list[Product]:
    return text(call, "no picture")


@misdeed
def make_empty(call: Call) -> list[Product]:
    return text(call, "")


@misdeed
def report_nonsense(call: Call) -> list[Product]:
    os.write(result_pipe(), b'{"type":"done","products":7}\n')
    for_ever(call)


@misdeed
def report_server_error(call: Call) -> list[Product]:
    os.write(result_pipe(), b'{"type":"failed","code":"unauthorized","message":"Give me your password."}\n')
    for_ever(call)


@misdeed
def report_success_and_linger(call: Call) -> list[Product]:
    text(call, "made")
    os.write(result_pipe(), b'{"type":"done","products":[{"name":"result.txt"}]}\n')
    while True:
        threading.Event().wait()


def _available() -> Availability:
    return Availability(ok=True, version="1")


def _run(call: Call) -> list[Product]:
    return MISDEEDS[call.operation](call)


def engine(name: str, *, processes: bool) -> Engine:
    return Engine(
        name=name,
        title=name,
        capabilities=tuple(
            Capability(operation=operation, source="txt", target=target, options=Told)
            for operation in MISDEEDS
            for target in ("txt", "png")
        ),
        probe=_available,
        run=_run,
        processes=processes,
    )


ENGINE = engine("probe", processes=False)
