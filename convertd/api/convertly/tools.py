"""The media tools: which operation each one is, and what its fields mean."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from convertd.api.convertly.conversions import MOST_PIXELS, read_sizes
from convertd.api.convertly.forms import FILE_PARTS, Fields
from convertd.api.convertly.tasks import task
from convertd.engines.registry import Registry
from convertd.errors import InvalidRequest, NotFound
from convertd.jobs.submission import TaskRequest
from convertd.model import operations as ops
from convertd.model.formats import FORMATS, Family, known_format
from convertd.model.job import Artifact
from convertd.web.uploads import Upload

WATERMARK_PART: Final = "watermarkFile"
MOST_SECONDS: Final = 360_000
OTHERS_TOOLS: Final = ("jobs", "optimize", "presets", "limits")
"""Names under ``/api/media/`` that never are tools: another API has them."""

Read = Callable[[Fields, str], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a tool: its name, the option that it means, how it is read, and the service's default."""

    name: str
    option: str
    read: Read
    default: Any = None


def _whole(low: int, high: int) -> Read:
    return lambda fields, name: fields.integer(name, low, high)


def _number(low: float, high: float) -> Read:
    return lambda fields, name: fields.number(name, low, high)


def _word(*allowed: str) -> Read:
    return lambda fields, name: fields.word(name, allowed)


def _bits(fields: Fields, name: str) -> int | None:
    """The service tells a least but no most; no codec here makes use of more than 320."""
    kilobits = fields.integer(name, 32, 100_000)
    return None if kilobits is None else min(kilobits, 320) * 1000


_SIDE: Final = _whole(1, MOST_PIXELS)
_SECONDS: Final = _number(0, MOST_SECONDS)
_FACTOR: Final = _number(0, 4)


def _quality(default: int | None, name: str = "quality") -> Field:
    return Field(name, "quality", _whole(1, 100), default)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """One media tool."""

    operation: str
    target: str | None
    """The default of ``format``; ``None``: the file's own."""
    fields: tuple[Field, ...] = ()
    fixed: bool = False
    """Whether ``format`` has no say."""
    gathers: bool = False
    """Whether all files make one result."""
    for_sound: str | None = None
    """The operation where the file is a sound."""


