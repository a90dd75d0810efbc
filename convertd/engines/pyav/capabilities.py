"""What the engine declares: every operation, source and target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from convertd.engines.base import Capability
from convertd.engines.pyav import options
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
        for target, kind in options.SOUND.items():
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


def _made_smaller() -> Iterator[Capability]:
    for source in VIDEO_SOURCES:
        for target in options.VIDEO:
            yield Capability(
                operation=ops.COMPRESS, source=source, target=target, options=options.VideoCompress
            )
    for source in SOUND_SOURCES:
        for target, kind in options.SMALL_SOUND.items():
            yield Capability(operation=ops.COMPRESS, source=source, target=target, options=kind)


def _trimmed() -> Iterator[Capability]:
    for source in VIDEO_SOURCES:
        for target in options.VIDEO:
            yield Capability(operation=ops.TRIM, source=source, target=target, options=options.VideoTrim)
    for source in SOUND_SOURCES:
        for target in options.SOUND:
            yield Capability(operation=ops.TRIM, source=source, target=target, options=options.SoundTrim)


CAPABILITIES: Final = (*_converted(), *_pictured(), *_made_smaller(), *_trimmed())
