"""Archives among a request's files: unpacked in the sandbox, their members inputs like any other."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Final

from convertd.engines.base import Limits, Product
from convertd.errors import LimitExceeded
from convertd.model.formats import HEAD_BYTES
from convertd.model.operations import ANY, UNPACK
from convertd.sandbox.runner import Budget, Sandbox, Work
from convertd.storage.base import BlobStore
from convertd.web.uploads import Upload, clean_name

_ENGINE: Final = "archives"
_ARCHIVE: Final = "input.zip"


class Unpacker:
    """Unpacks stored archives into stored files."""

    def __init__(self, blobs: BlobStore, sandbox: Sandbox, *, limits: Limits, budget: Budget) -> None:
        """``limits`` and ``budget`` are those of any task."""
        self._blobs = blobs
        self._sandbox = sandbox
        self._limits = limits
        self._budget = budget

    async def members(self, upload: Upload, *, job_id: str, room: int) -> list[Upload]:
        """The files of the ZIP ``upload``, stored; at most ``room`` of them.

        Folders, links, empty files and what systems leave behind are passed over; an archive within it stays
        whole. The archive's own blob remains the caller's. Raises :class:`FileInvalid` for one that is
        damaged, encrypted or empty, :class:`LimitExceeded` for too many files or bytes, and what a sandbox
        raises; nothing is kept then.
        """
        if room < 1:
            raise LimitExceeded("The job has as many files as it may take; send the archive alone.")
        async with self._blobs.scratch() as scratch, self._kept() as keys:
            await self._blobs.materialize(upload.key, scratch / _ARCHIVE)
            (scratch / "out").mkdir(mode=0o700)
            products = await self._sandbox.run(
                self._work(room),
                scratch=scratch,
                budget=self._budget,
                on_progress=lambda fraction: None,
            )
            _check_count(products, room)
            stored = []
            for product in products:
                keys.append(f"{job_id}-in-{secrets.token_hex(8)}")
                blob = await self._blobs.adopt(scratch / "out" / product.name, keys[-1])
                stored.append(
                    Upload(
                        key=keys[-1],
                        part=upload.part,
                        media_type="",
                        name=clean_name(str(product.facts.get("name", ""))),
                        size=blob.size,
                        sha256=blob.sha256,
                        head=await self._head(keys[-1]),
                    )
                )
            return stored

    def _work(self, room: int) -> Work:
        return Work(
            engine=_ENGINE,
            operation=UNPACK,
            target=ANY,
            options={"members": room},
            inputs=(_ARCHIVE,),
            sources=("zip",),
            limits=self._limits,
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
