"""What a client is told about a finished file, read from that file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import av

from convertd.engines.pyav.codecs import DEMUXERS
from convertd.engines.pyav.reading import sensible_rate
from convertd.errors import FileInvalid

_SLACK: Final = 60.0


def facts_of(path: Path, target: str, longest: float) -> dict[str, Any]:
    """Width, height, fps, duration (seconds), codecs, channels, sample_rate and bitrate, as applicable.

    ``target`` is the format of the file and ``longest`` how many seconds it can last; a length in the file
    that is far beyond is not told.

    Raises :class:`FileInvalid` where so little was copied or decoded that no player would take it.
    """
    try:
        # Named, because of a very short file FFmpeg does not guess the format.
        demuxer = DEMUXERS[target].split(",")[0]
        with av.open(str(path), format=demuxer, metadata_errors="replace") as container:
            facts: dict[str, Any] = {}
            seconds = (container.duration or 0) / 1_000_000
            if 0 < seconds <= longest + _SLACK:
                facts["duration"] = round(seconds, 3)
                if container.bit_rate:
                    facts["bitrate"] = container.bit_rate
            _picture_facts(container, facts)
            _sound_facts(container, facts)
            return facts
    except av.FFmpegError as error:
        raise FileInvalid("Too little of the file can be decoded for a result.", detail=str(error)) from error


def _picture_facts(container: av.container.InputContainer, facts: dict[str, Any]) -> None:
    shown = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not shown:
        return
    stream = shown[0]
    facts |= {"width": stream.width, "height": stream.height, "fps": round(float(sensible_rate(stream)), 3)}
    facts["video_codec"] = stream.codec_context.codec.canonical_name


def _sound_facts(container: av.container.InputContainer, facts: dict[str, Any]) -> None:
    if not container.streams.audio:
        return
    stream = container.streams.audio[0]
    facts |= {"channels": stream.channels, "sample_rate": stream.sample_rate}
    facts["audio_codec"] = stream.codec_context.codec.canonical_name
    if len(container.streams.audio) > 1:
        facts["audio_tracks"] = len(container.streams.audio)
