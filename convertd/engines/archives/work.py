"""The engine's operations, as the sandboxed child runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final

from convertd.engines.archives import Pack, Unpack
from convertd.engines.archives.naming import last_part, safe_path
from convertd.engines.archives.reading import (
    CHUNK,
    Content,
    Kind,
    Member,
    inflated,
    members,
)
from convertd.engines.archives.writing import EPOCH, deflated, packer
from convertd.engines.base import Call, Product
from convertd.errors import FileInvalid, LimitExceeded
from convertd.model.formats import COMPRESSORS, FORMATS, Family
from convertd.model.naming import Names
from convertd.model.operations import ARCHIVE, UNPACK

_LOOSE: Final = frozenset(("bmp", "tiff", "psd", "tga", "ppm", "svg", "ico", "wav", "aiff", "tar"))
_DENSE_FAMILIES: Final = (Family.PICTURE, Family.VIDEO, Family.SOUND, Family.ARCHIVE)


def run(call: Call) -> list[Product]:
    """Do what ``call`` says. Raises :class:`FileInvalid` and :class:`LimitExceeded`."""
    if call.operation == UNPACK:
        return list(_unpack(call))
    path = call.output_dir / f"output.{FORMATS[call.target].extensions[0]}"
    if call.operation == ARCHIVE:
        made = _compress(call, path) if call.target in COMPRESSORS else _pack(call, path, _inputs(call))
    elif call.source in COMPRESSORS and call.target in COMPRESSORS:
        made = _compress(call, path)
    else:
        made = _pack(call, path, members(call))
    call.report(1.0)
    return [made]


def _level(call: Call) -> int:
    return call.options.level if isinstance(call.options, Pack) else 0


def _pack(call: Call, path: Path, given: Iterator[Member]) -> Product:
    """An archive of the members that may be taken along."""
    names, count, left_out = Names(), 0, 0
    with packer(path, call.target, _level(call)) as add:
        for member in given:
            name = safe_path(member.name)
            if name is None or member.kind is Kind.OTHER:
                left_out += 1
            elif member.kind is Kind.FILE or names.is_free(name):
                add(replace(member, name=names.unique(name)))
                count += member.kind is Kind.FILE
    if not count:
        raise FileInvalid("The archive holds no files that could be taken along.")
    note = f"Left out: {left_out} of its members, which are links, devices or lead out of the archive."
    return Product(name=path.name, facts={"members": count}, notes=(note,) if left_out else ())


def _inputs(call: Call) -> Iterator[Member]:
    """The input files, each under its client's name."""
    tick = _tick_of_inputs(call)
    for path, source, name in zip(call.inputs, call.sources, call.names, strict=True):
        size = path.stat().st_size
        with path.open("rb") as file:
            yield Member(
                name=last_part(name),
                kind=Kind.FILE,
                size=size,
                time=EPOCH,
                dense=FORMATS[source].family in _DENSE_FAMILIES and source not in _LOOSE,
                content=Content(file.read, size, tick),
            )


def _tick_of_inputs(call: Call) -> Callable[[int], None]:
    total = max(sum(path.stat().st_size for path in call.inputs), 1)
    done = 0

    def tick(count: int) -> None:
        nonlocal done
        done += count
        call.report(done / total)

    return tick


def _compress(call: Call, path: Path) -> Product:
    """One file in a compressor; ``convert`` takes it out of that of the source first."""
    tick = _tick_of_inputs(call)
    with ExitStack() as stack:
        file = stack.enter_context(call.input.open("rb"))
        stream = file if call.operation == ARCHIVE else inflated(file, call)
        out = stack.enter_context(deflated(path, call.target, _level(call)))
        at = 0
        while chunk := stream.read(CHUNK):
            out.write(chunk)
            tick(file.tell() - at)
            at = file.tell()
    return Product(name=path.name, facts={"members": 1})


def _unpack(call: Call) -> Iterator[Product]:
    """Every file of the archive as a product of its own, named by number; its name is a fact."""
    most = call.options.members if isinstance(call.options, Unpack) else 0
    count = 0
    for member in members(call):
        if member.content is None or not member.size or _is_litter(member.name):
            continue
        if count == most:
            raise LimitExceeded(f"The archive has more than the {most} files that the job may still take.")
        path = call.output_dir / f"{count:05}"
        with path.open("xb") as out:
            while chunk := member.content.read(CHUNK):
                out.write(chunk)
        yield Product(name=path.name, facts={"name": last_part(member.name)})
        count += 1
    if not count:
        raise FileInvalid("The archive holds no files.")


def _is_litter(name: str) -> bool:
    """What macOS and Windows leave in archives beside the files that were meant."""
    *folders, last = name.replace("\\", "/").split("/")
    return "__MACOSX" in folders or last in (".DS_Store", "Thumbs.db", "desktop.ini")
