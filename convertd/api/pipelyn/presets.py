"""The presets, and what each asks of the engines. Figures and order are those of the service's source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from convertd.engines.registry import Registry
from convertd.errors import EngineMissing, FileInvalid, UnsupportedFormat
from convertd.jobs.submission import TaskRequest
from convertd.model.formats import FORMATS, Family
from convertd.model.job import Artifact
from convertd.model.operations import CONVERT

IMAGE: Final = "image"
VIDEO: Final = "video"
_FAMILIES: Final = {IMAGE: Family.PICTURE, VIDEO: Family.VIDEO}

STRATEGIES: Final = {
    "webp": "image-webp",
    "avif": "image-avif",
    "jpg": "image-jpeg",
    "mp4": "video-mp4-h264",
    "webm": "video-webm-vp9",
}
"""The service's word for each target."""

_CODECS: Final[Mapping[str, Mapping[str, str]]] = {
    "mp4": {"video_codec": "h264", "audio_codec": "aac"},
    "webm": {"video_codec": "vp9", "audio_codec": "opus"},
}


class Preset(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As ``/api/media/presets`` shows it, but for the order of the targets."""

    name: str
    max_width: int
    image_quality: int
    video_crf: int
    video_bitrate_kbps: int
    audio_bitrate_kbps: int


PRESETS: Final = {
    preset.name: preset
    for preset in (
        Preset(
            name="mobile",
            max_width=900,
            image_quality=78,
            video_crf=28,
            video_bitrate_kbps=1200,
            audio_bitrate_kbps=96,
        ),
        Preset(
            name="web",
            max_width=1400,
            image_quality=82,
            video_crf=24,
            video_bitrate_kbps=2400,
            audio_bitrate_kbps=128,
        ),
        Preset(
            name="low-bandwidth",
            max_width=720,
            image_quality=72,
            video_crf=30,
            video_bitrate_kbps=900,
            audio_bitrate_kbps=80,
        ),
    )
}
DEFAULT: Final = "web"

_USUAL_ORDER: Final[Mapping[str, Sequence[str]]] = {IMAGE: ("webp", "avif", "jpg"), VIDEO: ("mp4", "webm")}
_SMALLEST_FIRST: Final[Mapping[str, Sequence[str]]] = {
    IMAGE: ("avif", "webp", "jpg"),
    VIDEO: ("webm", "mp4"),
}


def preset_named(name: str | None) -> Preset:
    """The preset; an unknown name means the default one, without a word."""
    return PRESETS.get(name or DEFAULT, PRESETS[DEFAULT])


def kind_of(media_type: str) -> str:
    """``image`` or ``video``, by the word of the client alone; raises :class:`UnsupportedFormat`."""
    kind = media_type.partition("/")[0]
    if kind not in _FAMILIES:
        raise UnsupportedFormat(
            "The part 'media' must say by its Content-Type that it is image/* or video/*; "
            f"it says {media_type[:40] or 'nothing'!r}.",
            field="media",
        )
    return kind


def task_of(registry: Registry, preset: Preset, kind: str, media: Artifact) -> TaskRequest:
    """What the preset does with the file: its first target that this machine can write.

    Raises :class:`FileInvalid` for a file that is not of the kind, and :class:`EngineMissing`.
    """
    if FORMATS[media.format].family is not _FAMILIES[kind]:
        raise FileInvalid(f"The file was sent as {kind}/*, but it is {FORMATS[media.format].media_type}.")
    order = _SMALLEST_FIRST if preset.name == "low-bandwidth" else _USUAL_ORDER
    missing = ""
    for target in order[kind]:
        try:
            registry.plan(CONVERT, media.format, target)
        except (EngineMissing, UnsupportedFormat) as error:
            missing = missing or error.message
            continue
        options = _image_options(preset) if kind == IMAGE else _video_options(preset, target)
        return TaskRequest(inputs=(0,), operation=CONVERT, target=target, options=options)
    raise EngineMissing(missing)


def _image_options(preset: Preset) -> dict[str, Any]:
    return {"width": preset.max_width, "quality": preset.image_quality, "strip_metadata": True}


def _video_options(preset: Preset, target: str) -> dict[str, Any]:
    return {
        "width": preset.max_width,
        "crf": preset.video_crf,
        "video_bitrate": preset.video_bitrate_kbps * 1000,
        "audio_bitrate": preset.audio_bitrate_kbps * 1000,
        "strip_metadata": True,
        **_CODECS[target],
    }
