"""``compress``: a smaller file of the same recording, by quality or down to a size."""

from __future__ import annotations

import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import msgspec

from convertd.engines.base import Call, Product
from convertd.engines.pyav.codecs import CONTAINERS
from convertd.engines.pyav.convert import describe_input, make_plan, output_name
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.options import VideoCompress
from convertd.engines.pyav.plan import main_video
from convertd.engines.pyav.planned import Copied, EncodedVideo, Plan, Wishes, wishes_of
from convertd.engines.pyav.source import Source
from convertd.engines.pyav.stripping import bare_plan, strip
from convertd.engines.pyav.transcode import Outcome, longest, remarks, transcode
from convertd.errors import EngineError, FileInvalid, InvalidRequest, LimitExceeded

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
    if call.target not in CONTAINERS:
        return _unencoded(call)
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
    notes = (*plan.notes, *remarks(outcome))
    if path.stat().st_size >= call.input.stat().st_size:
        kept = None if _is_resized(source, plan, wishes) else _take_input(call, source, wishes, path)
        notes = (kept,) if kept else (*notes, _not_smaller(call, wishes))
    facts = facts_of(path, call.target, longest(source, outcome))
    return [Product(name=name, facts=facts, notes=notes)]


def _unencoded(call: Call) -> list[Product]:
    """The packets of a sound that no encoder here makes."""
    (made,) = strip(call)
    note = f"No encoder here makes {call.source} smaller: the input is returned."
    return [msgspec.structs.replace(made, notes=(*made.notes, note))]


def _is_resized(source: Source, plan: Plan, wishes: Wishes) -> bool:
    """Whether another size was asked for than the input's, so that the input would not do."""
    if not isinstance(plan.video, EncodedVideo) or not (wishes.width or wishes.height):
        return False
    shown = main_video(source)
    return sorted((plan.video.width, plan.video.height)) != sorted((shown.width, shown.height))


def _take_input(call: Call, source: Source, wishes: Wishes, path: Path) -> str | None:
    """Put the input, or its streams, in the place of a result that is no smaller; what to tell the client.

    ``None`` where the result stays: the input is of another format, or tells of people and takes more bytes
    without.
    """
    given = call.input.stat().st_size
    same = call.source == call.target
    is_fit = same and not (wishes.strip_metadata and source.tells)
    most = given if is_fit else path.stat().st_size - 1
    copied = path.with_name(f"copied-{path.name}")
    if (wishes.strip_metadata or not same) and _copied(call, source, wishes, copied, most):
        copied.replace(path)
        if path.stat().st_size > given:
            return _not_smaller(call, wishes)
        how = "the input is returned, without its metadata" if same else "its streams were kept as they are"
        return f"The result would not have been smaller: {how}."
    if not is_fit:
        return None
    shutil.copyfile(call.input, path)
    return "The result would not have been smaller: the input is returned as it is."


def _copied(call: Call, source: Source, wishes: Wishes, path: Path, most: int) -> bool:
    """Whether ``path`` now has the input's streams packet by packet, in at most so many bytes."""
    try:
        if call.source == call.target:
            plan = bare_plan(call, source)
        else:
            plan = make_plan(call, source, Wishes(strip_metadata=wishes.strip_metadata))
        streams = [part for part in (plan.video, *plan.sounds) if part is not None]
        if all(isinstance(part, Copied) for part in streams):
            transcode(replace(call, report=lambda share: None), source, plan, path)
            if path.stat().st_size <= most:
                return True
    except (InvalidRequest, EngineError):
        # The container does not take these streams.
        pass
    path.unlink(missing_ok=True)
    return False


def _not_smaller(call: Call, wishes: Wishes) -> str:
    if call.source != call.target:
        return "The result is not smaller than the input: keep that, or ask for another format."
    free = ", but free of its metadata" if wishes.strip_metadata else ""
    return f"The result is not smaller than the input{free}."


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
