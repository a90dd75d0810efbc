"""``compress``: by a quality, or by search down to a size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from PIL import Image

from convertd.engines.base import Call, Product
from convertd.engines.pillow.animation import Sequence
from convertd.engines.pillow.metadata import collect, orientation, upright_size
from convertd.engines.pillow.reading import faults_of_the_file, open_picture
from convertd.engines.pillow.reducing import colours_of, plain, reduced, with_colours
from convertd.engines.pillow.rendering import Rendering, Wish
from convertd.engines.pillow.stripping import without_metadata
from convertd.engines.pillow.targets import TARGETS
from convertd.engines.pillow.work import Subject, output_path, product, take
from convertd.engines.pillow.writing import Settings, encode
from convertd.errors import LimitExceeded
from convertd.model.colours import parse_colour
from convertd.model.operations import PictureCompress

_LOWEST: Final = 20
"""Quality below which a smaller picture looks better than a worse one."""
_HIGHEST: Final = 95
_LESSER: Final = (0.8, 0.6, 0.4, 0.0)
"""Shares of the usual quality that are tried where a result would be larger than the input."""
_SMALLEST_SIDE: Final = 16
_SHRINKS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One encoded result."""

    data: bytes
    subject: Subject
    notes: tuple[str, ...]


def compress(call: Call) -> Product:
    """The smaller file, or the input itself where the result would not be smaller."""
    options = call.options
    if not isinstance(options, PictureCompress):
        raise TypeError(f"no options for compress: {options!r}")
    wish = Wish(
        width=options.width,
        height=options.height,
        background=parse_colour(options.background),
        strip_metadata=options.strip_metadata,
    )
    quality = options.quality or TARGETS[call.target].compressed or 100
    if options.target_bytes is not None:
        attempt = _down_to(call, wish, options.target_bytes)
    else:
        with _subject(call, wish) as subject:
            attempt = _attempt(call, subject, quality, visibly=False)
    attempt = _no_larger(call, attempt, wish, quality)
    path = output_path(call)
    path.write_bytes(attempt.data)
    return product(path, call, attempt.subject, list(attempt.notes))


@contextmanager
def _subject(call: Call, wish: Wish) -> Iterator[Subject]:
    target = TARGETS[call.target]
    with open_picture(call.input, call.source, call.limits) as image:
        rendering = Rendering(image, call.source, target, wish, call.limits)
        subject = take(rendering, call, Settings(small=True, threads=call.limits.threads))
        yield replace(subject, notes=(*subject.notes, *rendering.notes))


def _attempt(call: Call, subject: Subject, quality: int, *, visibly: bool) -> Attempt:
    image = _reduce(subject.image, call.target, quality, visibly=visibly)
    out = io.BytesIO()
    settings = replace(subject.settings, quality=quality)
    notes = encode(image, TARGETS[call.target], subject.metadata, settings, out)
    return Attempt(data=out.getvalue(), subject=subject, notes=tuple(notes))


def _reduce(image: Image.Image, target: str, quality: int, *, visibly: bool) -> Image.Image:
    """Fewer colours, for the formats whose encoder knows no quality."""
    if target == "gif" and colours_of(quality) < 256:
        if isinstance(image, Sequence):
            return image.through(lambda frame: with_colours(frame, colours_of(quality)))
        return with_colours(image, colours_of(quality))
    if target == "png" and not isinstance(image, Sequence):
        return reduced(plain(image), quality, visibly=visibly)
    return image


def _down_to(call: Call, wish: Wish, most: int) -> Attempt:
    """The best quality that fits; if none does, ever smaller pictures."""
    smallest = 0
    size: tuple[int, int] | None = None
    for _ in range(_SHRINKS):
        with _subject(call, wish) as subject:
            size = subject.image.size
            attempt = _best_quality(call, subject, most)
            if len(attempt.data) <= most:
                return attempt
        smallest = min(smallest or len(attempt.data), len(attempt.data))
        factor = min(0.8, (most / len(attempt.data)) ** 0.5)
        wish = replace(wish, width=round(size[0] * factor), height=round(size[1] * factor))
        if min(wish.width or 0, wish.height or 0) < _SMALLEST_SIDE:
            break
    raise LimitExceeded(
        f"The picture cannot be brought down to {most:,} bytes; the smallest that was reached is "
        f"{smallest:,} bytes. Ask for more bytes or another target format."
    )


def _best_quality(call: Call, subject: Subject, most: int) -> Attempt:
    """By bisection; the attempt at the lowest quality where even that is too large."""
    best = _attempt(call, subject, _LOWEST, visibly=True)
    if len(best.data) > most:
        return best
    low, high = _LOWEST, _HIGHEST
    while low < high:
        middle = (low + high + 1) // 2
        attempt = _attempt(call, subject, middle, visibly=True)
        if len(attempt.data) <= most:
            best, low = attempt, middle
        else:
            high = middle - 1
    return best


def _no_larger(call: Call, attempt: Attempt, wish: Wish, quality: int) -> Attempt:
    """The input where the attempt gained nothing, as far as it is what was asked for; else fewer bytes."""
    given = call.input.read_bytes()
    kept = _kept(call, attempt, wish, given) if call.source == call.target else None
    if kept is not None and len(kept) <= len(attempt.data):
        how = "unchanged" if kept == given else "without its metadata"
        note = f"The result would not have been smaller: the input is returned {how}."
        return replace(attempt, data=kept, notes=(note,))
    if len(attempt.data) < len(given):
        return attempt
    if call.source != call.target:
        note = "The result is not smaller than the input: keep that, or ask for another format."
        return _with_note(attempt, note)
    return _of_less_quality(call, attempt, wish, quality, len(given) - 1)


def _kept(call: Call, attempt: Attempt, wish: Wish, given: bytes) -> bytes | None:
    """The input, without its metadata where that is to go; an orientation, without which it would lie, stays.

    ``None`` where another size was asked for, or the metadata cannot go without encoding the pixels anew.
    """
    with open_picture(call.input, call.source, call.limits) as image, faults_of_the_file(call.source):
        if attempt.subject.image.size != upright_size(image, call.source):
            return None
        if not wish.strip_metadata:
            return given
        bare = without_metadata(given, call.source, orientation(image))
        # Of a TIFF that could not be stripped only the first page's tags would be looked at.
        is_bare = bare is None and call.source != "tiff" and not collect(image).tells
        return given if is_bare else bare


def _of_less_quality(call: Call, attempt: Attempt, wish: Wish, usual: int, most: int) -> Attempt:
    """One that has at most so many bytes, after a few tries; the attempt as it is where none has."""
    with _subject(call, wish) as subject:
        for quality in sorted({max(_LOWEST, round(usual * share)) for share in _LESSER}, reverse=True):
            less = _attempt(call, subject, quality, visibly=True)
            if len(less.data) <= most:
                note = "The quality was lowered: else the result would be larger than the input."
                return _with_note(less, note)
    free = ", but free of its metadata" if wish.strip_metadata else ""
    return _with_note(attempt, f"The result is not smaller than the input{free}.")


def _with_note(attempt: Attempt, note: str) -> Attempt:
    return replace(attempt, notes=(*attempt.notes, note))
