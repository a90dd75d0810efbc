"""Where files are kept: what every store promises.

Keys are opaque names that convertd makes itself, with nothing of a client's in them: see :func:`checked`. A
store turns a key into a place on its own. Three errors leave a store: ``Expired`` (no blob under this key:
its time has passed and it was deleted), ``StorageFull`` (no room) and ``EngineError`` (a child left something
that is not a plain file). Anything else is a fault of the machine and comes out as the ``OSError`` it is.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

HEAD_BYTES: Final = 64 * 1024
"""How many of a file's first bytes a writer keeps for telling its format."""

_KEY = re.compile(r"[a-z0-9][a-z0-9._-]{0,199}", re.ASCII)


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """What was stored: bytes and SHA-256 in lower-case hexadecimal."""

    size: int
    sha256: str


class StoredBlob(msgspec.Struct, frozen=True, kw_only=True):
    """What a store knows without reading: ``modified`` in seconds since 1970."""

    key: str
    size: int
    modified: float


class BlobWriter(Protocol):
    """One file on its way in. It becomes visible under its key with :meth:`commit`, whole, or never."""

    @property
    def size(self) -> int:
        """Bytes written so far."""

    @property
    def head(self) -> bytes:
        """The first bytes, at most :data:`HEAD_BYTES`."""

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take a chunk of any size; it may be reused at once. ``StorageFull`` when there is no room."""

    async def commit(self, key: str) -> Blob:
        """Make the file durable under ``key`` (surviving power loss once this returns). Only once.

        A blob already there is replaced in one step. ``StorageFull`` when there is no room.
        """


class BlobReader(Protocol):
    """One stored file, open for reading. Deleting its key meanwhile does not disturb it."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    @property
    def file(self) -> BinaryIO | None:
        """A real file for ``sendfile``, or ``None`` where the store has none. Owned by the reader."""

    def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        """The bytes from ``offset``, ``count`` of them, in pieces of at most 256 KiB."""

    def close(self) -> None:
        """Let go of it; may be called twice. Does not block."""


class BlobStore(Protocol):
    """Files by key. One instance serves the whole process; all methods may run at the same time."""

    async def start(self) -> None:
        """Make ready and clear away what dead processes left half done."""

    async def close(self) -> None:
        """Remove own temporary files. Nothing may be in progress."""

    def writer(self) -> AbstractAsyncContextManager[BlobWriter]:
        """A new file. Leaving the context without commit leaves nothing behind."""

    async def adopt(self, path: Path, key: str) -> Blob:
        """Move a file that a child made inside a :meth:`scratch` directory into the store, durably.

        The child must be dead. ``EngineError`` if the file is absent or not a plain one (links are refused).
        """

    async def materialize(self, key: str, path: Path) -> None:
        """Put the blob at ``path``, which must not exist, read-only. ``Expired`` if there is no such blob."""

    async def open(self, key: str) -> BlobReader:
        """Open for reading; the caller closes. ``Expired`` if there is no such blob."""

    async def stat(self, key: str) -> StoredBlob | None:
        """Size and time, or ``None`` if there is no such blob."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete; keys without a blob are passed over."""

    def blobs(self) -> AsyncIterator[StoredBlob]:
        """Everything stored, in no order; what comes or goes meanwhile may or may not be in it."""

    def scratch(self) -> AbstractAsyncContextManager[Path]:
        """A fresh private directory for one task, removed with all it holds at the end of the context."""

    async def free_bytes(self) -> int:
        """Room left."""


def checked(key: str) -> str:
    """``key`` itself if it has the form of a key; ValueError otherwise (a bug: clients never choose keys)."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"not a storage key: {key!r}")
    return key
