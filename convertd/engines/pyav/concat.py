"""``concat``: several sounds, or the sound of videos, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction

import av

from convertd.engines.base import Call, Product
from convertd.engines.pyav import reading
from convertd.engines.pyav.codecs import CONTAINERS, ENDS_ANYWHERE, SOUND_ENCODERS
from convertd.engines.pyav.convert import output_name
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.planned import EncodedSound, wishes_of
from convertd.engines.pyav.sound_plan import encode_sound
from convertd.engines.pyav.sounds import SoundEncoding, SteadyEncoding
from convertd.engines.pyav.source import SoundStream
from convertd.engines.pyav.tracks import Decoder, flushed
from convertd.engines.pyav.transcode import broken_off, cut_off, is_short
from convertd.engines.pyav.writing import add_sound, created
from convertd.errors import ConvertdError, FileInvalid


def concat(call: Call) -> list[Product]:
    """The first track of each input, in the most channels and the highest sample rate of them all.

    Gaps inside a recording close up, and its tags are left out: they are true of a part alone. Errors say
    which input is at fault.
    """
    parts = [_Part(call, number) for number in range(len(call.inputs))]
    reading.check_seconds(sum(part.length for part in parts), call.limits)
    container = CONTAINERS[call.target]
    plan = _plan(call, [part.sound for part in parts])
    path = call.output_dir / output_name(call.target)
    seconds = Fraction(0)
    with created(path, container.muxer, dict(container.options), call.limits) as sink:
        out = add_sound(sink, plan)
        sink.container.start_encoding()
        encoding = SteadyEncoding(out, plan, sink)
        for part in parts:
            seconds += part.play(encoding, seconds)
        encoding.finish()
    call.report(1.0)
    facts = facts_of(path, call.target, float(seconds))
    return [
        Product(name=path.name, facts=facts, notes=tuple(note for part in parts for note in part.notes()))
    ]


def _plan(call: Call, sounds: list[SoundStream]) -> EncodedSound:
    container = CONTAINERS[call.target]
    widest = max(sounds, key=lambda sound: sound.channels)
    whole = replace(
        widest,
        sample_rate=max(sound.sample_rate for sound in sounds),
        deep=any(sound.deep for sound in sounds),
    )
    plan = encode_sound(whole, SOUND_ENCODERS[container.sound[0]], wishes_of(call.options))
    return replace(plan, least=container.least)


class _Part(Decoder):
    """One input."""

    def __init__(self, call: Call, number: int) -> None:
        self.pieces = self.damaged = 0
        self._call, self._number = call, number
        self._path, self._format = call.inputs[number], call.sources[number]
        with self._named(), reading.opened(self._path, self._format, call.limits) as container:
            source = reading.describe(container, self._format)
            if not source.sounds:
                raise FileInvalid(f"The {self._format} file holds no sound.")
            if reading.is_cut_off(container, self._path):
                raise cut_off(self._format)
        self.sound = source.sounds[0]
        self.length = source.duration or 0.0
        self._source = source
        self._short_at: float | None = None

    def play(self, encoding: SoundEncoding, start: Fraction) -> Fraction:
        """Encode the whole sound from ``start`` (seconds); returns how long it was."""
        played = Fraction(0)
        with self._named():
            for frame in self._frames():
                self.pieces += 1
                rate = frame.sample_rate
                frame.time_base = Fraction(1, rate)
                frame.pts = round((start + played) * rate)
                played += Fraction(frame.samples, rate)
                reading.check_seconds(float(start + played), self._call.limits)
                encoding.push(frame)
                self._tell(float(played))
            self._judge(float(played))
        return played

    def _frames(self) -> Iterator[av.AudioFrame]:
        with reading.opened(self._path, self._format, self._call.limits) as container:
            stream = container.streams[self.sound.index]
            assert isinstance(stream, av.AudioStream)  # noqa: S101 - by describe()
            reading.prepare(stream, self._call.limits)
            for packet in reading.packets_of(container, stream):
                yield from self.decode(packet)
            yield from flushed(stream)

    def _tell(self, played: float) -> None:
        share = min(1.0, played / self.length) if self.length else 0.0
        self._call.report(0.99 * (self._number + share) / len(self._call.inputs))

    def _judge(self, played: float) -> None:
        if not self.pieces:
            raise FileInvalid(f"Nothing of the sound in this {self._format} file can be decoded.")
        if is_short(replace(self._call, inputs=(self._path,), sources=(self._format,)), self._source, played):
            if self._format not in ENDS_ANYWHERE:
                raise cut_off(self._format)
            self._short_at = played

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let errors say which input they are about, counted from 1."""
        try:
            yield
        except ConvertdError as error:
            raise type(error)(f"Input {self._number + 1}: {error.message}", detail=error.detail) from error

    def notes(self) -> Iterator[str]:
        """What a client should know about the state of the input."""
        if self.damaged:
            yield f"Input {self._number + 1}: damaged packets were skipped."
        if self._short_at is not None:
            yield f"Input {self._number + 1}: {broken_off(self._short_at)}"
