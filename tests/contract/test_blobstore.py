"""What every blob store promises, run against each of them; then what is the local disk's own affair."""

import asyncio
import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from convertd.errors import EngineError, Expired, StorageFull
from convertd.model import sniffing
from convertd.storage import base, local, spool
from convertd.storage.base import BlobStore
from convertd.storage.local import LocalStore

STORES: dict[str, Callable[[Path], BlobStore]] = {"local": LocalStore}
BIG = bytes(range(256)) * 10_000 + b"tail"


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    store = STORES[request.param](tmp_path / "data")
    await store.start()
    yield store
    await store.close()


async def put(store: BlobStore, key: str, content: bytes, step: int = 100_000) -> base.Blob:
    async with store.writer() as writer:
        for start in range(0, len(content), step):
            await writer.write(content[start : start + step])
        return await writer.commit(key)


async def content_of(store: BlobStore, key: str, offset: int = 0, count: int | None = None) -> bytes:
    reader = await store.open(key)
    try:
        count = reader.size - offset if count is None else count
        return b"".join([chunk async for chunk in reader.chunks(offset, count)])
    finally:
        reader.close()


async def keys_of(store: BlobStore) -> set[str]:
    return {blob.key async for blob in store.blobs()}


def files_below(path: Path) -> list[str]:
    return [name for _, _, names in os.walk(path) for name in names]


@pytest.mark.parametrize("size", [0, 1, 65_536, 2**20 - 1, 2**20, 2**20 + 1, len(BIG)])
@pytest.mark.parametrize("step", [99_991, 2**22])
async def test_what_is_written_is_read_back(store: BlobStore, size: int, step: int) -> None:
    content = BIG[:size]
    blob = await put(store, "a.in", content, step)
    assert blob == base.Blob(size=size, sha256=hashlib.sha256(content).hexdigest())
    assert await content_of(store, "a.in") == content
    found = await store.stat("a.in")
    assert found is not None
    assert (found.key, found.size) == ("a.in", size)


async def test_size_and_head_are_known_on_the_way(store: BlobStore) -> None:
    async with store.writer() as writer:
        for start in range(0, len(BIG), 300_000):
            await writer.write(memoryview(BIG)[start : start + 300_000])
            seen = BIG[: start + 300_000]
            assert writer.size == len(seen)
            assert writer.head == seen[: base.HEAD_BYTES]
        assert (await writer.commit("k")).sha256 == hashlib.sha256(BIG).hexdigest()
    assert await content_of(store, "k") == BIG


async def test_a_chunk_may_be_reused_at_once(store: BlobStore) -> None:
    chunk = bytearray(b"one")
    async with store.writer() as writer:
        await writer.write(chunk)
        chunk[:] = b"two"
        await writer.write(chunk)
        await writer.commit("k")
    assert await content_of(store, "k") == b"onetwo"


def test_the_head_is_enough_for_sniffing() -> None:
    assert base.HEAD_BYTES >= sniffing.HEAD_BYTES


@pytest.mark.parametrize(
    ("offset", "count"), [(0, 1), (5, 10), (1_000_000, 700_000), (len(BIG) - 2, 2), (3, 0)]
)
async def test_ranges(store: BlobStore, offset: int, count: int) -> None:
    await put(store, "k", BIG)
    assert await content_of(store, "k", offset, count) == BIG[offset : offset + count]


async def test_nothing_is_left_without_commit(store: BlobStore, tmp_path: Path) -> None:
    async with store.writer() as writer:
        await writer.write(BIG)
    with contextlib.suppress(KeyError):
        async with store.writer() as writer:
            await writer.write(BIG)
            raise KeyError
    assert await keys_of(store) == set()
    assert files_below(tmp_path) == []


async def test_a_writer_ends_with_its_commit(store: BlobStore) -> None:
    async with store.writer() as writer:
        await writer.commit("k")
        with pytest.raises(ValueError):
            await writer.commit("l")
    assert await keys_of(store) == {"k"}


async def test_commit_replaces_while_readers_keep_theirs(store: BlobStore) -> None:
    await put(store, "k", b"old")
    reader = await store.open("k")
    await put(store, "k", b"newer")
    assert [chunk async for chunk in reader.chunks(0, 3)] == [b"old"]
    reader.close()
    assert await content_of(store, "k") == b"newer"


async def test_absent_blobs(store: BlobStore, tmp_path: Path) -> None:
    assert await store.stat("k") is None
    with pytest.raises(Expired):
        await store.open("k")
    with pytest.raises(Expired):
        await store.materialize("k", tmp_path / "x")
    await store.delete(["k", "l"])


