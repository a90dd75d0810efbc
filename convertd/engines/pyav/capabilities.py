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


CAPABILITIES: Final = tuple(_converted())
