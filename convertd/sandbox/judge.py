"""What the server believes of a child's success: nothing that it has not seen for itself."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from convertd.engines.base import Product
from convertd.errors import ConvertdError, EngineError
from convertd.model.formats import FORMATS, HEAD_BYTES, identify
from convertd.model.operations import ANY

_PLAIN_TEXT: Final = frozenset(("txt", "csv", "md", "json", "xml"))
"""Targets that no magic bytes tell from other text: their content must be text, whatever it looks like."""
_MAY_BE_EMPTY: Final = frozenset(("txt", "csv", "md"))
"""A scanned page has no words and a new sheet no cells: that is a result."""


def judge(products: Sequence[Product], *, out: Path, target: str, file_bytes: int) -> None:
    """Raise :class:`EngineError` unless each product is a plain file in ``out`` of the format ``target``."""
    if not products:
        raise _refused("it names no product")
    if len({product.name for product in products}) != len(products):
        raise _refused("it names a product twice")
    try:
        directory = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(f"its output directory cannot be opened: {error.strerror}") from error
    try:
        for product in products:
            head = _head(product.name, directory, file_bytes)
            if not _is(target, head):
                raise _refused(f"{product.name!r} is no {target}: it starts with {head[:16]!r}")
    finally:
        os.close(directory)


def _head(name: str, directory: int, file_bytes: int) -> bytes:
    """The first bytes of a product."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise _refused(f"{name[:80]!r} is no file name")
    try:
        # Not blocking, for a FIFO would wait for its writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        raise _refused(f"{name!r} cannot be opened: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            raise _refused(f"{name!r} is not a file of its own")
        if status.st_size > file_bytes:
            raise _refused(f"{name!r} has {status.st_size} bytes, more than the {file_bytes} allowed")
        return os.read(descriptor, HEAD_BYTES)
    finally:
        os.close(descriptor)


def _is(target: str, head: bytes) -> bool:
    if target == ANY:
        return True
    if not head:
        return target in _MAY_BE_EMPTY
    if target in _PLAIN_TEXT:
        return _is_text(head)
    try:
        return identify(f"product.{FORMATS[target].extensions[0]}", head).name == target
    except ConvertdError:
        return False


def _is_text(head: bytes) -> bool:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        # The cut at the end of the head may split a character.
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False


def _refused(detail: str) -> EngineError:
    return EngineError("The conversion gave no usable result; the file may be damaged.", detail=detail)
