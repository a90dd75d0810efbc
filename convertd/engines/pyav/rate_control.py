"""How good or how large the encoders make it: one scale of quality for all, crf, and bit rates."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from convertd.engines.pyav.codecs import PRESETS, SVT_PRESET, VPX_SPEED, SoundEncoder, VideoEncoder
from convertd.engines.pyav.planned import Wishes

DEFAULT_PRESET: Final = "veryfast"
SMALL_PRESET: Final = "medium"
"""``compress`` may take its time: the size is what was asked for."""
_USUAL: Final = 75
"""The quality that means an encoder's own default."""
_VPX: Final = ("vp8", "vp9")


def crf_of(encoder: VideoEncoder, quality: int) -> int:
    """The crf for a ``quality`` of 1 to 100: a third less than usual at the top, coarse but seen at 1."""
    if quality >= _USUAL:
        return round(encoder.crf * (1 - (quality - _USUAL) / (100 - _USUAL) / 3))
    return round(encoder.crf + (encoder.crf_max - encoder.crf) * 0.7 * (_USUAL - quality) / (_USUAL - 1))


def video_bit_rate(word: str, wishes: Wishes, size: tuple[int, int], rate: Fraction) -> int:
    """Bits per second that the encoder aims at (VP8 and VP9 with a crf: stays under); 0 for crf alone."""
    if wishes.video_bitrate and (not _by_quality(wishes) or word in _VPX):
        return wishes.video_bitrate
    if word == "vp8":
        # It holds its crf only under a bit rate: a generous one, a fifth of a bit a pixel.
        return int(size[0] * size[1] * min(float(rate), 60.0) / 5) + 200_000
    return 0


def video_options(
    word: str, encoder: VideoEncoder, wishes: Wishes, width: int, *, alpha: bool
) -> dict[str, str]:
    """FFmpeg's options of the encoder that ``word`` means."""
    preset = wishes.preset or (SMALL_PRESET if wishes.small else DEFAULT_PRESET)
    speed = PRESETS.index(preset)
    options = _quality(word, encoder, wishes)
    if word in ("h264", "h265"):
        options["preset"] = preset
    if word == "h265":
        options["x265-params"] = "log-level=error"
    if word in _VPX:
        options |= {"deadline": "good", "cpu-used": str(VPX_SPEED[speed]), "lag-in-frames": "25"}
        options["auto-alt-ref"] = "0" if alpha else "1"
    if word == "vp9":
        options |= {"row-mt": "1", "tile-columns": str(max(0, min(4, (width // 256).bit_length() - 1)))}
    if word == "av1":
        options["preset"] = str(SVT_PRESET[speed])
    return options


def _by_quality(wishes: Wishes) -> bool:
    return wishes.crf is not None or wishes.quality is not None


def _quality(word: str, encoder: VideoEncoder, wishes: Wishes) -> dict[str, str]:
    if wishes.video_bitrate and not _by_quality(wishes):
        return {}
    usual = encoder.crf_small if wishes.small else encoder.crf
    by_number = usual if wishes.quality is None else crf_of(encoder, wishes.quality)
    options = {"crf": str(by_number if wishes.crf is None else wishes.crf)}
    if wishes.video_bitrate and word not in _VPX:
        # The cap holds over two seconds, as players buffer; a moment may need more.
        options |= {"maxrate": str(wishes.video_bitrate), "bufsize": str(2 * wishes.video_bitrate)}
    return options


def sound_bit_rate(encoder: SoundEncoder, channels: int, wishes: Wishes) -> int:
    """Bits per second; 0 where the encoder is told :func:`sound_quality` instead, or has no loss."""
    if wishes.audio_bitrate is not None:
        return wishes.audio_bitrate
    if wishes.small and encoder.name == "mp3" and wishes.quality is None:
        return 64_000 if channels == 1 else 112_000
    if encoder.bitrates is None:
        return 0
    mono, stereo, further = encoder.bitrates
    usual = mono if channels == 1 else stereo + further * (channels - 2)
    if wishes.quality is not None:
        return int(usual * _share(wishes.quality))
    return usual * 5 // 8 if wishes.small else usual


def _share(quality: int) -> float:
    """Of the usual bit rate: twice as many at 100, a fifth at least."""
    if quality >= _USUAL:
        return 1 + (quality - _USUAL) / (100 - _USUAL)
    return max(0.2, quality / _USUAL)


def sound_quality(encoder: SoundEncoder, wishes: Wishes) -> int | None:
    """FFmpeg's ``-q:a`` where no bit rate is told; ``None`` where the encoder has no such scale."""
    if wishes.quality is not None and encoder.qualities is not None:
        worst, best = encoder.qualities
        return round(worst + (best - worst) * wishes.quality / 100)
    return encoder.quality_small if wishes.small else encoder.quality
