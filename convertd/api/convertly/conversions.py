"""Converting and compressing: a format, a compression and a size for each file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from convertd.api.convertly.forms import Fields, checked_flag, checked_integer, checked_word
from convertd.api.convertly.tasks import LOSSY, task
from convertd.engines.registry import Registry
from convertd.errors import InvalidRequest
from convertd.jobs.submission import TaskRequest, target_of
from convertd.model.formats import COMPRESSORS, FORMATS, Family, known_format
from convertd.model.job import Artifact
from convertd.model.operations import ARCHIVE, COMPRESS, CONVERT
from convertd.web.uploads import Upload

DEFAULT_COMPRESSION: Final = 82
"""The quality of pictures with loss."""
MOST_PIXELS: Final = 32767
_MOST_BYTES: Final = 1 << 40


class Box(NamedTuple):
    """What a picture is scaled into; never up."""

    width: int
    height: int
    fit: str = "inside"


BOXES: Final = {
    "website": Box(1920, 1920),
    "email": Box(800, 800),
    "ecommerce": Box(1600, 1600),
    "instagram": Box(1080, 1080, "cover"),
    "linkedin": Box(1200, 627, "cover"),
    "square": Box(1000, 1000, "cover"),
}
"""The resize presets that have a box of their own. The service publishes none; these are convertd's."""
RESIZES: Final = ("original", *BOXES, "width", "height")

