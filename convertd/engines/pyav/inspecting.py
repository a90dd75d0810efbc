"""``inspect``: what a recording holds, as JSON."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any, Final, cast

import av
from av.container import InputContainer
from av.stream import Stream

from convertd.engines.base import Call, Product
from convertd.engines.pyav import reading
from convertd.engines.pyav.convert import output_name
from convertd.engines.pyav.filters import upright_size
from convertd.engines.pyav.plan import main_video
from convertd.engines.pyav.source import Picture, Source
from convertd.engines.pyav.writing import is_technical
from convertd.errors import FileInvalid

_KINDS: Final = ("video", "audio", "subtitle")
_GUESSED: Final = frozenset(("mpg",))
"""Formats in which FFmpeg guesses the length of a stream from few packets, and far from the truth."""
_MOST_TAGS: Final = 64
_LONGEST_TAG: Final = 2_000


def inspect(call: Call) -> list[Product]:
    """One JSON file, and the same as the product's facts; what the file does not tell is absent.

    kind (video or audio), format, width and height (as shown), duration (seconds), bit_rate (bits per
    second), streams (each with index, type and what goes with it; sizes as stored, rotation in degrees
    clockwise), tags, and cover: whether a picture is attached.
    """
    with reading.opened(call.input, call.source, call.limits) as container:
        source = reading.describe(container, call.source)
        pictures = {stream.index: _picture(call, stream.index) for stream in source.videos}
        facts = _facts(container, source, pictures, call)
    name = output_name(call.target)
    text = json.dumps(facts, ensure_ascii=False, indent=2)
    (call.output_dir / name).write_text(text + "\n", encoding="utf-8")
    call.report(1.0)
    return [Product(name=name, facts=facts)]


def _picture(call: Call, index: int) -> Picture | None:
    """What the first frame is like: rotation is told with it. A damaged stream can be told of without."""
    try:
        return reading.first_picture(call.input, call.source, index, call.limits)
    except FileInvalid:
        return None


def _facts(
    container: InputContainer, source: Source, pictures: dict[int, Picture | None], call: Call
) -> dict[str, Any]:
    shown = main_video(source) if source.videos else None
    picture = pictures[shown.index] if shown else None
    size = upright_size(picture) if picture else (shown.width, shown.height) if shown else (None, None)
    seconds = source.duration
    rate = container.bit_rate or (call.input.stat().st_size * 8 / seconds if seconds else 0)
    return _told(
        kind="video" if shown else "audio",
        format=call.source,
        width=size[0],
        height=size[1],
        duration=_rounded(seconds),
        bit_rate=round(rate),
    ) | {
        "streams": [
            _stream(call, stream, pictures.get(stream.index))
            for stream in container.streams
            if stream.index not in source.covers
        ],
        "tags": _tags(container),
        "cover": bool(source.covers),
    }


def _stream(call: Call, stream: Stream, picture: Picture | None) -> dict[str, Any]:
    # PyAV types it as always there; for codecs without a decoder it is not.
    context = cast("Any | None", stream.codec_context)
    seconds = None
    if call.source not in _GUESSED and stream.duration and stream.time_base:
        seconds = stream.duration * stream.time_base
    language = stream.metadata.get("language")
    own: dict[str, Any] = {}
    if isinstance(stream, av.VideoStream) and context is not None:
        own = {
            "width": stream.width,
            "height": stream.height,
            "fps": round(float(reading.sensible_rate(stream)), 3),
            "pixel_format": context.pix_fmt,
        }
    elif isinstance(stream, av.AudioStream) and context is not None:
        own = {"channels": context.channels, "sample_rate": context.sample_rate}
    return _told(
        index=stream.index,
        type=stream.type if stream.type in _KINDS else "data",
        codec=context.codec.canonical_name if context is not None else None,
        **own,
        duration=_rounded(seconds),
        bit_rate=getattr(context, "bit_rate", None),
        language=None if language == "und" else language,
    ) | ({"rotation": picture.turns * 90} if picture else {})


def _tags(container: InputContainer) -> dict[str, str]:
    tags = dict(container.metadata)
    if not tags and len(container.streams) == 1:
        # Ogg keeps the tags of a sound file in its stream.
        tags = dict(container.streams[0].metadata)
    kept = {key.lower(): value[:_LONGEST_TAG] for key, value in tags.items() if not is_technical(key)}
    return dict(list(kept.items())[:_MOST_TAGS])


def _told(**facts: Any) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value or name == "index"}


def _rounded(seconds: Fraction | float | None) -> float | None:
    return None if seconds is None else round(float(seconds), 3)
