"""Which of a container's codecs a stream is written in, and how a client is told the choice."""

from __future__ import annotations

from collections.abc import Mapping

from convertd.engines.pyav.codecs import SoundEncoder, VideoEncoder


def choose(
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


def listed(words: tuple[str, ...]) -> str:
    """``aac, mp3 or opus``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
