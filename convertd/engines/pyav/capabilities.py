"""What the engine declares: every operation, source and target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from convertd.engines.base import Capability
from convertd.engines.pyav import options
from convertd.engines.pyav import sound_options as sounds
from convertd.model import operations as ops

VIDEO_SOURCES: Final = ("mp4", "m4v", "mov", "mkv", "webm", "avi", "wmv", "flv", "mpg", "ts", "3gp", "ogv")
SOUND_SOURCES: Final = ("mp3", "wav", "flac", "ogg", "opus", "m4a", "aac", "aiff", "wma", "amr")


def _converted() -> Iterator[Capability]:
    for source in VIDEO_SOURCES:
        for target, kind in options.VIDEO.items():
            yield Capability(operation=ops.CONVERT, source=source, target=target, options=kind)
    for target, kind in options.ANIMATION.items():
        yield Capability(operation=ops.CONVERT, source="gif", target=target, options=kind)
    for source in (*VIDEO_SOURCES, *SOUND_SOURCES):
        for target, kind in sounds.SOUND.items():
            yield Capability(operation=ops.CONVERT, source=source, target=target, options=kind)
            if source in VIDEO_SOURCES:
                yield Capability(operation=ops.EXTRACT_AUDIO, source=source, target=target, options=kind)


def _pictured() -> Iterator[Capability]:
    for source in VIDEO_SOURCES:
        yield Capability(operation=ops.CONVERT, source=source, target="gif", options=ops.AnimationConvert)
        for target, kind in options.FRAME.items():
            yield Capability(operation=ops.CONVERT, source=source, target=target, options=kind)
        for target, kind in options.THUMBNAIL.items():
            yield Capability(operation=ops.THUMBNAIL, source=source, target=target, options=kind)
        for target, kind in options.STORYBOARD.items():
            yield Capability(operation=ops.STORYBOARD, source=source, target=target, options=kind)


def _made_smaller() -> Iterator[Capability]:
    for source in VIDEO_SOURCES:
        for target in options.VIDEO:
            yield Capability(
                operation=ops.COMPRESS, source=source, target=target, options=options.VideoCompress
            )
    for source in SOUND_SOURCES:
        for target, kind in sounds.SMALL_SOUND.items():
            yield Capability(operation=ops.COMPRESS, source=source, target=target, options=kind)
    yield Capability(operation=ops.COMPRESS, source="amr", target="amr", options=sounds.AmrCompress)


def _trimmed() -> Iterator[Capability]:
    for source in VIDEO_SOURCES:
        for target in options.VIDEO:
            yield Capability(operation=ops.TRIM, source=source, target=target, options=options.VideoTrim)
    for source in (*VIDEO_SOURCES, *SOUND_SOURCES):
        for target in sounds.SOUND:
            yield Capability(operation=ops.TRIM, source=source, target=target, options=sounds.SoundTrim)


def _joined() -> Iterator[Capability]:
    for source in (*VIDEO_SOURCES, *SOUND_SOURCES):
        for target, kind in sounds.JOINED.items():
            yield Capability(
                operation=ops.CONCAT,
                source=source,
                target=target,
                options=kind,
                least_inputs=2,
                most_inputs=100,
            )


def _adjusted() -> Iterator[Capability]:
    for source in SOUND_SOURCES:
        for target in sounds.SOUND:
            yield Capability(operation=ops.ADJUST, source=source, target=target, options=sounds.SoundAdjust)


def _looked_into() -> Iterator[Capability]:
    for source in (*VIDEO_SOURCES, *SOUND_SOURCES):
        yield Capability(operation=ops.INSPECT, source=source, target="json", options=options.NoOptions)
        yield Capability(
            operation=ops.STRIP_METADATA, source=source, target=source, options=options.NoOptions
        )


CAPABILITIES: Final = (
    *_converted(),
    *_pictured(),
    *_made_smaller(),
    *_trimmed(),
    *_joined(),
    *_adjusted(),
    *_looked_into(),
)
