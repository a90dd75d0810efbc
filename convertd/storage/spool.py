"""A local file on its way into the store: batches, digest, and the durable rename at the end."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from convertd.errors import ConvertdError
from convertd.storage.base import HEAD_BYTES, Blob

BATCH_BYTES: Final = 1024 * 1024
DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Spool:
    """The synchronous side of a writer: the file, its digest and its end. Each call runs in a thread.

    The lock orders a discard after a write whose request was cancelled while the thread still ran.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._done = False
        self._target: Path | None = None
        self._lock = threading.Lock()
        self.digest = hashlib.sha256()

    def write(self, batch: bytearray) -> None:
        """Append ``batch``."""
        with self._lock:
            self._write(batch)

    def commit(self, batch: bytearray, target: Path) -> None:
        """Append the last ``batch`` and publish."""
        with self._lock:
            descriptor = self._write(batch)
            publish(descriptor, self._path, target)
            self._target = target
            self._done = True
            self._close()

    def discard(self) -> None:
        """Remove whatever there is, a target included that was published for nobody."""
        with self._lock:
            self._done = True
            self._close()
            (self._target or self._path).unlink(missing_ok=True)

    def _write(self, batch: bytearray) -> int:
        if self._done:
            raise ValueError("the writer has ended")
        self._done = True
        if self._descriptor is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        with memoryview(batch) as view:
            self.digest.update(view)
            written = 0
            while written < len(view):
                written += os.write(self._descriptor, view[written:])
        self._done = False
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class LocalWriter:
    """:class:`~convertd.storage.base.BlobWriter` that gathers chunks into batches of :data:`BATCH_BYTES`.

    While a thread hashes and writes one batch, the next is gathered; there are never more than these two.
    """

    def __init__(self, spool: Spool, place: Callable[[str], Path], hop: Callable[..., asyncio.Future[None]]):
        self.spool = spool
        self.committed = False
        self._place = place
        self._hop = hop
        self._size = 0
        self._head = bytearray()
        self._batch = bytearray()
        self._writing: asyncio.Future[None] | None = None

    @property
    def size(self) -> int:
        return self._size

    @property
    def head(self) -> bytes:
        return bytes(self._head)

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        with memoryview(chunk).cast("B") as view:
            self._size += len(view)
            if len(self._head) < HEAD_BYTES:
                self._head += view[: HEAD_BYTES - len(self._head)]
            taken = 0
            while taken < len(view):
                part = view[taken : taken + BATCH_BYTES - len(self._batch)]
                self._batch += part
                taken += len(part)
                if len(self._batch) >= BATCH_BYTES:
                    await self._written()
                    self._writing = self._hop(self.spool.write, self._take())

    async def commit(self, key: str) -> Blob:
        target = self._place(key)
        await self._written()
        await self._hop(self.spool.commit, self._take(), target)
        self.committed = True
        return Blob(size=self._size, sha256=self.spool.digest.hexdigest())

    async def discard(self) -> None:
        """Leave nothing behind; what went wrong with the last batch does not matter any more."""
        with contextlib.suppress(ConvertdError, OSError, ValueError):
            await self._written()
        self._take()  # an error's traceback may keep this writer for long, but not what it gathered
        await self._hop(self.spool.discard)

    async def _written(self) -> None:
        """Wait for the batch before; its error is this caller's."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            await writing

    def _take(self) -> bytearray:
        taken, self._batch = self._batch, bytearray()
        return taken


def publish(descriptor: int, path: Path, target: Path) -> None:
    """Rename the open file at ``path`` to ``target``, in the order that survives power loss.

    The file goes to the disk first, then its name, then the folder that holds the name.
    """
    os.fchmod(descriptor, 0o400)
    os.fsync(descriptor)
    try:
        path.rename(target)
    except FileNotFoundError:
        target.parent.mkdir(mode=0o700, exist_ok=True)
        sync_directory(target.parent.parent)
        path.rename(target)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
