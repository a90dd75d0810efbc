"""Decide, from what was found and what is wished, which stream is copied, encoded or left out. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from convertd.engines.pyav.codecs import CONTAINERS, TELLS_ASPECT, VIDEO_ENCODERS, Container
from convertd.engines.pyav.filters import frame_steps, upright_size
from convertd.engines.pyav.planned import Copied, EncodedText, EncodedVideo, Plan, Wishes
from convertd.engines.pyav.rate_control import video_bit_rate, video_options
from convertd.engines.pyav.sound_plan import plan_sounds
from convertd.engines.pyav.source import Picture, Source, VideoStream
from convertd.engines.pyav.words import choose, listed
from convertd.errors import FileInvalid, InvalidRequest

Look = Callable[[int], Picture]
"""Decodes the first frame of the stream with this index; called only where it matters."""


def plan_video(source: Source, target: str, wishes: Wishes, look: Look) -> Plan:
    """How ``source`` becomes a ``target`` that can hold pictures and sound."""
    container = CONTAINERS[target]
    notes: list[str] = []
    video = _video(source, container, target, wishes, look, notes)
    # The one number for quality is the picture's where there is one.
    sounds = plan_sounds(source, container, target, replace(wishes, quality=None), notes)
    texts = _texts(source, container, target, notes)
    if source.covers and not container.covers and not wishes.strip_metadata:
        notes.append(f"The cover picture was left out: it is not kept in {target}.")
    if source.unreadable:
        count = len(source.unreadable)
        notes.append(f"{count} stream{'s' if count > 1 else ''} of an unknown kind left out.")
    return Plan(
        container=container,
        video=video,
        sounds=sounds,
        texts=texts,
        covers=source.covers if container.covers and not wishes.strip_metadata else (),
        strip_metadata=wishes.strip_metadata,
        notes=tuple(notes),
    )


def plan_sound(source: Source, target: str, wishes: Wishes) -> Plan:
    """How one track of ``source`` becomes a ``target`` that holds one track of sound and nothing else."""
    if not source.sounds:
        raise FileInvalid(f"The {source.format} file holds no sound to extract.")
    container = CONTAINERS[target]
    notes = []
    if len(source.sounds) > 1 and wishes.audio_track is None:
        notes.append(
            f"The first of {len(source.sounds)} audio tracks was taken; choose another with 'audio_track'."
        )
        wishes = replace(wishes, audio_track=0)
    if source.covers and not container.covers and not wishes.strip_metadata:
        notes.append(f"The cover picture was left out: it is not kept in {target}.")
    return Plan(
        container=container,
        sounds=plan_sounds(source, container, target, wishes, notes),
        covers=source.covers[:1]
        if container.covers and not wishes.strip_metadata and not source.videos
        else (),
        strip_metadata=wishes.strip_metadata,
        notes=tuple(notes),
    )


def main_video(source: Source) -> VideoStream:
    """The largest of the video streams; :class:`FileInvalid` where there is none."""
    if not source.videos:
        raise FileInvalid(f"The {source.format} file holds no video.")
    return max(source.videos, key=lambda stream: stream.width * stream.height)


def _video(
    source: Source, container: Container, target: str, wishes: Wishes, look: Look, notes: list[str]
) -> Copied | EncodedVideo | None:
    if not source.videos:
        return None
    stream = main_video(source)
    if len(source.videos) > 1:
        notes.append(f"The largest of {len(source.videos)} video streams was kept.")
    if _video_stays(stream, container, target, wishes, look):
        if not _keeps_aspect(stream.aspect, container, stream.codec):
            notes.append(f"{target} does not tell that the pixels are not square: the copy looks squeezed.")
        return Copied(index=stream.index, codec=stream.codec)
    return encode_video(stream, container, target, wishes, look(stream.index), notes)


def _video_stays(stream: VideoStream, container: Container, target: str, wishes: Wishes, look: Look) -> bool:
    if wishes.video_codec == "copy":
        if stream.codec not in container.copies_video:
            raise InvalidRequest(
                f"{target} cannot hold {stream.codec} video as it is; use video_codec "
                f"{listed(container.video)}.",
                field="video_codec",
            )
        return not wishes.encode
    if wishes.encode or wishes.of_picture or stream.codec not in container.copies_video:
        return False
    if wishes.video_codec is not None and VIDEO_ENCODERS[wishes.video_codec].name != stream.codec:
        return False
    if not _keeps_aspect(stream.aspect, container, stream.codec):
        return False
    if target == "mp4" and stream.codec == "h264" and not _plays_everywhere(stream):
        return False
    return not (wishes.width or wishes.height) or _keeps_size(look(stream.index), wishes)


def _plays_everywhere(stream: VideoStream) -> bool:
    """H.264 in other samplings than these is legal in MP4, but no browser shows it."""
    return stream.pix_fmt in ("yuv420p", "yuvj420p", "")


def _keeps_aspect(aspect: Fraction, container: Container, codec: str) -> bool:
    """Whether pixels of ``aspect`` are shown in their shape where ``container`` holds ``codec``."""
    return aspect == 1 or not container.square or codec in TELLS_ASPECT


def _keeps_size(picture: Picture, wishes: Wishes) -> bool:
    natural = upright_size(picture)
    return fit_inside(natural, wishes.width, wishes.height, wishes.enlarge) == natural


def fit_inside(
    size: tuple[int, int], width: int | None, height: int | None, enlarge: bool
) -> tuple[int, int]:
    """``size`` scaled to lie inside ``width`` × ``height``, its ratio kept; not enlarged unless so asked."""
    scale = min(
        (Fraction(box, side) for box, side in zip((width, height), size, strict=True) if box),
        default=Fraction(1),
    )
    if scale >= 1 and not enlarge:
        return size
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def encode_video(
    stream: VideoStream, container: Container, target: str, wishes: Wishes, picture: Picture, notes: list[str]
) -> EncodedVideo:
    """How ``stream``, whose first frame is ``picture``, is encoded; remarks for the client join ``notes``."""
    word = choose(wishes.video_codec, stream.codec, container.video, VIDEO_ENCODERS, kept=wishes.encode)
    if word not in container.video:
        raise InvalidRequest(
            f"{target} cannot hold {word} video; use {listed(container.video)}.", field="video_codec"
        )
    encoder = VIDEO_ENCODERS[word]
    if wishes.crf is not None and wishes.crf > encoder.crf_max:
        raise InvalidRequest(f"'crf' for {word} goes from 0 to {encoder.crf_max}.", field="crf")
    deep = encoder.deep and picture.depth > 8
    alpha = picture.alpha and encoder.alpha
    pix_fmt = "yuv420p10le" if deep else "yuva420p" if alpha else "yuv420p"
    _tell_losses(stream, picture, deep, alpha, notes)
    natural = upright_size(picture)
    size = fit_inside(natural, wishes.width, wishes.height, wishes.enlarge)
    stays = size == natural
    if stays and not _keeps_aspect(picture.aspect, container, encoder.name):
        stays = False
        notes.append(
            f"The picture was scaled to square pixels, {size[0]} × {size[1]}: {target} has no others."
        )
    shape = frame_steps(picture, pix_fmt, size=None if stays else size, fps=wishes.fps, keep_hdr=deep)
    rate = _as_fraction(wishes.fps) if wishes.fps else stream.rate
    return EncodedVideo(
        index=stream.index,
        library=encoder.library,
        codec=encoder.name,
        width=shape.width,
        height=shape.height,
        pix_fmt=pix_fmt,
        rate=rate,
        time_base=1 / rate if wishes.fps else stream.time_base,
        aspect=shape.aspect,
        colour=shape.colour,
        filters=shape.steps,
        bit_rate=video_bit_rate(word, wishes, (shape.width, shape.height), rate),
        options=video_options(word, encoder, wishes, shape.width, alpha=alpha),
        tag="hvc1" if word == "h265" and container.muxer in ("mp4", "mov") else None,
        alpha=alpha,
    )


def _tell_losses(stream: VideoStream, picture: Picture, deep: bool, alpha: bool, notes: list[str]) -> None:
    if picture.colour.hdr and not deep:
        notes.append("The HDR video was tone-mapped to standard dynamic range; h265 or av1 would keep it.")
    if stream.alpha_aside or (picture.alpha and not alpha):
        notes.append("Transparent parts of the video were laid on black.")


def _texts(
    source: Source, container: Container, target: str, notes: list[str]
) -> tuple[Copied | EncodedText, ...]:
    kept: list[Copied | EncodedText] = []
    dropped = 0
    for stream in source.texts:
        if stream.codec in container.copies_text:
            kept.append(Copied(index=stream.index, codec=stream.codec))
        elif stream.pictures or container.text is None:
            dropped += 1
        else:
            kept.append(EncodedText(index=stream.index, codec=container.text))
    if dropped:
        notes.append(f"{dropped} subtitle track(s) drawn as pictures left out: {target} holds text alone.")
    return tuple(kept)


def _as_fraction(fps: float) -> Fraction:
    """29.97 as 30000/1001, 25.0 as 25."""
    broadcast = Fraction(round(fps * 1001 / 1000) * 1000, 1001)
    if broadcast and abs(float(broadcast) - fps) < 0.005 and abs(fps - round(fps)) > 0.001:
        return broadcast
    return Fraction(fps).limit_denominator(1000)
