"""``compress``: a smaller file of the same recording, by quality or down to a size."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

from convertd.engines.base import Call, Product
from convertd.engines.pyav.convert import describe_input, make_plan, output_name
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.options import VideoCompress
from convertd.engines.pyav.planned import Copied, EncodedVideo, Plan, Wishes, wishes_of
from convertd.engines.pyav.source import Source
from convertd.engines.pyav.transcode import Outcome, longest, remarks, transcode
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded

_ATTEMPTS: Final = 3
_FILL: Final = 0.97
"""Part of the wanted size to aim at; the container and the encoder's whims take the rest."""
_HEADERS: Final = 3_000
"""Bytes that a container takes besides the packets, at least."""
_LEAST_VIDEO: Final = 24_000
"""Bits per second under which moving pictures are not worth looking at."""
_LEAST_SOUND: Final = {"mp3": 8_000, "m4a": 16_000, "aac": 16_000, "opus": 6_000}
_CRAMPED: Final = 0.04
"""Bits a pixel under which a smaller picture looks better."""
_SCALES: Final = (Fraction(1), Fraction(3, 4), Fraction(1, 2), Fraction(3, 8), Fraction(1, 4))


def compress(call: Call) -> list[Product]:
    """A file that is smaller than the input, or the input itself where that cannot be had."""
    options = call.options
    target_bytes: int | None = getattr(options, "target_bytes", None)
    source = describe_input(call)
    wishes = wishes_of(options, small=True, encode=True)
    name = output_name(call.target)
    path = call.output_dir / name
    if target_bytes is None:
        plan = make_plan(call, source, wishes)
        outcome = transcode(call, source, plan, path)
    elif isinstance(options, VideoCompress) and source.videos:
        plan, outcome = _video_down_to(call, source, target_bytes, wishes, path)
    else:
        plan, outcome = _sound_down_to(call, source, target_bytes, wishes, path)
    notes = [*plan.notes, *remarks(outcome)]
    if path.stat().st_size >= call.input.stat().st_size:
        notes.append(_take_input(call, source, wishes, path))
    facts = facts_of(path, call.target, longest(source, outcome))
    return [Product(name=name, facts=facts, notes=tuple(notes))]


def _take_input(call: Call, source: Source, wishes: Wishes, path: Path) -> str:
    """Put the input in the place of a result that is no smaller; returns what to tell the client."""
    if call.source != call.target:
        return f"The result is no smaller than the input, which is {call.source} already well compressed."
    if wishes.strip_metadata and _copied_bare(call, source, path):
        return "The result would not have been smaller: the input is returned, without its metadata."
    shutil.copyfile(call.input, path)
    return "The result would not have been smaller: the input is returned as it is."


def _copied_bare(call: Call, source: Source, path: Path) -> bool:
    """Whether the input could be copied without its tags to a file that is no larger."""
    try:
        plan = make_plan(call, source, Wishes(strip_metadata=True))
    except InvalidRequest:
        return False
    streams = [part for part in (plan.video, *plan.sounds) if part is not None]
    if not all(isinstance(part, Copied) for part in streams):
        return False
    transcode(replace(call, report=lambda share: None), source, plan, path)
    return path.stat().st_size <= call.input.stat().st_size


def _length(call: Call, source: Source) -> float:
    if not source.duration:
        raise FileInvalid(
            f"The {call.source} file does not tell how long it is, so no size can be aimed at; "
            "compress it without 'target_bytes'."
        )
    return source.duration


# --- video


def _video_down_to(
    call: Call, source: Source, target: int, wishes: Wishes, path: Path
) -> tuple[Plan, Outcome]:
    """Two passes where the encoder has them, and again with fewer bits where the size is missed."""
    seconds = _length(call, source)
    total = (target - _HEADERS) * 8 * _FILL / seconds
    sound = _share_of_sound(source, wishes, total)
    least = (_LEAST_VIDEO + sound) * seconds / 8 / _FILL + _HEADERS
    if total - sound < _LEAST_VIDEO:
        raise LimitExceeded(
            f"{target} bytes are too few for {seconds:.0f} seconds of video; {int(least)} are the least."
        )
    wishes = replace(
        wishes,
        crf=None,
        video_bitrate=int(total - sound),
        audio_bitrate=_per_track(source, sound),
        channels=2 if _is_thin(source, sound) else None,
    )
    return _until_small_enough(call, source, wishes, path, target)


def _share_of_sound(source: Source, wishes: Wishes, total: float) -> float:
    """Bits per second for all audio tracks: as asked, else what is usual but no more than a fifth."""
    tracks = len(source.sounds)
    if not tracks:
        return 0.0
    if wishes.audio_bitrate is not None:
        return float(wishes.audio_bitrate * tracks)
    return max(32_000.0 * tracks, min(128_000.0 * tracks, total / 5))


def _per_track(source: Source, sound: float) -> int | None:
    return int(sound / len(source.sounds)) if source.sounds else None


def _is_thin(source: Source, sound: float) -> bool:
    """Whether surround would have too few bits for each channel, so that stereo sounds better."""
    widest = max((stream.channels for stream in source.sounds), default=0)
    return widest > 2 and sound / len(source.sounds) < 32_000 * widest


