"""The output file: its streams, what may be written, and how FFmpeg's complaints are told."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.codec.context import Flags
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from convertd.engines.base import Limits
from convertd.engines.pyav.frames import Window, ticks
from convertd.engines.pyav.planned import Copied, EncodedSound, EncodedVideo
from convertd.errors import ConvertdError, EngineError, LimitExceeded, StorageFull

if TYPE_CHECKING:
    from av.container.core import Chapter


def failed(error: BaseException) -> ConvertdError:
    """The error to raise for one of FFmpeg's while encoding or writing."""
    number = getattr(error, "errno", None)
    if number == errno.ENOSPC:
        return StorageFull("There is no room left for the result.")
    if number == errno.EFBIG:
        return LimitExceeded("The result grew larger than one file may be.")
    return EngineError("The result could not be encoded.", detail=f"{type(error).__name__}: {error}")


@contextmanager
def encoding() -> Iterator[None]:
    """Tell FFmpeg's errors inside as those of :func:`failed`."""
    try:
        yield
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise failed(error) from error


class Sink:
    """An open output container that counts what goes into it."""

    def __init__(self, container: OutputContainer, limits: Limits) -> None:
        self.container = container
        self.limit = limits.output_bytes
        self.written = 0
        """Bytes of all packets, which the container's own overhead comes on top of."""

    def mux(self, packets: Iterable[Packet[Stream]]) -> None:
        """Write ``packets``; raises :class:`LimitExceeded` past ``Limits.output_bytes``."""
        for packet in packets:
            self.written += packet.size
            if self.written > self.limit:
                raise LimitExceeded(f"The result grew larger than the {self.limit} bytes that are allowed.")
            self.container.mux_one(packet)


@contextmanager
def created(path: Path, muxer: str, options: dict[str, str], limits: Limits) -> Iterator[Sink]:
    """A new file at ``path``, finished when the block ends well."""
    with encoding():
        container = av.open(str(path), "w", format=muxer, container_options=options)
        try:
            yield Sink(container, limits)
        except BaseException:
            # Closing writes a trailer, which may fail once more; the first failure is the one to tell.
            with _ignored():
                container.close()
            raise
        container.close()


@contextmanager
def _ignored() -> Iterator[None]:
    try:
        yield
    except (av.FFmpegError, ValueError):
        return


def add_copy(sink: Sink, stream: Stream, plan: Copied) -> Stream:
    """An output stream that takes the packets of ``stream``, its rotation and colours with it."""
    out = sink.container.add_stream_from_template(stream, opaque=True)
    if plan.codec == "hevc" and sink.container.format.name in ("mp4", "mov"):
        out.codec_context.codec_tag = "hvc1"
    if isinstance(stream, av.VideoStream) and isinstance(out, av.VideoStream):
        out.codec_context.sample_aspect_ratio = stream.sample_aspect_ratio or Fraction(0, 1)
    out.disposition = stream.disposition & ~Disposition.attached_pic
    return out


def add_video(sink: Sink, plan: EncodedVideo, threads: int) -> av.VideoStream:
    """An output stream with an encoder as planned."""
    out = sink.container.add_stream(plan.library, rate=plan.rate, options=dict(plan.options))
    assert isinstance(out, av.VideoStream)  # noqa: S101 - the library encodes video
    context = out.codec_context
    context.width, context.height, context.pix_fmt = plan.width, plan.height, plan.pix_fmt
    context.time_base = plan.time_base
    context.bit_rate = plan.bit_rate
    context.sample_aspect_ratio = plan.aspect
    context.color_primaries = plan.colour.primaries
    context.color_trc = plan.colour.transfer
    context.colorspace = plan.colour.matrix
    context.color_range = plan.colour.range
    context.thread_count = threads
    # PyAV's default, SLICE alone, would make x264 cut every frame into slices, which costs size.
    context.thread_type = "AUTO"
    if plan.number:
        context.flags |= Flags.pass1 if plan.number == 1 else Flags.pass2
    if plan.tag:
        context.codec_tag = plan.tag
    if plan.alpha:
        out.metadata["alpha_mode"] = "1"
    return out


def add_sound(sink: Sink, plan: EncodedSound) -> av.AudioStream:
    """An output stream with an encoder as planned."""
    out = sink.container.add_stream(plan.library, rate=plan.sample_rate, options=dict(plan.options))
    assert isinstance(out, av.AudioStream)  # noqa: S101 - the library encodes sound
    context = out.codec_context
    context.layout = plan.layout
    context.bit_rate = plan.bit_rate
    if plan.library == "flac" and plan.deep:
        context.format = "s32"
    if plan.quality is not None:
        context.qscale = True
        context.global_quality = plan.quality
    return out


_TECHNICAL = frozenset(
    ("major_brand", "minor_version", "compatible_brands", "encoder", "handler_name", "vendor_id", "duration",
     "number_of_bytes", "number_of_frames", "bps", "_statistics_tags", "_statistics_writing_app",
     "_statistics_writing_date_utc", "alpha_mode")
)  # fmt: skip
"""Tags that describe the old file's making, and would be untrue of the new one."""


def copy_tags(source: InputContainer, sink: Sink, pairs: list[tuple[Stream, Stream]], strip: bool) -> None:
    """Carry tags of the file and its streams over, or nothing but the languages where ``strip``."""
    for old, new in pairs:
        kept = ("language",) if strip else tuple(old.metadata)
        new.metadata.update(
            {key: old.metadata[key] for key in kept if key in old.metadata and not is_technical(key)}
        )
    if strip:
        return
    tags = dict(source.metadata)
    if not tags and len(pairs) == 1:
        # Ogg keeps the tags of a sound file in its stream.
        tags = dict(pairs[0][0].metadata)
    sink.container.metadata.update({key: value for key, value in tags.items() if not is_technical(key)})


def copy_chapters(source: InputContainer, sink: Sink, window: Window) -> None:
    """Carry the chapters over that lie in ``window``, moved and cut with it."""
    kept: list[Chapter] = []
    for chapter in source.chapters():
        base = chapter["time_base"] or Fraction(1, 1000)
        shift = ticks(window.start, base)
        first = max(0, chapter["start"] - shift)
        last = chapter["end"] - shift
        if window.end is not None:
            last = min(last, ticks(window.end, base) - shift)
        if first < last:
            kept.append({**chapter, "start": first, "end": last, "time_base": base})
    sink.container.set_chapters(kept)


def is_technical(key: str) -> bool:
    """Whether a tag describes the making of its own file alone."""
    return key.lower().split("-")[0] in _TECHNICAL
