"""Decide, from what was found and what is wished, which stream is copied, encoded or left out. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Final

from convertd.engines.pyav.codecs import (
    CONTAINERS,
    PRESETS,
    SOUND_ENCODERS,
    SVT_PRESET,
    TELLS_ASPECT,
    VIDEO_ENCODERS,
    VPX_SPEED,
    Container,
    SoundEncoder,
    VideoEncoder,
)
from convertd.engines.pyav.filters import frame_steps, upright_size
from convertd.engines.pyav.planned import Copied, EncodedSound, EncodedText, EncodedVideo, Plan, Wishes
from convertd.engines.pyav.source import Picture, SoundStream, Source, VideoStream
from convertd.errors import FileInvalid, InvalidRequest

DEFAULT_PRESET: Final = "veryfast"
SMALL_PRESET: Final = "medium"
"""``compress`` may take its time: the size is what was asked for."""


Look = Callable[[int], Picture]
"""Decodes the first frame of the stream with this index; called only where it matters."""


def plan_video(source: Source, target: str, wishes: Wishes, look: Look) -> Plan:
    """How ``source`` becomes a ``target`` that can hold pictures and sound."""
    container = CONTAINERS[target]
    notes: list[str] = []
    video = _video(source, container, target, wishes, look, notes)
    sounds = _sounds(source, container, target, wishes, notes)
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
        sounds=_sounds(source, container, target, wishes, notes),
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
                f"{_or(container.video)}.",
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
    word = _word(wishes.video_codec, stream.codec, container.video, VIDEO_ENCODERS, kept=wishes.encode)
    if word not in container.video:
        raise InvalidRequest(
            f"{target} cannot hold {word} video; use {_or(container.video)}.", field="video_codec"
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
        bit_rate=wishes.video_bitrate or _ceiling(word, shape.width, shape.height, rate),
        options=_encoder_options(word, encoder, wishes, shape.width, alpha),
        tag="hvc1" if word == "h265" and container.muxer in ("mp4", "mov") else None,
        alpha=alpha,
    )


def _word(
    wished: str | None,
    codec: str,
    words: tuple[str, ...],
    encoders: Mapping[str, VideoEncoder] | Mapping[str, SoundEncoder],
    *,
    kept: bool,
) -> str:
    """Which encoder: the wished one, the one of the stream's own ``codec`` if ``kept``, or the usual one."""
    if wished not in (None, "copy"):
        return str(wished)
    own = next((word for word in words if encoders[word].name == codec), None) if kept else None
    return own or words[0]


def _tell_losses(stream: VideoStream, picture: Picture, deep: bool, alpha: bool, notes: list[str]) -> None:
    if picture.colour.hdr and not deep:
        notes.append("The HDR video was tone-mapped to standard dynamic range; h265 or av1 would keep it.")
    if stream.alpha_aside or (picture.alpha and not alpha):
        notes.append("Transparent parts of the video were laid on black.")


def _ceiling(word: str, width: int, height: int, rate: Fraction) -> int:
    """VP8 holds its crf only under a bit rate: a generous one, a fifth of a bit a pixel."""
    return int(width * height * min(float(rate), 60.0) / 5) + 200_000 if word == "vp8" else 0


