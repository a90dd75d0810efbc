"""A blob store in memory, with a scratch directory that is nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, cast

from convertd.errors import Expired
from convertd.model.ids import new_token
from convertd.storage.base import Blob, BlobReader, BlobWriter, StoredBlob


class GhostPath(PurePosixPath):
    """A path whose files are entries of ``files``: what the executor does with paths, without a disk."""

    files: ClassVar[dict[str, bytes]] = {}

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        pass

    def rename(self, target: GhostPath) -> None:
        self.files[str(target)] = self.files.pop(str(self))

    def write_bytes(self, data: bytes) -> None:
        self.files[str(self)] = data


class FakeBlobs:
    """Implements the parts of :class:`convertd.storage.base.BlobStore` that jobs need."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.log: list[str] = []
        self.scratches = 0
        self.adopting: asyncio.Event | None = None
        """Where set: an adoption waits for it, as a slow disk would."""
        self.files: dict[str, bytes] = {}
        self._path_type = type("ScratchPath", (GhostPath,), {"files": self.files})

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def writer(self) -> contextlib.AbstractAsyncContextManager[BlobWriter]:
        raise NotImplementedError

    async def adopt(self, path: Path, key: str) -> Blob:
        """As with a thread, a caller who is cancelled does not stop what is under way."""
        return await asyncio.shield(asyncio.ensure_future(self._adopt(path, key, self.adopting)))

    async def _adopt(self, path: Path, key: str, adopting: asyncio.Event | None) -> Blob:
        if adopting is not None:
            await adopting.wait()
        data = self.files.pop(str(path))
        self.stored[key] = data
        return Blob(size=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def materialize(self, key: str, path: Path) -> None:
        if key not in self.stored:
            raise Expired("The file has passed its time and was deleted.")
        path.write_bytes(self.stored[key])

    async def open(self, key: str) -> BlobReader:
        raise NotImplementedError

    async def stat(self, key: str) -> StoredBlob | None:
        data = self.stored.get(key)
        return StoredBlob(key=key, size=len(data), modified=0.0) if data is not None else None

    async def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.log.append(f"delete {key}")
            self.stored.pop(key, None)

    async def blobs(self) -> AsyncIterator[StoredBlob]:
        for key, data in list(self.stored.items()):
            yield StoredBlob(key=key, size=len(data), modified=0.0)

    @contextlib.asynccontextmanager
    async def scratch(self) -> AsyncIterator[Path]:
        self.scratches += 1
        try:
            yield cast("Any", self._path_type(f"/scratch-{new_token()}"))
        finally:
            self.scratches -= 1

    async def free_bytes(self) -> int:
        return 1 << 40
