"""Archives among a request's files: unpacked in the sandbox, their members inputs like any other."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from convertd.engines.base import Limits, Product
from convertd.errors import LimitExceeded
from convertd.model.formats import HEAD_BYTES
from convertd.model.operations import ANY, UNPACK
from convertd.sandbox.runner import Budget, Sandbox, Work
from convertd.storage.base import BlobStore
from convertd.web.uploads import Upload, clean_name

_ENGINE: Final = "archives"
_ARCHIVE: Final = "input.zip"
_AT_ONCE: Final = 8
"""So many files are brought to the disk at a time, each of which waits for it."""


class Unpacker:
    """Unpacks stored archives into stored files."""

    def __init__(
        self, blobs: BlobStore, sandbox: Sandbox, *, limits: Limits, budget: Budget, at_once: int
    ) -> None:
        """``limits`` and ``budget`` are those of any task; so many archives are unpacked ``at_once``, the
        others wait."""
        self._blobs = blobs
        self._sandbox = sandbox
        self._limits = limits
        self._budget = budget
        self._places = asyncio.Semaphore(at_once)

    async def members(self, upload: Upload, *, job_id: str, room: int, most_bytes: int) -> list[Upload]:
        """The files of the ZIP ``upload``, stored; at most ``room`` of them, and ``most_bytes`` together.

        Folders, links, empty files and what systems leave behind are passed over; an archive within it stays
        whole. The archive's own blob remains the caller's. Raises :class:`FileInvalid` for one that is
        damaged, encrypted or empty, :class:`LimitExceeded` for too many files or bytes, and what a sandbox
        raises; nothing is kept then.
        """
        if room < 1:
            raise LimitExceeded("The job has as many files as it may take; send the archive alone.")
        async with self._places, self._blobs.scratch() as scratch, self._kept() as keys:
            await self._blobs.materialize(upload.key, scratch / _ARCHIVE)
            (scratch / "out").mkdir(mode=0o700)
            products = await self._sandbox.run(
                self._work(room, most_bytes),
                scratch=scratch,
                budget=self._budget,
                on_progress=lambda fraction: None,
            )
            _check_count(products, room)
            stored: list[Upload] = []
            for start in range(0, len(products), _AT_ONCE):
                batch = products[start : start + _AT_ONCE]
                new = [f"{job_id}-in-{secrets.token_hex(8)}" for _ in batch]
                keys += new
                adopting = [
                    self._adopt(scratch / "out", product, key, upload.part)
                    for product, key in zip(batch, new, strict=True)
                ]
                # All of them have ended before anything is undone.
                for adopted in await asyncio.gather(*adopting, return_exceptions=True):
                    if isinstance(adopted, BaseException):
                        raise adopted
                    stored.append(adopted)
            return stored

    async def _adopt(self, folder: Path, product: Product, key: str, part: str) -> Upload:
        blob = await self._blobs.adopt(folder / product.name, key)
        return Upload(
            key=key,
            part=part,
            media_type="",
            name=clean_name(str(product.facts.get("name", ""))),
            size=blob.size,
            sha256=blob.sha256,
            head=await self._head(key),
        )

    def _work(self, room: int, most_bytes: int) -> Work:
        return Work(
            engine=_ENGINE,
            operation=UNPACK,
            target=ANY,
            options={"members": room},
            inputs=(_ARCHIVE,),
            sources=("zip",),
            limits=replace(self._limits, output_bytes=min(most_bytes, self._limits.output_bytes)),
        )

    @contextlib.asynccontextmanager
    async def _kept(self) -> AsyncIterator[list[str]]:
        """Keys whose blobs are deleted unless the context ends well."""
        keys: list[str] = []
        try:
            yield keys
        except BaseException:
            await self._blobs.delete(keys)
            raise

    async def _head(self, key: str) -> bytes:
        reader = await self._blobs.open(key)
        try:
            return b"".join([chunk async for chunk in reader.chunks(0, HEAD_BYTES)])
        finally:
            reader.close()


def _check_count(products: list[Product], room: int) -> None:
    """The child has decoded hostile bytes: its word is not enough."""
    if len(products) > room:
        raise LimitExceeded(f"The archive has more than the {room} files that the job may still take.")