def _encoder_options(
    word: str, encoder: VideoEncoder, wishes: Wishes, width: int, alpha: bool
) -> dict[str, str]:
    preset = wishes.preset or (SMALL_PRESET if wishes.small else DEFAULT_PRESET)
    speed = PRESETS.index(preset)
    options: dict[str, str] = {}
    if not wishes.video_bitrate:
        crf = wishes.crf if wishes.crf is not None else encoder.crf_small if wishes.small else encoder.crf
        options["crf"] = str(crf)
    if word in ("h264", "h265"):
        options["preset"] = preset
    if word == "h265":
        options["x265-params"] = "log-level=error"
    if word in ("vp8", "vp9"):
        options |= {"deadline": "good", "cpu-used": str(VPX_SPEED[speed]), "lag-in-frames": "25"}
        options["auto-alt-ref"] = "0" if alpha else "1"
    if word == "vp9":
        options |= {"row-mt": "1", "tile-columns": str(max(0, min(4, (width // 256).bit_length() - 1)))}
    if word == "av1":
        options["preset"] = str(SVT_PRESET[speed])
    return options


def _sounds(
    source: Source, container: Container, target: str, wishes: Wishes, notes: list[str]
) -> tuple[Copied | EncodedSound, ...]:
    if wishes.audio_codec == "none":
        return ()
    if wishes.audio_track is None:
        streams = source.sounds
    elif wishes.audio_track < len(source.sounds):
        streams = (source.sounds[wishes.audio_track],)
    else:
        count = len(source.sounds)
        has = f"tracks 0 to {count - 1}" if count > 1 else "track 0 alone" if count else "no audio track"
        raise InvalidRequest(
            f"There is no audio track {wishes.audio_track}: the file has {has}.", field="audio_track"
        )
    return tuple(_sound(stream, container, target, wishes, notes) for stream in streams)


def _sound(
    stream: SoundStream, container: Container, target: str, wishes: Wishes, notes: list[str]
) -> Copied | EncodedSound:
    if _sound_stays(stream, container, target, wishes):
        return Copied(index=stream.index, codec=stream.codec)
    word = _word(wishes.audio_codec, stream.codec, container.sound, SOUND_ENCODERS, kept=wishes.encode)
    if word not in container.sound:
        raise InvalidRequest(
            f"{target} cannot hold {word} sound; use {_or(container.sound)}.", field="audio_codec"
        )
    encoder = SOUND_ENCODERS[word]
    if wishes.channels is None and (made := _channels(stream, encoder, wishes)) != stream.channels:
        had = f"{stream.channels} channel{'s' if stream.channels > 1 else ''}"
        can = "" if encoder.exact_channels else "up to "
        notes.append(
            f"The sound of {had} became one of {made}: {encoder.name} is made with {can}{made} here."
        )
    return replace(encode_sound(stream, encoder, wishes), least=container.least)


def _sound_stays(stream: SoundStream, container: Container, target: str, wishes: Wishes) -> bool:
    fits = stream.codec in container.copies_sound
    if wishes.audio_codec == "copy" and not fits:
        raise InvalidRequest(
            f"{target} cannot hold {stream.codec} sound as it is; use audio_codec {_or(container.sound)}.",
            field="audio_codec",
        )
    wished = wishes.audio_codec
    return (
        fits
        and not (wishes.encode and not _small_enough(stream, wishes))
        and wishes.audio_bitrate is None
        and (wished in (None, "copy") or SOUND_ENCODERS[wished].name == stream.codec)
        and wishes.channels in (None, stream.channels)
        and wishes.sample_rate in (None, stream.sample_rate)
    )


def _small_enough(stream: SoundStream, wishes: Wishes) -> bool:
    """Whether ``compress`` would gain nothing by encoding a track of few bits once more."""
    return wishes.small and 0 < stream.bit_rate <= 64_000 * stream.channels


def encode_sound(stream: SoundStream, encoder: SoundEncoder, wishes: Wishes) -> EncodedSound:
    """How ``stream`` is encoded with ``encoder``."""
    channels = _channels(stream, encoder, wishes)
    deep = stream.deep and encoder.deep is not None
    library = encoder.deep if deep and encoder.deep else encoder.library
    bit_rate = wishes.audio_bitrate or _usual_bit_rate(encoder, channels, small=wishes.small)
    return EncodedSound(
        index=stream.index,
        library=library,
        codec=library if encoder.deep else encoder.name,
        layout=_layout(stream, encoder, channels),
        sample_rate=_sample_rate(stream, encoder, wishes),
        bit_rate=bit_rate,
        quality=None if bit_rate else encoder.quality_small if wishes.small else encoder.quality,
        options=dict(encoder.options),
        through=encoder.through,
        deep=stream.deep,
    )


def _channels(stream: SoundStream, encoder: SoundEncoder, wishes: Wishes) -> int:
    if encoder.exact_channels is not None:
        if wishes.channels not in (None, encoder.exact_channels):
            raise InvalidRequest(
                f"{encoder.name} sound can have {encoder.exact_channels} channels here.", field="channels"
            )
        return encoder.exact_channels
    if wishes.channels is not None and wishes.channels > encoder.max_channels:
        raise InvalidRequest(
            f"{encoder.name} sound can have up to {encoder.max_channels} channels.", field="channels"
        )
    return wishes.channels or min(stream.channels, encoder.max_channels)


_LAYOUTS: Final = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def _layout(stream: SoundStream, encoder: SoundEncoder, channels: int) -> str:
    """The source's own where the encoder takes any, else the usual one for so many channels."""
    if (
        channels == stream.channels
        and not encoder.layouts
        and channels > 2
        and "channels" not in stream.layout
    ):
        return stream.layout
    return encoder.layouts.get(channels, _LAYOUTS[channels])


def _sample_rate(stream: SoundStream, encoder: SoundEncoder, wishes: Wishes) -> int:
    rate = wishes.sample_rate or stream.sample_rate
    if not encoder.rates or rate in encoder.rates:
        return rate
    if wishes.sample_rate is not None:
        allowed = ", ".join(str(rate) for rate in encoder.rates)
        raise InvalidRequest(f"{encoder.name} sound takes the sample rates {allowed}.", field="sample_rate")
    return next((known for known in encoder.rates if known >= rate), encoder.rates[-1])


def _usual_bit_rate(encoder: SoundEncoder, channels: int, *, small: bool) -> int:
    """0 where the encoder has a quality instead."""
    if small and encoder.name == "mp3":
        return 64_000 if channels == 1 else 112_000
    if encoder.bitrates is None:
        return 0
    mono, stereo, further = encoder.bitrates
    usual = mono if channels == 1 else stereo + further * (channels - 2)
    return usual * 5 // 8 if small else usual


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


def _or(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