async def test_delete_leaves_open_readers_alone(store: BlobStore) -> None:
    await put(store, "k", b"x")
    await put(store, "l", b"y")
    reader = await store.open("k")
    await store.delete(["k", "missing"])
    assert [chunk async for chunk in reader.chunks(0, 1)] == [b"x"]
    reader.close()
    reader.close()
    assert await keys_of(store) == {"l"}


async def test_keys_are_listed_with_size_and_time(store: BlobStore) -> None:
    for number in range(20):
        await put(store, f"key-{number}.out", b"x" * number)
    found = {blob.key: blob async for blob in store.blobs()}
    assert {key: blob.size for key, blob in found.items()} == {f"key-{n}.out": n for n in range(20)}
    assert all(blob.modified > 1_700_000_000 for blob in found.values())


@pytest.mark.parametrize(
    "key", ["", ".", "..", "../x", "a/b", "/etc", "A", "a\0", "a\n", "-a", ".a", "ä", "a" * 201, "a b"]
)
async def test_keys_of_another_form_are_refused(store: BlobStore, key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        await store.open(key)
    with pytest.raises(ValueError):
        await store.stat(key)
    with pytest.raises(ValueError):
        await store.delete([key])
    with pytest.raises(ValueError):
        await store.materialize(key, tmp_path / "x")
    with pytest.raises(ValueError):
        await put(store, key, b"x")
    assert await keys_of(store) == set()


async def test_adopt_moves_a_childs_file_in(store: BlobStore) -> None:
    async with store.scratch() as scratch:
        made = scratch / "result.webp"
        made.write_bytes(BIG)
        blob = await store.adopt(made, "k")
        assert not made.exists()
    assert blob == base.Blob(size=len(BIG), sha256=hashlib.sha256(BIG).hexdigest())
    assert await content_of(store, "k") == BIG


@pytest.mark.parametrize(
    "kind", ["absent", "symlink", "directory", "fifo", "hard link", "linked parent", "neighbour"]
)
async def test_adopt_refuses_what_is_no_plain_file(store: BlobStore, kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    async with store.scratch() as scratch, store.scratch() as neighbour:
        path = scratch / "out"
        match kind:
            case "symlink":
                path.symlink_to(secret)
            case "directory":
                path.mkdir()
            case "fifo":
                os.mkfifo(path)
            case "hard link":
                path.hardlink_to(secret)
            case "linked parent":
                (scratch / "sub").symlink_to(tmp_path)
                path = scratch / "sub" / "secret"
            case "neighbour":
                (neighbour / "secret").write_bytes(b"x")
                (scratch / "sub").symlink_to(neighbour)
                path = scratch / "sub" / "secret"
        with pytest.raises(EngineError) as caught:
            await store.adopt(path, "k")
        assert str(tmp_path) not in caught.value.message
    assert await keys_of(store) == set()
    assert secret.read_bytes() == b"secret"


async def test_materialize_gives_a_task_its_input_read_only(store: BlobStore) -> None:
    await put(store, "k", BIG)
    async with store.scratch() as scratch:
        path = scratch / "input.png"
        await store.materialize("k", path)
        assert path.read_bytes() == BIG
        assert stat.S_IMODE(path.stat().st_mode) == 0o400
        with pytest.raises(FileExistsError):
            await store.materialize("k", path)
        await store.delete(["k"])
        assert path.read_bytes() == BIG


async def test_scratch_is_private_and_removed_with_all_it_holds(store: BlobStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "kept").write_bytes(b"x")
    async with store.scratch() as one, store.scratch() as two:
        assert one != two
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
        (one / "link").symlink_to(victim)
        (one / "dangling").symlink_to("nowhere")
        locked = one / "locked" / "inner"
        locked.mkdir(parents=True)
        (locked / "file").write_bytes(b"x")
        locked.chmod(0)
        locked.parent.chmod(0o500)
        one.chmod(0)
    assert not one.exists()
    assert not two.exists()
    assert (victim / "kept").exists()


async def test_scratch_of_any_depth_is_removed(store: BlobStore) -> None:
    async with store.scratch() as scratch:
        here = os.open(scratch, os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("deep", dir_fd=here)
            inner = os.open("deep", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(here)
    assert not scratch.exists()


async def test_scratch_that_became_a_link_takes_nothing_with_it(store: BlobStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    async with store.scratch() as scratch:
        scratch.rmdir()
        scratch.symlink_to(victim)
    assert victim.is_dir()
    assert not scratch.is_symlink()


async def test_free_bytes(store: BlobStore) -> None:
    assert await store.free_bytes() > 0


async def test_many_writers_at_once(store: BlobStore) -> None:
    await asyncio.gather(*(put(store, f"k{n}", BIG[n:]) for n in range(40)))
    assert len(await keys_of(store)) == 40
    assert await content_of(store, "k39") == BIG[39:]


# The local disk


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "data")
    await store.start()
    yield store
    await store.close()


async def test_all_is_private(disk: LocalStore, tmp_path: Path) -> None:
    await put(disk, "k", b"x")
    async with disk.writer() as writer:
        await writer.write(BIG)
        modes = {
            stat.S_IMODE(path.stat().st_mode)
            for path in [*(tmp_path / "data").rglob("*"), tmp_path / "data" / "blobs"]
        }
    assert modes == {0o700, 0o600, 0o400}


async def test_durable_in_the_right_order(
    disk: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def traced_fsync(descriptor: int) -> None:
        log.append("sync " + ("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"))
        fsync(descriptor)

    def traced_rename(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        log.append("rename")
        return moved

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "rename", traced_rename)
    await put(disk, "k", b"x")
    assert log == ["sync file", "sync folder", "rename", "sync folder"]
    log.clear()
    await put(disk, "k", BIG)
    assert log == ["sync file", "rename", "sync folder"]
    log.clear()
    async with disk.scratch() as scratch:
        (scratch / "out").write_bytes(b"x")
        await disk.adopt(scratch / "out", "k")
    assert log == ["sync file", "rename", "sync folder"]


async def test_a_small_file_takes_one_hop(disk: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    hops: list[Any] = []
    submit = disk._threads.submit

    def counted(*args: Any) -> Any:
        hops.append(args)
        return submit(*args)

    monkeypatch.setattr(disk._threads, "submit", counted)
    await put(disk, "k", b"x" * 500_000)
    assert len(hops) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk_is_said_so_and_recovers(
    disk: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StorageFull) as caught:
            await put(disk, "k", BIG)
        assert str(tmp_path) not in caught.value.message
        with pytest.raises(StorageFull):
            await put(disk, "k", b"x")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            await put(disk, "k", BIG)
    assert files_below(tmp_path) == []
    await put(disk, "k", BIG)
    assert await content_of(disk, "k") == BIG


async def test_other_faults_of_the_disk_are_not_hidden(
    disk: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="broken"):
        await put(disk, "k", BIG)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("step", ["write", "commit"])
async def test_a_cancelled_request_leaves_nothing(
    disk: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    loop = asyncio.get_running_loop()
    entered, let_go = asyncio.Event(), asyncio.Event()
    original = getattr(spool.Spool, step)

    def slow(self: spool.Spool, *args: Any) -> None:
        with self._lock:
            loop.call_soon_threadsafe(entered.set)
            asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result()
        original(self, *args)

    monkeypatch.setattr(spool.Spool, step, slow)
    request = asyncio.create_task(put(disk, "k", BIG))
    await entered.wait()
    request.cancel()
    loop.call_soon(let_go.set)
    with pytest.raises(asyncio.CancelledError):
        await request
    assert files_below(tmp_path) == []


async def test_start_clears_away_what_the_dead_left_and_spares_the_living(tmp_path: Path) -> None:
    root = tmp_path / "data"
    dead = root / "work" / "0123456789abcdef"
    (dead / "scratch-1" / "deep").mkdir(parents=True)
    (dead / "spool-1").write_bytes(b"x")
    living = LocalStore(root)
    await living.start()
    async with living.scratch() as scratch:
        other = LocalStore(root)
        await other.start()
        assert scratch.is_dir()
        assert not dead.exists()
        await other.close()
    await living.close()
    assert list((root / "work").iterdir()) == []


async def test_a_relative_or_linked_root_is_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    store = LocalStore(Path("linked"))
    await store.start()
    async with store.scratch() as scratch:
        assert scratch.is_absolute()
        (scratch / "out").write_bytes(b"x")
        await store.adopt(scratch / "out", "k")
    assert await content_of(store, "k") == b"x"
    await store.close()


async def test_materialize_copies_where_links_are_impossible(
    disk: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EXDEV, "other volume")

    await put(disk, "k", BIG)
    monkeypatch.setattr(Path, "hardlink_to", refused)
    await disk.materialize("k", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == BIG
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o400


async def test_readers_leave_no_descriptor_open(disk: LocalStore) -> None:
    await put(disk, "k", BIG)
    await content_of(disk, "k")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        await content_of(disk, "k", 5, 10)
    disk._threads.shutdown(wait=True)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    disk._threads = local.ThreadPoolExecutor(1)
