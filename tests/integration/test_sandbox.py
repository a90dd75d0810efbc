"""What a converting process may do, how it ends, and what the server makes of its end."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from convertd.errors import (
    ConvertdError,
    EngineError,
    EngineMissing,
    FileInvalid,
    LimitExceeded,
    StorageFull,
    Timeout,
    Unavailable,
    WorkerCrash,
)
from convertd.sandbox import layers, link, processes
from convertd.sandbox.runner import Budget, Sandbox, Work

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODULES = ("tests.support.probe_engine", "tests.support.probe_programs_engine")
SECRET = "CONVERTD_TEST_SECRET"
MB = 1_000_000


class Scratch:
    """A task's directory, and what the test knows of the processes that live in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "out").mkdir(parents=True)
        (root / "in.txt").write_text("hello")
        self.progress: list[float] = []
        self.began = asyncio.Event()

    def on_progress(self, fraction: float) -> None:
        self.progress.append(fraction)
        self.began.set()

    def inhabitants(self) -> list[int]:
        """Living processes whose working directory is here: a child, and all that it starts."""
        found = []
        for process in processes.everybody():
            try:
                cwd = Path(f"/proc/{process.pid}/cwd").readlink()
            except OSError:
                continue
            if cwd.is_relative_to(self.root) and not process.zombie:
                found.append(process.pid)
        return found


class Bench:
    """A sandbox, and short ways to use it."""

    def __init__(self, sandbox: Sandbox, root: Path) -> None:
        self.sandbox = sandbox
        self._root = root
        self._count = 0

    def scratch(self) -> Scratch:
        self._count += 1
        return Scratch(self._root / str(self._count))

    async def run(
        self,
        operation: str,
        *,
        scratch: Scratch | None = None,
        engine: str = "probe",
        target: str = "txt",
        options: dict[str, Any] | None = None,
        **budget: Any,
    ) -> str:
        """The words in the one product."""
        scratch = scratch or self.scratch()
        work = Work(
            engine=engine,
            operation=operation,
            target=target,
            options=options or {},
            inputs=("in.txt",),
            sources=("txt",),
        )
        limits = Budget(**({"wall_seconds": 20.0, "memory_bytes": 256 * MB} | budget))
        try:
            products = await self.sandbox.run(
                work, scratch=scratch.root, budget=limits, on_progress=scratch.on_progress
            )
        finally:
            assert scratch.inhabitants() == []
        (product,) = products
        return (scratch.root / "out" / product.name).read_text()

    def need_sight(self) -> None:
        """Where a child works is a secret that only root may see."""
        if os.geteuid() != 0:
            pytest.skip("needs root, to find the processes of a task")

    def need(self, *names: str) -> None:
        for name in names:
            if not self.sandbox.layers[name]:
                pytest.skip(f"this machine has no {name}")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    os.environ[SECRET] = "do not tell"
    sandbox = Sandbox(engine_modules=MODULES)
    await sandbox.start()
    yield Bench(sandbox, tmp_path_factory.mktemp("sandbox"))
    await sandbox.close()
    del os.environ[SECRET]


@contextmanager
def listening(family: socket.AddressFamily, address: Any) -> Iterator[socket.socket]:
    """A canary: a listener that nobody may reach."""
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        yield listener
        with pytest.raises(BlockingIOError):
            listener.accept()


