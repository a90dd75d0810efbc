"""``trim``: a part of a recording, cut at the very moment or, faster and without loss, at a key frame."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from convertd.engines.base import Call, Product
from convertd.engines.pyav import reading
from convertd.engines.pyav.codecs import CONTAINERS, is_lossless
from convertd.engines.pyav.convert import describe_input, make_plan, output_name
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.frames import Window
from convertd.engines.pyav.options import VideoTrim
from convertd.engines.pyav.planned import Copied, Wishes
from convertd.engines.pyav.sound_options import SoundTrim
from convertd.engines.pyav.source import Source
from convertd.engines.pyav.transcode import longest, remarks, seek_before, transcode
from convertd.errors import InvalidRequest


def trim(call: Call) -> list[Product]:
    """The part from ``start`` to ``end``, or of ``duration``."""
    options = call.options
    assert isinstance(options, VideoTrim | SoundTrim)  # noqa: S101 - by capability
    source = describe_input(call)
    if source.duration is not None and options.start >= source.duration:
        raise past_the_end(options.start, source.duration)
    plan = make_plan(call, source, Wishes(encode=_exactly(call, source)))
    start = source.start + Fraction(options.start)
    end = options.end if options.duration is None else options.start + options.duration
    window = Window(start=start, end=None if end is None else source.start + Fraction(end), cut=True)
    notes = list(plan.notes)
    if isinstance(plan.video, Copied) and options.start > 0:
        window = replace(window, start=key_frame_before(call, source, plan.video.index, start))
        if window.start < start:
            at = float(window.start - source.start)
            notes.append(f"The cut is at the key frame at {at:.3f} seconds; precise=true cuts at the frame.")
    name = output_name(call.target)
    outcome = transcode(call, source, plan, call.output_dir / name, window)
    facts = facts_of(call.output_dir / name, call.target, longest(source, outcome))
    notes += remarks(outcome)
    return [Product(name=name, facts=facts, notes=tuple(notes))]


def past_the_end(start: float, length: float) -> InvalidRequest:
    """The error for a part that begins after the end."""
    return InvalidRequest(
        f"'start' ({start:g} s) is past the end of the recording, which lasts {length:.3f} s.", field="start"
    )


def _exactly(call: Call, source: Source) -> bool:
    """Whether to encode anew: a video if so asked, a sound where that costs no quality."""
    if isinstance(call.options, VideoTrim) and CONTAINERS[call.target].video:
        return call.options.precise
    return bool(source.sounds) and is_lossless(source.sounds[0].codec)


def key_frame_before(call: Call, source: Source, index: int, time: Fraction) -> Fraction:
    """The time of the last key frame of stream ``index`` not after ``time``, else the recording's start."""
    best: Fraction | None = None
    with reading.opened(call.input, call.source, call.limits) as container:
        stream = container.streams[index]
        base = stream.time_base or Fraction(1, 1000)
        seek_before(container, call.source, time)
        for packet in reading.packets_of(container, stream):
            if packet.pts is None:
                continue
            if packet.is_keyframe and packet.pts * base <= time:
                best = packet.pts * base
            elif packet.dts is not None and packet.dts * base > time:
                break
    return source.start if best is None else best