def _fitted(call: Call, source: Source, wishes: Wishes) -> Plan:
    """The plan in full size, or smaller where that many pixels would be starved of bits."""
    plan = make_plan(call, source, wishes)
    video = plan.video
    if not isinstance(video, EncodedVideo) or wishes.width or wishes.height:
        return plan
    for scale in _SCALES:
        pixels = video.width * video.height * float(scale) ** 2 * min(float(video.rate), 60.0)
        if video.bit_rate >= pixels * _CRAMPED or scale == _SCALES[-1]:
            break
    if scale == 1:
        return plan
    smaller = make_plan(call, source, replace(wishes, width=max(16, int(video.width * scale))))
    assert isinstance(smaller.video, EncodedVideo)  # noqa: S101 - as before
    note = f"The picture was scaled down to {smaller.video.width} × {smaller.video.height} to reach the size."
    return replace(smaller, notes=(*smaller.notes, note))


def _until_small_enough(
    call: Call, source: Source, wishes: Wishes, path: Path, target: int
) -> tuple[Plan, Outcome]:
    size = 0
    for attempt in range(_ATTEMPTS):
        plan = _fitted(call, source, wishes)
        share = 0.99 / _ATTEMPTS
        outcome = _encode(_reporting(call, attempt * share, (attempt + 1) * share), source, plan, path)
        size = path.stat().st_size
        if size <= target:
            return plan, outcome
        wishes = _with_less(wishes, plan, target / size)
    raise LimitExceeded(
        f"The video cannot be brought down to {target} bytes; the smallest result had {size}."
    )


def _encode(call: Call, source: Source, plan: Plan, path: Path) -> Outcome:
    """In two passes where the encoder has them."""
    folder = call.output_dir / "passes"
    folder.mkdir()
    try:
        passes = _in_two_passes(plan, folder)
        if passes is None:
            return transcode(call, source, plan, path)
        first, second = passes
        transcode(_reporting(call, 0.0, 0.4), source, first, folder / "discarded")
        return transcode(_reporting(call, 0.4, 1.0), source, second, path)
    finally:
        shutil.rmtree(folder)


def _in_two_passes(plan: Plan, folder: Path) -> tuple[Plan, Plan] | None:
    """The plans of a measuring pass and of the real one; ``None`` where the encoder has but one."""
    video = plan.video
    if not isinstance(video, EncodedVideo) or video.library != "libx264":
        return None
    options = video.options | {"stats": str(folder / "x264.log")}
    first = replace(
        plan,
        container=replace(plan.container, muxer="null", options={}),
        video=replace(video, options=options, number=1),
        sounds=(),
        texts=(),
        covers=(),
    )
    return first, replace(plan, video=replace(video, options=options, number=2))


def _with_less(wishes: Wishes, plan: Plan, ratio: float) -> Wishes:
    """``wishes`` with the bit rate cut by more than the overshoot, and a smaller picture if that was large.

    An encoder that misses by much is at its coarsest already.
    """
    video = plan.video
    assert isinstance(video, EncodedVideo)  # noqa: S101 - by _video_down_to()
    rate = max(_LEAST_VIDEO // 2, int(video.bit_rate * ratio * 0.95))
    if ratio > 0.85:
        return replace(wishes, video_bitrate=rate)
    return replace(wishes, video_bitrate=rate, width=max(16, int(video.width * 0.7)), height=None)


def _reporting(call: Call, first: float, last: float) -> Call:
    """``call`` with its progress mapped to the span from ``first`` to ``last``."""
    return replace(call, report=lambda share: call.report(first + (last - first) * share))


# --- sound


def _sound_down_to(
    call: Call, source: Source, target: int, wishes: Wishes, path: Path
) -> tuple[Plan, Outcome]:
    seconds = _length(call, source)
    low = _LEAST_SOUND.get(call.target, 32_000)
    rate = int((target - _HEADERS / 2) * 8 * _FILL / seconds)
    for _ in range(_ATTEMPTS):
        if rate < low:
            break
        plan = make_plan(call, source, _at_rate(call.target, rate, wishes))
        outcome = transcode(call, source, plan, path)
        size = path.stat().st_size
        if size <= target:
            return plan, outcome
        rate = int(rate * target / size * 0.95)
    least = int(low * seconds / 8 / _FILL + _HEADERS / 2)
    raise LimitExceeded(
        f"{target} bytes are too few for {seconds:.0f} seconds of {call.target} sound; {least} are the least."
    )


_MP3_STEPS: Final = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)


def _at_rate(target: str, rate: int, wishes: Wishes) -> Wishes:
    """``wishes`` for this many bits per second, with fewer channels and samples where those are few."""
    if target == "mp3":
        rate = max(step for step in _MP3_STEPS if step * 1000 <= max(rate, 8000)) * 1000
        if rate < 32_000:
            return replace(wishes, audio_bitrate=rate, channels=1, sample_rate=16_000)
    ceiling = {"opus": 256_000}.get(target, 320_000)
    narrow = rate < 40_000
    return replace(wishes, audio_bitrate=min(rate, ceiling), channels=1 if narrow else None)