async def until_dead(pid: int, seconds: float) -> None:
    """Wait until a process, not necessarily a child, has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop, dead = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, dead.set)
    try:
        await asyncio.wait_for(dead.wait(), seconds)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def parent_of(pid: int) -> int:
    return next(process.parent for process in processes.everybody() if process.pid == pid)


# --- honest work


async def test_products_come_back(bench: Bench) -> None:
    assert await bench.run("copy") == "hello"


async def test_progress_is_told_but_not_more_than_twenty_times_a_second(bench: Bench) -> None:
    scratch, start = bench.scratch(), time.monotonic()
    await bench.run("report-often", scratch=scratch)
    assert scratch.progress[0] == 0.0
    assert scratch.progress == sorted(scratch.progress)
    assert len(scratch.progress) <= 20 * (time.monotonic() - start) + 1


async def test_threads_and_temporary_files_work_and_leftovers_are_no_products(bench: Bench) -> None:
    assert await bench.run("start-thread") == "[1]"
    scratch = bench.scratch()
    left_over = await bench.run("use-temporary-files", scratch=scratch)
    assert Path(left_over).parent == scratch.root / "tmp"


async def test_calls_run_side_by_side(bench: Bench) -> None:
    assert await asyncio.gather(*(bench.run("copy") for _ in range(20))) == ["hello"] * 20


@pytest.mark.parametrize(("engine", "outcome"), [("probe", "refused: EPERM"), ("probe-programs", "done")])
async def test_only_an_engine_that_says_so_may_start_programs(
    bench: Bench, engine: str, outcome: str
) -> None:
    bench.need(layers.SECCOMP)
    assert await bench.run("run-program", engine=engine) == outcome


# --- ways to end


@pytest.mark.parametrize(
    ("operation", "error", "detail"),
    [
        ("abort", WorkerCrash, "SIGABRT"),
        ("segfault", WorkerCrash, "SIGSEGV"),
        ("raise-nameless-signal", WorkerCrash, "signal 40"),
        ("exit-silently", WorkerCrash, "exit code 7"),
        ("raise-system-exit", EngineError, "SystemExit: stop"),
        ("raise-file-invalid", FileInvalid, "byte 7"),
        ("raise-value-error", EngineError, "ValueError: trouble with"),
        ("raise-disk-full", StorageFull, "no space"),
        ("report-nonsense", EngineError, "malformed report"),
        ("report-server-error", EngineError, "unauthorized"),
        ("flood-pipe", EngineError, "without an end"),
        ("flood-with-progress", EngineError, "flood"),
        ("tell-nothing", EngineError, "no product"),
        ("tell-missing-file", EngineError, "cannot be opened"),
        ("tell-path", EngineError, "no file name"),
        ("make-symlink", EngineError, None),
    ],
)
async def test_each_bad_end_has_its_error(
    bench: Bench, operation: str, error: type[ConvertdError], detail: str | None
) -> None:
    sibling = asyncio.create_task(bench.run("copy"))
    with pytest.raises(error) as raised:
        await bench.run(operation)
    assert type(raised.value) is error
    assert detail is None or detail in (raised.value.detail or "")
    assert str(bench.scratch().root.parent) not in raised.value.message
    assert await sibling == "hello"


@pytest.mark.parametrize("operation", ["make-wrong-type", "make-empty"])
async def test_a_product_must_be_of_the_target_format(bench: Bench, operation: str) -> None:
    with pytest.raises(EngineError, match="no usable result"):
        await bench.run(operation, target="png")


async def test_a_known_error_keeps_its_sentence_and_field(bench: Bench) -> None:
    with pytest.raises(FileInvalid, match=r"^The file is damaged\.$") as raised:
        await bench.run("raise-file-invalid")
    assert raised.value.field == "file"


async def test_an_engine_that_is_not_there_is_missing(bench: Bench) -> None:
    with pytest.raises(EngineMissing):
        await bench.run("copy", engine="no-such-engine")


async def test_options_that_the_engine_does_not_know_fail_the_call_alone(bench: Bench) -> None:
    with pytest.raises(EngineError, match="conversion failed"):
        await bench.run("copy", options={"colour": "blue"})


async def test_success_that_lingers_is_success(bench: Bench) -> None:
    assert await bench.run("report-success-and-linger") == "made"


@pytest.mark.parametrize("operation", ["hang", "spin"])
async def test_the_wall_clock_ends_a_call(bench: Bench, operation: str) -> None:
    start = time.monotonic()
    with pytest.raises(Timeout):
        await bench.run(operation, wall_seconds=0.2)
    assert time.monotonic() - start < 2.0


async def test_the_processor_clock_ends_a_call(bench: Bench) -> None:
    with pytest.raises(Timeout, match="processor"):
        await bench.run("spin", cpu_seconds=1)


@pytest.mark.parametrize("engine", ["probe", "probe-programs"])
@pytest.mark.parametrize("operation", ["hang", "spin"])
async def test_cancelling_kills_at_once(bench: Bench, operation: str, engine: str) -> None:
    scratch = bench.scratch()
    call = asyncio.create_task(bench.run(operation, scratch=scratch, engine=engine))
    await asyncio.wait_for(scratch.began.wait(), 5)
    assert scratch.inhabitants() != [] or os.geteuid() != 0
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 2)
    assert scratch.inhabitants() == []


async def test_a_child_that_is_killed_has_crashed(bench: Bench) -> None:
    bench.need_sight()
    scratch = bench.scratch()
    call = asyncio.create_task(bench.run("hang", scratch=scratch))
    await asyncio.wait_for(scratch.began.wait(), 5)
    (pid,) = scratch.inhabitants()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerCrash) as raised:
        await asyncio.wait_for(call, 5)
    assert raised.value.retryable
    assert "SIGKILL" in (raised.value.detail or "")


# --- greed


async def test_too_much_memory_is_a_limit(bench: Bench) -> None:
    with pytest.raises(LimitExceeded, match="memory"):
        await bench.run("eat-memory")


async def test_the_memory_of_all_processes_counts_together(bench: Bench) -> None:
    with pytest.raises(LimitExceeded, match="memory"):
        await bench.run("eat-memory-in-parts", engine="probe-programs", options={"number": 100 * MB})


async def test_a_fork_bomb_is_refused(bench: Bench) -> None:
    bench.need(layers.SECCOMP)
    with pytest.raises(EngineError) as raised:
        await bench.run("fork-bomb")
    assert "Operation not permitted" in (raised.value.detail or "")


async def test_a_fork_bomb_where_forks_are_allowed_is_a_limit(bench: Bench) -> None:
    bench.need(layers.PROCESSES)
    with pytest.raises(LimitExceeded, match="processes"):
        await bench.run("fork-bomb", engine="probe-programs", processes=16)
    assert await bench.run("copy") == "hello"


async def test_a_daemon_dies_with_its_task(bench: Bench) -> None:
    assert await bench.run("leave-daemon", engine="probe-programs") == "daemon left"


async def test_a_huge_file_is_a_limit(bench: Bench) -> None:
    with pytest.raises(LimitExceeded, match="8 MB"):
        await bench.run("write-huge-file", file_bytes=8 * MB)


async def test_open_files_are_limited(bench: Bench) -> None:
    assert await bench.run("open-many-files", open_files=64) == "refused: EMFILE"


async def test_standard_output_leads_nowhere(bench: Bench) -> None:
    assert await bench.run("flood-standard-output") == "flooded"


# --- curiosity


@pytest.mark.parametrize("engine", ["probe", "probe-programs"])
async def test_files_of_others_cannot_be_seen_or_changed(bench: Bench, engine: str) -> None:
    bench.need(layers.LANDLOCK)
    other = bench.scratch().root / "in.txt"
    own = bench.scratch()
    for operation, path in [
        ("read-file", "/etc/passwd"),
        ("read-file", str(other)),
        ("read-file", f"/proc/{os.getpid()}/environ"),
        ("read-file", "/proc/self/environ"),
        ("list-directory", str(other.parent.parent)),
        ("list-directory", str(Path.cwd())),
        ("write-file", str(other)),
        ("write-file", "/tmp/convertd-was-here"),
        ("write-file", str(own.root / "beside-out.txt")),
        ("change-input", ""),
    ]:
        outcome = await bench.run(operation, engine=engine, options={"path": path})
        assert outcome == "refused: EACCES", (operation, path)
    assert other.read_text() == "hello"


async def test_an_input_keeps_its_mode(bench: Bench) -> None:
    bench.need(layers.SECCOMP)
    scratch = bench.scratch()
    mode = (scratch.root / "in.txt").stat().st_mode
    await bench.run("change-input-mode", scratch=scratch)
    assert (scratch.root / "in.txt").stat().st_mode == mode


async def test_the_environment_holds_nothing_of_the_servers(bench: Bench) -> None:
    environment = json.loads(await bench.run("show-environment"))
    assert SECRET not in environment
    known = {
        "PATH",
        "TZ",
        "LD_LIBRARY_PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TMPDIR",
        "HOME",
        "MALLOC_ARENA_MAX",
    }
    assert set(environment) <= known | {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}


async def test_no_descriptor_is_inherited_but_the_pipe(bench: Bench) -> None:
    seen = json.loads(await bench.run("show-descriptors"))
    assert seen["open"] == [0, 1, 2, seen["pipe"]]


@pytest.mark.parametrize("engine", ["probe", "probe-programs"])
async def test_the_network_cannot_be_reached(bench: Bench, engine: str) -> None:
    if not bench.sandbox.layers[layers.SECCOMP]:
        bench.need(layers.NETWORK)
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as canary:
        port = canary.getsockname()[1]
        outcome = await bench.run("connect-tcp", engine=engine, options={"number": port})
    assert outcome.startswith("refused: ")


@pytest.mark.parametrize("engine", ["probe", "probe-programs"])
async def test_unix_sockets_of_others_cannot_be_reached(bench: Bench, engine: str) -> None:
    bench.need(layers.SECCOMP)
    path = str(bench.scratch().root / "canary")
    with listening(socket.AF_UNIX, path):
        assert await bench.run("connect-unix", engine=engine, options={"path": path}) == "refused: EPERM"


async def test_a_program_only_believes_that_it_has_a_socket(bench: Bench) -> None:
    bench.need(layers.SECCOMP)
    assert await bench.run("listen-unix") == "refused: EPERM"
    scratch = bench.scratch()
    assert await bench.run("listen-unix", engine="probe-programs", scratch=scratch) == "done"
    assert not (scratch.root / "own").exists()


@pytest.mark.parametrize("operation", ["kill-process", "limit-process"])
async def test_other_processes_cannot_be_touched(bench: Bench, operation: str) -> None:
    bench.need(layers.SECCOMP)
    for pid in (os.getpid(), -1 if operation == "kill-process" else 1):
        assert await bench.run(operation, options={"number": pid}) == "refused: EPERM"
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 3


async def test_the_zygote_cannot_be_killed_nor_escaped(bench: Bench) -> None:
    bench.need(layers.SECCOMP)
    assert await bench.run("kill-process") == "refused: EPERM"
    assert await bench.run("become-undead") == "refused: EPERM"


async def test_programs_cannot_kill_the_server(bench: Bench) -> None:
    bench.need(layers.SECCOMP, layers.PROCESSES)
    for pid in (os.getpid(), -1):
        outcome = await bench.run("kill-process", engine="probe-programs", options={"number": pid})
        assert outcome in ("refused: ESRCH", "refused: EPERM")


# --- the zygote and the server die


@pytest.mark.parametrize("engine", ["probe", "probe-programs"])
async def test_a_lost_zygote_crashes_its_tasks_and_is_replaced(bench: Bench, engine: str) -> None:
    bench.need_sight()
    sandbox = Sandbox(engine_modules=MODULES)
    own = Bench(sandbox, bench.scratch().root)
    scratch = own.scratch()
    call = asyncio.create_task(own.run("hang", scratch=scratch, engine=engine))
    await asyncio.wait_for(scratch.began.wait(), 10)
    (pid,) = scratch.inhabitants()
    os.kill(parent_of(pid), signal.SIGKILL)
    await until_dead(pid, 1)
    with pytest.raises(WorkerCrash) as raised:
        await asyncio.wait_for(call, 5)
    assert raised.value.retryable
    assert await own.run("copy") == "hello"
    await sandbox.close()


async def test_closing_kills_what_runs_and_refuses_what_comes(bench: Bench) -> None:
    bench.need_sight()
    sandbox = Sandbox(engine_modules=MODULES)
    own = Bench(sandbox, bench.scratch().root)
    scratch = own.scratch()
    call = asyncio.create_task(own.run("hang", scratch=scratch))
    await asyncio.wait_for(scratch.began.wait(), 10)
    zygote = parent_of(scratch.inhabitants()[0])
    await sandbox.close()
    await sandbox.close()
    with pytest.raises(WorkerCrash):
        await call
    with pytest.raises(Unavailable):
        await own.run("copy")
    with pytest.raises(ProcessLookupError):
        os.kill(zygote, 0)


SERVER = """
import asyncio, sys
from pathlib import Path
from convertd.sandbox.runner import Budget, Sandbox, Work