_WORDS: Final = {
    "quality": "compression",
    "width": "resizeWidth",
    "height": "resizeHeight",
    "auto_orient": "autoOrient",
    "fit": "resize",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for one file."""

    target: str | None
    """``None``: the file's own format."""
    compression: int | None
    size: dict[str, Any]
    auto_orient: bool | None

    @property
    def archives(self) -> bool:
        """Whether the result is an archive."""
        return self.target is not None and FORMATS[self.target].family is Family.ARCHIVE

    def options(self, target: str) -> dict[str, Any]:
        """What is asked of the engine that makes ``target``."""
        default = DEFAULT_COMPRESSION if target in LOSSY else None
        return {
            **self.size,
            "quality": self.compression if self.compression is not None else default,
            "auto_orient": self.auto_orient,
        }


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """Implements :class:`convertd.api.convertly.tasks.Wish`."""

    operation: str
    each: tuple[Settings, ...]
    """For each file as it was sent."""

    @property
    def label(self) -> dict[str, str]:
        return {"jobType": self.operation}

    def whole(self, uploads: Sequence[Upload]) -> Collection[Upload]:
        return [upload for upload, settings in zip(uploads, self.each, strict=True) if settings.archives]

    def tasks(
        self, registry: Registry, inputs: Sequence[Artifact], origins: Sequence[int]
    ) -> tuple[TaskRequest, ...]:
        made = []
        packed: dict[str, list[int]] = {}
        for index, artifact in enumerate(inputs):
            settings = self.each[origins[index]]
            if settings.archives and self.operation == CONVERT:
                packed.setdefault(settings.target or "", []).append(index)
            else:
                made.append(self._single(registry, inputs, index, artifact, settings))
        for target, members in packed.items():
            made += _packing(registry, inputs, members, target)
        return tuple(made)

    def _single(
        self,
        registry: Registry,
        inputs: Sequence[Artifact],
        index: int,
        artifact: Artifact,
        settings: Settings,
    ) -> TaskRequest:
        wanted = TaskRequest(inputs=(index,), operation=self.operation, target=settings.target)
        target = target_of(registry, wanted, artifact.format)
        return task(
            registry,
            inputs,
            (index,),
            operation=self.operation,
            target=target,
            options=settings.options(target),
            words=_WORDS,
        )


def _packing(
    registry: Registry, inputs: Sequence[Artifact], members: Sequence[int], target: str
) -> list[TaskRequest]:
    """All into one archive, or each into one of its own where the format holds but one."""
    groups = [[index] for index in members] if target in COMPRESSORS else [list(members)]
    made = []
    for group in groups:
        source = inputs[group[0]].format
        packs_again = len(group) == 1 and (CONVERT, source, target) in registry.steps
        operation = CONVERT if packs_again else ARCHIVE
        made.append(task(registry, inputs, group, operation=operation, target=target, options={}, words={}))
    return made


def read_conversion(fields: Fields, files: int, *, operation: str = CONVERT) -> Conversion:
    """What a request that sent so many files asks for; raises :class:`InvalidRequest`."""
    formats = fields.each("format", "formats", files)
    if operation == CONVERT and None in formats:
        raise InvalidRequest(
            "'format' is missing: one format for all files, or 'formats' with one for each.", field="format"
        )
    compressions = fields.each("compression", "compressions", files)
    orients = fields.each("autoOrient", "autoOrients", files)
    sizes = read_sizes(fields, files)
    each = tuple(
        Settings(
            target=None if formats[n] is None else known_format(formats[n] or "", field="format").name,
            compression=checked_integer("compression", compressions[n], 1, 100),
            size=sizes[n],
            auto_orient=checked_flag("autoOrient", orients[n]),
        )
        for n in range(files)
    )
    return Conversion(operation=operation, each=each)


def read_sizes(fields: Fields, files: int) -> list[dict[str, Any]]:
    """The options ``width``, ``height`` and ``fit`` for each file."""
    resizes = fields.each("resize", "resizes", files)
    widths = fields.each("resizeWidth", "resizeWidths", files)
    heights = fields.each("resizeHeight", "resizeHeights", files)
    return [
        _size(
            checked_word("resize", resizes[n], RESIZES),
            checked_integer("resizeWidth", widths[n], 1, MOST_PIXELS),
            checked_integer("resizeHeight", heights[n], 1, MOST_PIXELS),
        )
        for n in range(files)
    ]


def _size(resize: str | None, width: int | None, height: int | None) -> dict[str, Any]:
    if resize == "original":
        return {}
    if resize is None:
        return {"width": width, "height": height}
    if resize in BOXES:
        return BOXES[resize]._asdict()
    side, name = (width, "resizeWidth") if resize == "width" else (height, "resizeHeight")
    if side is None:
        raise InvalidRequest(f"'resize' = '{resize}' needs '{name}'.", field=name)
    return {resize: side}


class Compression(msgspec.Struct, frozen=True, kw_only=True):
    """What ``/api/compress`` asks for; implements :class:`convertd.api.convertly.tasks.Wish`."""

    target: str | None
    quality: int | None
    target_bytes: int | None
    lossless: bool
    strip_metadata: bool | None

    @property
    def operation(self) -> str:
        return COMPRESS

    @property
    def label(self) -> dict[str, str]:
        return {"jobType": COMPRESS}

    def whole(self, uploads: Sequence[Upload]) -> Collection[Upload]:
        return ()

    def tasks(
        self, registry: Registry, inputs: Sequence[Artifact], origins: Sequence[int]
    ) -> tuple[TaskRequest, ...]:
        return tuple(self._task(registry, inputs, index) for index in range(len(inputs)))

    def _task(self, registry: Registry, inputs: Sequence[Artifact], index: int) -> TaskRequest:
        wanted = TaskRequest(inputs=(index,), operation=COMPRESS, target=self.target)
        target = target_of(registry, wanted, inputs[index].format)
        operation, options = self._way(target)
        words = {"quality": "quality", "target_bytes": "targetBytes", "strip_metadata": "stripMetadata"}
        return task(
            registry, inputs, (index,), operation=operation, target=target, options=options, words=words
        )

    def _way(self, target: str) -> tuple[str, dict[str, Any]]:
        """The operation and its options by which the target gets smaller as it was asked."""
        stripped = {"strip_metadata": self.strip_metadata}
        if self.lossless:
            if target in _LOSSLESS_BY_QUALITY:
                return COMPRESS, {"quality": 100, **stripped}
            if target in _LOSSLESS_BY_OPTION:
                keep = self.strip_metadata is False
                return CONVERT, {"lossless": True, "strip_metadata": not keep}
            ways = ", ".join(sorted((*_LOSSLESS_BY_QUALITY, *_LOSSLESS_BY_OPTION)))
            raise InvalidRequest(
                f"'lossless' is possible for {ways}, not for {target}; leave it out.", field="lossless"
            )
        if self.target_bytes is not None:
            return COMPRESS, {"target_bytes": self.target_bytes, **stripped}
        default = DEFAULT_COMPRESSION if target in LOSSY else None
        return COMPRESS, {"quality": self.quality if self.quality is not None else default, **stripped}


_LOSSLESS_BY_QUALITY: Final = ("png", "gif", "tiff")
_LOSSLESS_BY_OPTION: Final = ("webp", "jp2")


def read_compression(fields: Fields) -> Compression:
    """What the request asks for; raises :class:`InvalidRequest`."""
    word = fields.text("format")
    target_bytes = fields.integer("targetBytes", 256, _MOST_BYTES)
    mode = fields.word("mode", ("quality", "target-size"))
    if mode == "target-size" and target_bytes is None:
        raise InvalidRequest("'mode' = 'target-size' needs 'targetBytes'.", field="targetBytes")
    return Compression(
        target=known_format(word, field="format").name if word is not None else None,
        quality=fields.integer("quality", 1, 100),
        target_bytes=target_bytes if mode != "quality" else None,
        lossless=fields.flag("lossless") is True,
        strip_metadata=fields.flag("stripMetadata"),
    )