TOOLS: Final[Mapping[str, Tool]] = {
    "thumbnail": Tool(
        operation=ops.THUMBNAIL,
        target="jpg",
        fields=(
            Field("width", "width", _SIDE),
            Field("height", "height", _SIDE),
            Field("fit", "fit", _word("cover", "contain", "inside")),
            Field("timestamp", "timestamp", _SECONDS, 1.0),
            _quality(82),
        ),
    ),
    "poster-frame": Tool(
        operation=ops.THUMBNAIL,
        target="jpg",
        fields=(
            Field("timestamp", "timestamp", _SECONDS, 1.0),
            Field("width", "width", _SIDE, 1280),
            _quality(86),
        ),
    ),
    "pdf-preview": Tool(
        operation=ops.THUMBNAIL,
        target="jpg",
        fields=(
            Field("page", "page", _whole(1, 100_000), 1),
            Field("width", "width", _SIDE, 1600),
            _quality(86),
        ),
    ),
    "storyboard": Tool(
        operation=ops.STORYBOARD,
        target="jpg",
        fields=(
            Field("frames", "frames", _whole(1, 100), 12),
            Field("columns", "columns", _whole(1, 10), 4),
            Field("width", "width", _whole(16, 2048), 240),
            _quality(86),
        ),
    ),
    "extract-audio": Tool(
        operation=ops.EXTRACT_AUDIO,
        target="mp3",
        fields=(Field("bitrateKbps", "audio_bitrate", _bits, 192_000),),
        for_sound=ops.CONVERT,
    ),
    "concat-audio": Tool(
        operation=ops.CONCAT,
        target="mp3",
        fields=(Field("bitrateKbps", "audio_bitrate", _bits),),
        gathers=True,
    ),
    "trim": Tool(
        operation=ops.TRIM,
        target=None,
        fields=(Field("start", "start", _SECONDS, 0.0), Field("duration", "duration", _SECONDS, 10.0)),
    ),
    "gif": Tool(
        operation=ops.CONVERT,
        target="gif",
        fixed=True,
        fields=(
            Field("start", "start", _SECONDS, 0.0),
            Field("duration", "duration", _SECONDS, 4.0),
            Field("width", "width", _SIDE, 480),
            Field("fps", "fps", _number(1, 60), 12.0),
        ),
    ),
    "convert": Tool(operation=ops.CONVERT, target="mp4", fields=(_quality(None, "compressionLevel"),)),
    "transform": Tool(
        operation=ops.TRANSFORM,
        target="webp",
        fields=(
            Field("width", "width", _SIDE),
            Field("height", "height", _SIDE),
            Field("fit", "fit", _word("cover", "contain", "fill", "inside", "outside")),
            Field("rotate", "rotate", _number(-3600, 3600)),
            Field("flip", "flip", Fields.flag),
            Field("flop", "flop", Fields.flag),
            Field("cropLeft", "crop_left", _whole(0, 1_000_000)),
            Field("cropTop", "crop_top", _whole(0, 1_000_000)),
            Field("cropWidth", "crop_width", _SIDE),
            Field("cropHeight", "crop_height", _SIDE),
            _quality(86),
        ),
    ),
    "adjust": Tool(
        operation=ops.ADJUST,
        target=None,
        fields=(
            *(Field(name, name, _FACTOR) for name in ("brightness", "contrast", "saturation", "sharpness")),
            Field("gamma", "gamma", _number(0.1, 10)),
            Field("blur", "blur", _number(0, 250)),
            Field("grayscale", "grayscale", Fields.flag),
            Field("volume", "volume", _number(0, 20)),
            Field("speed", "speed", _number(0.25, 4)),
            _quality(None),
        ),
    ),
    "watermark": Tool(
        operation=ops.WATERMARK,
        target=None,
        fields=(
            Field("text", "text", Fields.text),
            Field(
                "position",
                "position",
                _word(
                    *("top-left", "top", "top-right", "left", "center", "right"),
                    *("bottom-left", "bottom", "bottom-right"),
                ),
                "bottom-right",
            ),
            Field("opacity", "opacity", _number(0, 1), 0.72),
            Field("margin", "margin", _whole(0, MOST_PIXELS), 32),
            Field("watermarkWidth", "watermark_width", _SIDE),
            _quality(None),
        ),
    ),
    "strip-metadata": Tool(operation=ops.STRIP_METADATA, target=None, fixed=True),
    "inspect": Tool(operation=ops.INSPECT, target="json", fixed=True),
    "image-to-pdf": Tool(
        operation=ops.MERGE,
        target="pdf",
        fixed=True,
        gathers=True,
        fields=(Field("pageSize", "page_size", _word("auto", "letter", "a4")),),
    ),
}

_NOT_OFFERED: Final = {
    "remove-background": "it needs a trained model, and convertd has none",
    "vectorize": "convertd does not trace pictures",
    "signed-transform": "convertd is no image CDN; POST /api/media/transform makes the picture",
}
_THUMBNAIL_SIDE: Final = 512
_PRESETS: Final[Mapping[str, dict[str, Any]]] = {
    "ecommerce": {"width": 1200, "height": 1200, "fit": "contain"},
    "avatar": {"width": 256, "height": 256, "fit": "cover"},
    "blog-hero": {"width": 1600, "height": 900, "fit": "cover"},
    "social-preview": {"width": 1200, "height": 630, "fit": "cover"},
}
"""Boxes of ``transform``. The service publishes none; these are convertd's."""
_EXACT_FITS: Final = ("cover", "contain", "fill")
"""Whoever gives both sides with one of these asks for that very size, also of a smaller picture."""


def known_tool(name: str) -> Tool:
    """The tool of this name; raises :class:`NotFound` that says what there is."""
    tool = TOOLS.get(name)
    if tool is not None:
        return tool
    if name in _NOT_OFFERED:
        raise NotFound(f"'{name}' is not offered: {_NOT_OFFERED[name]}. Tools: {', '.join(TOOLS)}.")
    raise NotFound(f"There is no media tool {name[:40]!r}; there are {', '.join(TOOLS)}.")


