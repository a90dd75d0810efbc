"""Decide how tracks of sound go over: copied, or encoded with which settings. No I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from convertd.engines.pyav.codecs import SOUND_ENCODERS, Container, SoundEncoder
from convertd.engines.pyav.planned import Copied, EncodedSound, Wishes
from convertd.engines.pyav.rate_control import sound_bit_rate, sound_quality
from convertd.engines.pyav.source import SoundStream, Source
from convertd.engines.pyav.words import choose, listed
from convertd.errors import InvalidRequest


def plan_sounds(
    source: Source, container: Container, target: str, wishes: Wishes, notes: list[str]
) -> tuple[Copied | EncodedSound, ...]:
    """The wished tracks of ``source``, copied or encoded; remarks for the client join ``notes``."""
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
    word = choose(wishes.audio_codec, stream.codec, container.sound, SOUND_ENCODERS, kept=wishes.encode)
    if word not in container.sound:
        raise InvalidRequest(
            f"{target} cannot hold {word} sound; use {listed(container.sound)}.", field="audio_codec"
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
            f"{target} cannot hold {stream.codec} sound as it is; use audio_codec {listed(container.sound)}.",
            field="audio_codec",
        )
    wished = wishes.audio_codec
    return (
        fits
        and not (wishes.encode and not _small_enough(stream, wishes))
        and wishes.audio_bitrate is None
        and wishes.quality is None
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
    bit_rate = sound_bit_rate(encoder, channels, wishes)
    return EncodedSound(
        index=stream.index,
        library=library,
        codec=library if encoder.deep else encoder.name,
        layout=_layout(stream, encoder, channels),
        sample_rate=_sample_rate(stream, encoder, wishes),
        bit_rate=bit_rate,
        quality=None if bit_rate else sound_quality(encoder, wishes),
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
