"""Whether a sandbox that starts can convert, and what is told when it cannot."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from convertd.errors import Unavailable
from convertd.sandbox.runner import Budget, Sandbox
from tests.support.server import REPOSITORY, clean_environment

ONE_CALL = """
import asyncio, os, sys
from pathlib import Path
from convertd.sandbox.runner import Budget, Sandbox, Work

async def main(root):
    (root / "out").mkdir()
    (root / "in.txt").write_text("hello")
    work = Work(engine="probe", operation="show-niceness", target="txt", inputs=("in.txt",), sources=("txt",))
    sandbox = Sandbox(engine_modules=("tests.support.probe_engine",))
    try:
        await sandbox.run(work, scratch=root, budget=Budget(), on_progress=lambda fraction: None)
    finally:
        await sandbox.close()
    print((root / "out" / "result.txt").read_text())

os.nice(int(sys.argv[2]))
asyncio.run(main(Path(sys.argv[1])))
"""


async def niceness_of_a_call(root: Path, *, server: int) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ONE_CALL, str(root), str(server)),
        stdout=asyncio.subprocess.PIPE,
        env=clean_environment({}),
        cwd=REPOSITORY,
    )
    told, _ = await process.communicate()
    return int(told)


async def test_a_call_is_nicer_than_the_server(tmp_path: Path) -> None:
    assert await niceness_of_a_call(tmp_path, server=0) >= 5


async def test_a_server_that_is_nice_already_converts(tmp_path: Path) -> None:
    """Only the privileged may become less nice."""
    assert await niceness_of_a_call(tmp_path, server=15) >= 15


async def test_an_interpreter_that_cannot_be_run_is_told_and_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a machine that is out of processes for a moment."""
    sandbox, well = Sandbox(), sys.executable
    (tmp_path / "python").write_text("no program")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    with pytest.raises(Unavailable, match="did not start: Permission denied"):
        await sandbox.start()
    assert len(list(descriptors.iterdir())) == before
    monkeypatch.setattr(sys, "executable", well)
    await sandbox.start()
    await sandbox.try_out(tmp_path, Budget())
    await sandbox.close()


async def test_readiness_brings_a_dead_zygote_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox, well = Sandbox(), sys.executable
    await sandbox.start()
    assert await sandbox.ready()
    assert sandbox._link is not None
    await sandbox._link.close()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    assert not await sandbox.ready()
    monkeypatch.setattr(sys, "executable", well)
    assert await sandbox.ready()
    await sandbox.try_out(tmp_path, Budget())
    await sandbox.close()
    assert not await sandbox.ready()
