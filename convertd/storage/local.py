"""Blobs as files on one local volume.

::

    root/blobs/3f/KEY           0400, in 256 folders by a hash of the key
    root/work/SESSION/          one a process, locked while it lives: spool files and scratch directories

A file is written aside, fsynced, renamed into place, and its folder fsynced, so that a blob is whole or
absent after a crash. All disk work runs in the store's own threads, each step in one hop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import io
import os
import secrets
import shutil
import stat
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, ParamSpec, TypeVar

from aiofiles.threadpool import wrap

from convertd.errors import EngineError, Expired, StorageFull
from convertd.storage.base import Blob, StoredBlob, checked
from convertd.storage.spool import DIRECTORY, LocalWriter, Spool, publish
from convertd.storage.trees import remove_tree

P = ParamSpec("P")
T = TypeVar("T")

READ_BYTES: Final = 256 * 1024
# Threads mostly wait for the disk's sync, so there are more of them than CPUs.
THREADS: Final = 32

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS: Final = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP})


class LocalStore:
    """:class:`~convertd.storage.base.BlobStore` under one directory, which is made if absent."""

    def __init__(self, root: Path) -> None:
        # Scratch paths go to children, which stand in other folders.
        root = root.absolute()
        self._blobs = root / "blobs"
        self._work = root / "work"
        self._session = self._work / secrets.token_hex(8)
        self._lock: int | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")

    async def start(self) -> None:
        await self._hop(self._start)

    async def close(self) -> None:
        # A cancelled task may have left its scratch directory to a thread that is still removing it.
        await asyncio.to_thread(self._threads.shutdown)
        await asyncio.to_thread(self._close)

    @contextlib.asynccontextmanager
    async def writer(self) -> AsyncIterator[LocalWriter]:
        writer = LocalWriter(Spool(self._session / f"spool-{secrets.token_hex(16)}"), self._place, self._hop)
        try:
            yield writer
        finally:
            if not writer.committed:
                # Shielded: a cancelled request must not leave its spool file behind.
                await asyncio.shield(writer.discard())

    async def adopt(self, path: Path, key: str) -> Blob:
        return await self._hop(self._adopt, path, self._place(key))

    async def materialize(self, key: str, path: Path) -> None:
        await self._hop(_materialize, self._place(key), path)

    async def open(self, key: str) -> LocalReader:
        file, size = await self._hop(_open, self._place(key))
        return LocalReader(file, size, self._threads)

    async def stat(self, key: str) -> StoredBlob | None:
        return await self._hop(_stat, self._place(key))

    async def delete(self, keys: Iterable[str]) -> None:
        await self._hop(_delete, [self._place(key) for key in keys])

    async def blobs(self) -> AsyncIterator[StoredBlob]:
        for folder in await self._hop(_entries, self._blobs):
            for blob in await self._hop(_list_folder, folder):
                yield blob

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        path = self._session / f"scratch-{secrets.token_hex(16)}"
        try:
            await self._hop(path.mkdir, 0o700)
            yield path
        finally:
            await asyncio.shield(self._hop(remove_tree, path))

    async def free_bytes(self) -> int:
        volume = await self._hop(os.statvfs, self._blobs)
        return volume.f_bavail * volume.f_frsize

    def _hop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(
            self._threads, partial(_translated, partial(function, *args, **kwargs))
        )

    def _place(self, key: str) -> Path:
        # Keys may be time-ordered: a hash spreads them, a prefix would not.
        return self._blobs / f"{zlib.crc32(checked(key).encode()) & 0xFF:02x}" / key

    def _start(self) -> None:
        for directory in (self._blobs, self._work):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._work):
            for left in _entries(self._work):
                _remove_if_dead(left)
            self._session.mkdir(mode=0o700)
            self._lock = os.open(self._session, DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def _close(self) -> None:
        remove_tree(self._session)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _adopt(self, path: Path, target: Path) -> Blob:
        folder = path.parent.relative_to(self._session)
        # A child could have put a link to elsewhere in place of one of its folders.
        if path.parent.resolve() != self._session.resolve() / folder:
            raise _no_plain_file(f"{path} leads out of the scratch directory")
        with _open_plain(path) as file:
            digest = hashlib.file_digest(file, hashlib.sha256).hexdigest()
            publish(file.fileno(), path, target)
            return Blob(size=file.tell(), sha256=digest)


class LocalReader:
    """:class:`~convertd.storage.base.BlobReader` over a real file."""

    def __init__(self, file: BinaryIO, size: int, threads: ThreadPoolExecutor) -> None:
        self._file = file
        self._size = size
        self._threads = threads

    @property
    def size(self) -> int:
        return self._size

    @property
    def file(self) -> BinaryIO | None:
        return self._file

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        file = wrap(self._file, executor=self._threads)
        await file.seek(offset)
        while count > 0 and (chunk := await file.read(min(READ_BYTES, count))):
            count -= len(chunk)
            yield chunk

    def close(self) -> None:
        # Closing a file that was only read waits for nothing, unless it was deleted meanwhile and is large.
        try:
            self._threads.submit(self._file.close)
        except RuntimeError:
            self._file.close()


def _translated(function: Callable[[], T]) -> T:
    try:
        return function()
    except OSError as error:
        if error.errno not in _FULL:
            raise
        message = "The server has no room for this file; try again later."
        raise StorageFull(message, detail=str(error), retry_after=60) from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_if_dead(session: Path) -> None:
    try:
        descriptor = os.open(session, DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_tree(session)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


def _materialize(source: Path, path: Path) -> None:
    with _open(source)[0] as file:
        try:
            path.hardlink_to(source)
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        with path.open("xb") as copy:
            path.chmod(0o400)
            shutil.copyfileobj(file, copy, READ_BYTES)


def _open(path: Path) -> tuple[BinaryIO, int]:
    try:
        file = path.open("rb")
    except FileNotFoundError as error:
        raise Expired("The file has passed its time and was deleted.", detail=str(path)) from error
    return file, os.fstat(file.fileno()).st_size


def _open_plain(path: Path) -> io.BufferedReader:
    """A regular file with one name, opened without following a link or waiting for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _no_plain_file(str(error)) from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise _no_plain_file(f"{path}: mode {found.st_mode:o}, {found.st_nlink} links")
    return os.fdopen(descriptor, "rb")


def _stat(path: Path) -> StoredBlob | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return StoredBlob(key=path.name, size=found.st_size, modified=found.st_mtime)


def _delete(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def _list_folder(folder: Path) -> list[StoredBlob]:
    return [blob for path in _entries(folder) if (blob := _stat(path)) is not None]


def _no_plain_file(detail: str) -> EngineError:
    return EngineError("The conversion did not leave a file where one was expected.", detail=detail)