async def main(engine, operation, scratch):
    sandbox = Sandbox(engine_modules={modules!r})
    work = Work(engine=engine, operation=operation, target="txt", inputs=("in.txt",), sources=("txt",))
    await sandbox.run(
        work, scratch=Path(scratch), budget=Budget(processes=1000),
        on_progress=lambda fraction: print("runs", flush=True),
    )

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("engine", ["probe", "probe-programs"])
async def test_nothing_outlives_a_server_that_is_killed(bench: Bench, engine: str) -> None:
    bench.need_sight()
    scratch = bench.scratch()
    script = SERVER.format(modules=MODULES)
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, engine, "hang", str(scratch.root)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert server.stdout is not None
    assert await asyncio.wait_for(server.stdout.readline(), 10) == b"runs\n"
    (pid,) = scratch.inhabitants()
    zygote = parent_of(pid)
    server.kill()
    await server.wait()
    await until_dead(pid, 1)
    await until_dead(zygote, 1)
    assert scratch.inhabitants() == []


async def test_neither_server_nor_zygote_keeps_descriptors_of_ended_calls(bench: Bench) -> None:
    bench.need_sight()
    scratch = bench.scratch()
    witness = asyncio.create_task(bench.run("hang", scratch=scratch))
    await asyncio.wait_for(scratch.began.wait(), 5)
    zygote = parent_of(scratch.inhabitants()[0])

    def descriptors() -> list[int]:
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), zygote)]

    before = descriptors()
    for _ in range(5):
        for operation in ("copy", "abort", "report-nonsense", "raise-file-invalid"):
            for engine in ("probe", "probe-programs"):
                await asyncio.gather(bench.run(operation, engine=engine), return_exceptions=True)
        await asyncio.gather(bench.run("copy", engine="no-such-engine"), return_exceptions=True)
    assert descriptors() == before
    witness.cancel()
    with pytest.raises(asyncio.CancelledError):
        await witness


# --- layers


async def test_layers_are_named_and_tried(bench: Bench) -> None:
    assert set(bench.sandbox.layers) == {
        *(layers.LIMITS, layers.PRIVILEGES, layers.LANDLOCK),
        *(layers.SECCOMP, layers.NETWORK, layers.PROCESSES),
    }
    assert bench.sandbox.layers[layers.LIMITS]


async def test_a_required_sandbox_refuses_to_start_without_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    spawn = link.ZygoteLink.spawn

    async def without_landlock(modules: Any) -> link.ZygoteLink:
        spawned = await spawn(modules)
        spawned.layers[layers.LANDLOCK] = False
        return spawned

    monkeypatch.setattr(link.ZygoteLink, "spawn", without_landlock)
    sandbox = Sandbox(require=True)
    with pytest.raises(Unavailable, match="landlock"):
        await sandbox.start()
    await sandbox.close()


async def test_a_zygote_that_cannot_load_an_engine_module_is_told() -> None:
    sandbox = Sandbox(engine_modules=("tests.support.no_such_module",))
    with pytest.raises(Unavailable):
        await sandbox.start()
    await sandbox.close()
