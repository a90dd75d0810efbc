"""Unpacking a stored archive in the real sandbox into the real store."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from convertd.api.reception import Desk, Reception
from convertd.api.unpacking import Unpacker
from convertd.engines.base import Limits, Product
from convertd.errors import ConvertdError, FileInvalid, LimitExceeded, StorageFull, TooLarge
from convertd.model.formats import HEAD_BYTES
from convertd.sandbox.runner import Budget, Sandbox
from convertd.storage.base import Blob
from convertd.storage.local import LocalStore
from convertd.web.uploads import Intake, Upload, UploadLimits
from tests.support.archives import FILES, TEXT, encrypted, zipped

JOB = "0190a1b2-job"
MANY = 10_000_000
"""Bytes; more than any archive here holds."""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    await sandbox.start()
    yield sandbox
    await sandbox.close()


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[LocalStore]:
    store = LocalStore(tmp_path / "files")
    await store.start()
    yield store
    await store.close()


async def stored(blobs: LocalStore, data: bytes, *, key: str = f"{JOB}-in-0") -> Upload:
    async with blobs.writer() as writer:
        await writer.write(data)
        blob = await writer.commit(key)
    return Upload(
        key=key,
        part="files",
        media_type="application/zip",
        name="photos.zip",
        size=blob.size,
        sha256=blob.sha256,
        head=data[:65536],
    )


async def read(blobs: LocalStore, key: str) -> bytes:
    reader = await blobs.open(key)
    try:
        return b"".join([chunk async for chunk in reader.chunks(0, reader.size)])
    finally:
        reader.close()


async def keys(blobs: LocalStore) -> set[str]:
    return {blob.key async for blob in blobs.blobs()}


def unpacker(blobs: LocalStore, sandbox: Sandbox, *, output_bytes: int = 10_000_000) -> Unpacker:
    limits = Limits(output_bytes=output_bytes)
    return Unpacker(blobs, sandbox, limits=limits, budget=Budget(), at_once=2)


async def test_every_member_is_stored_as_an_upload(blobs: LocalStore, sandbox: Sandbox) -> None:
    upload = await stored(blobs, zipped(FILES | {"../../e\u202evil.txt": b"evil"}))
    members = await unpacker(blobs, sandbox).members(upload, job_id=JOB, room=3, most_bytes=MANY)
    assert [(member.name, await read(blobs, member.key)) for member in members] == [
        ("a.txt", TEXT),
        ("b.bin", FILES["folder/b.bin"]),
        ("e_vil.txt", b"evil"),
    ]
    for member in members:
        assert member.part == "files"
        assert member.key.startswith(f"{JOB}-in-")
        assert member.sha256 == hashlib.sha256(await read(blobs, member.key)).hexdigest()
    assert members[0].head == TEXT[:HEAD_BYTES]
    assert members[0].size == len(TEXT)
    assert await keys(blobs) == {upload.key, *(member.key for member in members)}


async def test_a_thousand_members_with_long_names_come_through(blobs: LocalStore, sandbox: Sandbox) -> None:
    files = {f"{number:04}{'世' * 250}.txt": b"x" for number in range(1000)}
    upload = await stored(blobs, zipped(files))
    members = await unpacker(blobs, sandbox).members(upload, job_id=JOB, room=1000, most_bytes=MANY)
    assert len(members) == 1000
    assert members[0].name.endswith("世.txt")


async def test_what_is_refused_leaves_nothing_behind(
    blobs: LocalStore, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[tuple[bytes, int, int, type[ConvertdError]]] = [
        (zipped(FILES), 1, 10_000_000, LimitExceeded),
        (zipped(FILES), 0, 10_000_000, LimitExceeded),
        (zipped(FILES), 9, 10_000, LimitExceeded),
        (encrypted(zipped(FILES)), 9, 10_000_000, FileInvalid),
        (zipped({"folder/": b""}), 9, 10_000_000, FileInvalid),
        (zipped(FILES)[:-30], 9, 10_000_000, FileInvalid),
    ]
    for data, room, most, error in cases:
        upload = await stored(blobs, data)
        with pytest.raises(error):
            await unpacker(blobs, sandbox, output_bytes=most).members(
                upload, job_id=JOB, room=room, most_bytes=MANY
            )
        with pytest.raises(error):
            await unpacker(blobs, sandbox).members(upload, job_id=JOB, room=room, most_bytes=most)
        assert await keys(blobs) == {upload.key}

    adopt = blobs.adopt

    async def full(path: Path, key: str) -> Blob:
        if path.name != "00000":
            raise StorageFull("no room")
        return await adopt(path, key)

    monkeypatch.setattr(blobs, "adopt", full)
    upload = await stored(blobs, zipped(FILES))
    with pytest.raises(StorageFull):
        await unpacker(blobs, sandbox).members(upload, job_id=JOB, room=9, most_bytes=MANY)
    assert await keys(blobs) == {upload.key}


async def test_archives_wait_for_their_turn(
    blobs: LocalStore, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, inside, most = sandbox.run, 0, 0

    async def counted(*given: Any, **named: Any) -> list[Product]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            return await run(*given, **named)
        finally:
            inside -= 1

    monkeypatch.setattr(sandbox, "run", counted)
    upload, unpacking = await stored(blobs, zipped(FILES)), unpacker(blobs, sandbox)
    unpacked = await asyncio.gather(
        *(unpacking.members(upload, job_id=JOB, room=9, most_bytes=MANY) for _ in range(6))
    )
    assert [len(members) for members in unpacked] == [2] * 6
    assert most == 2


@pytest.mark.parametrize(
    ("file", "request_bytes", "error"),
    [
        (len(TEXT), 2 * len(TEXT), None),
        (len(TEXT) - 1, 2 * len(TEXT), TooLarge),
        (len(TEXT), 2 * len(TEXT) - 1, LimitExceeded),
    ],
)
async def test_what_is_unpacked_counts_as_if_it_had_come_so(
    blobs: LocalStore, sandbox: Sandbox, file: int, request_bytes: int, error: type[ConvertdError] | None
) -> None:
    limits = UploadLimits(file=file, request=request_bytes, files=9, seconds=60.0)
    intake = Intake(blobs, limits)
    reception = Reception(jobs=Mock(), intake=intake, gate=Mock(), unpacker=unpacker(blobs, sandbox))
    async with intake.receiving(JOB) as received:
        for number in range(2):
            received.files.append(await stored(blobs, zipped({"a.txt": TEXT}), key=f"{JOB}-in-{number}"))
        desk = Desk(reception, Mock(), dialect="any", hold=Mock(), received=received, stack=Mock())
        with pytest.raises(error) if error is not None else contextlib.nullcontext():
            assert await desk.unpack() == [0, 1]
            assert [upload.name for upload in desk.files] == ["a.txt", "a.txt"]
    assert await keys(blobs) == set()
