"""The options that are declared say the same as the tables that plans are made from."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest

from convertd.engines.pyav import options, sound_options
from convertd.engines.pyav.codecs import CONTAINERS, SOUND_ENCODERS
from convertd.model.operations import Options


def words(kind: type[Options], field: str) -> set[Any]:
    """The values of a field that is a choice, without ``None``."""
    hint = get_type_hints(kind)[field]
    return {value for part in get_args(hint) for value in get_args(part)}


@pytest.mark.parametrize("target", options.VIDEO)
def test_codecs_of_a_container(target: str) -> None:
    kind = options.VIDEO[target]
    assert words(kind, "video_codec") == {*CONTAINERS[target].video, "copy"}
    assert words(kind, "audio_codec") == {*CONTAINERS[target].sound, "copy", "none"}
    assert words(options.ANIMATION[target], "video_codec") == set(CONTAINERS[target].video)


@pytest.mark.parametrize("target", ["mp3", "m4a", "aac", "opus"])
def test_sample_rates_of_a_sound(target: str) -> None:
    rates = SOUND_ENCODERS[CONTAINERS[target].sound[0]].rates
    assert words(sound_options.SOUND[target], "sample_rate") <= set(rates)


@pytest.mark.parametrize("table", [options.VIDEO, sound_options.SOUND, options.ANIMATION])
def test_every_target_has_a_container(table: dict[str, type[Options]]) -> None:
    assert set(table) <= set(CONTAINERS)