class ToolWish(msgspec.Struct, frozen=True, kw_only=True):
    """What a request for a tool asks for; implements :class:`convertd.api.convertly.tasks.Wish`."""

    name: str
    target: str | None
    options: dict[str, Any]
    marked: bool
    """Whether the last file is the picture that marks the others."""

    @property
    def _tool(self) -> Tool:
        return TOOLS[self.name]

    @property
    def operation(self) -> str:
        return self._tool.operation

    @property
    def label(self) -> dict[str, str]:
        return {"jobType": "media_tool", "tool": self.name}

    def whole(self, uploads: Sequence[Upload]) -> Collection[Upload]:
        return uploads

    def tasks(
        self, registry: Registry, inputs: Sequence[Artifact], origins: Sequence[int]
    ) -> tuple[TaskRequest, ...]:
        files = len(inputs) - self.marked
        mark = range(files, len(inputs))
        groups = [tuple(range(files))] if self._tool.gathers else [(index, *mark) for index in range(files)]
        return tuple(self._task(registry, inputs, group) for group in groups)

    def _task(self, registry: Registry, inputs: Sequence[Artifact], group: Sequence[int]) -> TaskRequest:
        tool = self._tool
        is_sound = FORMATS[inputs[group[0]].format].family is Family.SOUND
        return task(
            registry,
            inputs,
            group,
            operation=tool.for_sound if is_sound and tool.for_sound else tool.operation,
            target=self.target,
            called=self.name,
            options=self.options,
            words={field.option: field.name for field in tool.fields} | _SIZES.get(self.name, {}),
        )


_SIZES: Final = {"convert": {"width": "resizeWidth", "height": "resizeHeight"}}


def read_tool(name: str, fields: Fields, parts: Sequence[str]) -> ToolWish:
    """What a request for the tool asks for; ``parts`` are its file parts, ``watermarkFile`` the last."""
    tool = known_tool(name)
    word = None if tool.fixed else fields.text("format")
    options = {field.option: _value(field, fields) for field in tool.fields}
    complete = _COMPLETE.get(name)
    if complete is not None:
        complete(fields, options)
    marked = WATERMARK_PART in parts
    if name == "watermark" and marked == (options["text"] is not None):
        raise InvalidRequest(f"Give either 'text' or '{WATERMARK_PART}'.", field="text")
    return ToolWish(
        name=name,
        target=known_format(word, field="format").name if word is not None else tool.target,
        options=options,
        marked=marked,
    )


def file_parts(name: str) -> tuple[str, ...]:
    """Names of the parts that hold the tool's files."""
    return (*FILE_PARTS, WATERMARK_PART) if name == "watermark" else FILE_PARTS


def _value(field: Field, fields: Fields) -> Any:
    found = field.read(fields, field.name)
    return field.default if found is None else found


def _complete_thumbnail(fields: Fields, options: dict[str, Any]) -> None:
    """Without sides, 512 × 512 is filled; where one is given, the other follows unless a fit needs it."""
    sides = (options["width"], options["height"])
    if sides == (None, None) or (None in sides and options["fit"] in ("cover", "contain")):
        options["width"], options["height"] = (side or _THUMBNAIL_SIDE for side in sides)
    if None not in (options["width"], options["height"]) and options["fit"] is None:
        options["fit"] = "cover"


def _complete_preview(fields: Fields, options: dict[str, Any]) -> None:
    """A page has no size in pixels of its own."""
    options["enlarge"] = True


def _complete_transform(fields: Fields, options: dict[str, Any]) -> None:
    preset = fields.word("preset", tuple(_PRESETS))
    if preset is not None:
        for name, value in _PRESETS[preset].items():
            options[name] = value if options[name] is None else options[name]
    if None not in (options["width"], options["height"]):
        options["fit"] = options["fit"] or "cover"
        options["enlarge"] = options["fit"] in _EXACT_FITS


def _complete_convert(fields: Fields, options: dict[str, Any]) -> None:
    options.update(read_sizes(fields, 1)[0])


_COMPLETE: Final[Mapping[str, Callable[[Fields, dict[str, Any]], None]]] = {
    "thumbnail": _complete_thumbnail,
    "pdf-preview": _complete_preview,
    "transform": _complete_transform,
    "convert": _complete_convert,
}
