"""The loop: packets out of the input, through their tracks, into the output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream
from av.subtitles.stream import SubtitleStream

from convertd.engines.base import Call
from convertd.engines.pyav import reading
from convertd.engines.pyav.codecs import ENDS_ANYWHERE
from convertd.engines.pyav.frames import Window
from convertd.engines.pyav.planned import Copied, EncodedSound, EncodedText, EncodedVideo, Plan
from convertd.engines.pyav.sounds import SoundEncoding, SoundTrack
from convertd.engines.pyav.source import Source
from convertd.engines.pyav.tracks import (
    CopiedTrack,
    CoverTrack,
    TextTrack,
    Track,
    VideoTrack,
)
from convertd.engines.pyav.writing import (
    Sink,
    add_copy,
    add_sound,
    add_video,
    copy_chapters,
    copy_tags,
    created,
)
from convertd.errors import FileInvalid, InvalidRequest

_CLEARLY_SHORT = 0.9
"""A file of which less than this part is there was cut off; durations in headers are rarely exact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the loop saw."""

    damaged: int
    """Packets that did not decode."""
    reached: float
    """Seconds of the source that were read."""
    written: int
    """Bytes of all packets written."""
    broke: bool
    """Whether reading ended with an error."""
    short: bool = False
    """Whether clearly less is in the file than its header announced."""


def transcode(call: Call, source: Source, plan: Plan, path: Path, window: Window | None = None) -> Outcome:
    """Write ``path`` from the call's input as ``plan`` says, within ``window``.

    Raises :class:`FileInvalid` where nothing comes out or the file was cut off, :class:`LimitExceeded` and
    :class:`EngineError`.
    """
    span = window or Window(start=source.start)
    with reading.opened(call.input, call.source, call.limits) as container:
        if reading.is_cut_off(container, call.input):
            raise cut_off(call.source)
        with created(path, plan.container.muxer, dict(plan.container.options), call.limits) as sink:
            tracks = _tracks(container, plan, span, sink, call)
            try:
                sink.container.start_encoding()
            except av.InvalidDataError as error:
                # The headers of a copied stream, which no encoder of ours wrote.
                raise reading.unreadable(call.source, error) from error
            if span.cut:
                seek_before(container, call.source, span.start)
            loop = _Loop(container, source, tracks, span, call)
            loop.run()
            outcome = loop.outcome(sink)
    if window is None:
        outcome = replace(outcome, short=is_short(call, source, outcome.reached))
    _judge(call, tracks, outcome, whole=window is None)
    call.report(1.0)
    return outcome


def cut_off(source: str) -> FileInvalid:
    """The error for a file of which the end is missing."""
    return FileInvalid(f"The {source} file is cut off: its end is missing. Send the whole file.")


def longest(source: Source, outcome: Outcome) -> float:
    """Seconds that no result can last longer than, by what the input said and what was read of it."""
    return max(source.duration or 0.0, outcome.reached)


def broken_off(seconds: float) -> str:
    """The note on a file that ends early, of which the pieces are of worth."""
    return f"The file breaks off after {seconds:.1f} seconds; what is there was converted."


def _tracks(
    container: InputContainer, plan: Plan, window: Window, sink: Sink, call: Call
) -> dict[int, Track]:
    """The tracks by index of their input stream, with output streams in the usual order."""
    tracks: dict[int, Track] = {}
    pairs: list[tuple[Stream, Stream]] = []
    planned = [*([plan.video] if plan.video else []), *plan.more_videos, *plan.sounds, *plan.texts]
    for part in planned:
        stream = container.streams[part.index]
        out, track = _track(stream, part, window, sink, call)
        pairs.append((stream, out))
        tracks[part.index] = track
    for index in plan.covers:
        stream = container.streams[index]
        out = sink.container.add_stream_from_template(stream, opaque=True)
        out.disposition = Disposition.attached_pic
        tracks[index] = CoverTrack(out, sink)
    copy_tags(container, sink, pairs, plan.strip_metadata)
    if not plan.strip_metadata:
        copy_chapters(container, sink, window)
    return tracks


def _track(
    stream: Stream,
    part: Copied | EncodedVideo | EncodedSound | EncodedText,
    window: Window,
    sink: Sink,
    call: Call,
) -> tuple[Stream, Track]:
    if isinstance(part, Copied):
        copied = add_copy(sink, stream, part)
        return copied, CopiedTrack(stream, copied, window, sink)
    if isinstance(part, EncodedVideo):
        assert isinstance(stream, av.VideoStream)  # noqa: S101 - the plan took it from describe()
        reading.prepare(stream, call.limits)
        video = add_video(sink, part, reading.threads(call.limits))
        video.disposition = stream.disposition
        return video, VideoTrack(stream, video, part, window, sink, call.limits)
    if isinstance(part, EncodedSound):
        assert isinstance(stream, av.AudioStream)  # noqa: S101 - the plan took it from describe()
        reading.prepare(stream, call.limits)
        sound = add_sound(sink, part)
        sound.disposition = stream.disposition
        return sound, SoundTrack(stream, SoundEncoding(sound, part, sink), window)
    assert isinstance(stream, SubtitleStream)  # noqa: S101 - the plan took it from describe()
    text = sink.container.add_stream(part.codec)
    assert isinstance(text, SubtitleStream)  # noqa: S101 - the codec writes subtitles
    stream.codec_context.open(strict=False)
    text.codec_context.subtitle_header = stream.codec_context.subtitle_header
    text.codec_context.time_base = Fraction(1, 1000)
    text.disposition = stream.disposition
    return text, TextTrack(stream, text, window, sink)


class _Loop:
    """Reading and routing, with progress, limits and what was seen on the way."""

    def __init__(
        self, container: InputContainer, source: Source, tracks: dict[int, Track], window: Window, call: Call
    ) -> None:
        self._container, self._tracks, self._window, self._call = container, tracks, window, call
        self._bases = {index: float(container.streams[index].time_base or 0) for index in tracks}
        self._start = float(window.start)
        end = float(window.end) if window.end is not None else float(source.start) + (source.duration or 0)
        self._length = max(0.0, end - self._start)
        self._limit = call.limits.seconds
        self._told = 0.0
        self._reached = 0.0
        self._broke = False

    def run(self) -> None:
        """Feed all packets to their tracks, then let the tracks finish."""
        self._leave_out_the_rest()
        main = [track for track in self._tracks.values() if not isinstance(track, CoverTrack | TextTrack)]
        endless = self._window.end is None
        for packet in self._packets():
            # Before the track has it: a copied packet changes its stream and its clock.
            self._watch(packet)
            self._tracks[packet.stream_index].feed(packet)
            if not endless and all(track.done for track in main):
                break
        for track in self._tracks.values():
            track.finish()

    def _leave_out_the_rest(self) -> None:
        for stream in self._container.streams:
            if stream.index not in self._tracks:
                stream.discard = Discard.all

    def _packets(self) -> Iterator[Packet[Any]]:
        packets = self._container.demux([self._container.streams[index] for index in self._tracks])
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except MemoryError:
                raise
            except (av.FFmpegError, ValueError):
                self._broke = True
                return
            if packet.size or packet.dts is not None:
                yield packet

    def _watch(self, packet: Packet[Any]) -> None:
        time = packet.dts
        if time is None:
            return
        seconds = time * self._bases[packet.stream_index] - self._start
        if seconds <= self._reached:
            return
        self._reached = seconds
        if seconds > self._limit:
            reading.check_seconds(seconds, self._call.limits)
        share = seconds / self._length if self._length else 0.0
        if share - self._told >= 0.005:
            self._told = min(share, 0.99)
            self._call.report(self._told)

    def outcome(self, sink: Sink) -> Outcome:
        """What was seen."""
        return Outcome(
            damaged=sum(track.damaged for track in self._tracks.values()),
            reached=self._reached,
            written=sink.written,
            broke=self._broke,
        )


def _judge(call: Call, tracks: dict[int, Track], outcome: Outcome, *, whole: bool) -> None:
    """Raise :class:`FileInvalid` where what was read is not the recording that the file announced."""
    if not any(track.pieces for track in tracks.values()):
        if not whole:
            raise InvalidRequest("There is nothing in that part of the recording.", field="start")
        raise FileInvalid(f"Nothing in this {call.source} file can be decoded.")
    if outcome.short and call.source not in ENDS_ANYWHERE:
        raise cut_off(call.source)


def is_short(call: Call, source: Source, reached: float) -> bool:
    """Whether the file, read up to ``reached`` seconds, holds clearly less than its header announced."""
    if not _falls_short(source, reached):
        return False
    # Not every stream of a whole file lasts to its end: sound may stop before the picture does.
    held = reading.last_moment(call.input, call.source, call.limits) - float(source.start)
    return _falls_short(source, held)


def _falls_short(source: Source, reached: float) -> bool:
    announced = source.duration or 0.0
    return announced - reached > 2.0 and reached < announced * _CLEARLY_SHORT


HAS_INDEX = frozenset(("mp4", "m4v", "mov", "3gp", "m4a", "mkv", "webm", "avi", "wav", "aiff", "flac"))
"""Formats that FFmpeg seeks in without guessing; of others the beginning is read and thrown away."""


def seek_before(container: InputContainer, source: str, time: Fraction) -> None:
    """Move ``container`` to a key frame at or before ``time``, or leave it at the beginning."""
    if source not in HAS_INDEX:
        return
    try:
        container.seek(int(time * 1_000_000), backward=True)
    except (av.FFmpegError, OSError):
        return


def remarks(outcome: Outcome) -> tuple[str, ...]:
    """What a client should know about the state of the input."""
    notes = []
    if outcome.damaged:
        notes.append(
            f"{outcome.damaged} damaged packet{'s were' if outcome.damaged > 1 else ' was'} skipped."
        )
    if outcome.broke or outcome.short:
        notes.append(broken_off(outcome.reached))
    return tuple(notes)
