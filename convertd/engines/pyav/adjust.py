"""``adjust`` of a sound: louder or softer, faster or slower."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from convertd.engines.base import Call, Product
from convertd.engines.pyav.convert import describe_input, make_plan, output_name
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.filters import Filters
from convertd.engines.pyav.planned import EncodedSound, Wishes
from convertd.engines.pyav.sound_options import SoundAdjust
from convertd.engines.pyav.transcode import longest, remarks, transcode

_SLOWEST: Final = 0.5
"""The least factor that FFmpeg's ``atempo`` takes at once."""


def adjust(call: Call) -> list[Product]:
    """The sound encoded anew in ``call.target``, its pitch as it was."""
    options = call.options
    assert isinstance(options, SoundAdjust)  # noqa: S101 - by capability
    source = describe_input(call)
    plan = make_plan(call, source, Wishes(encode=True, strip_metadata=options.strip_metadata))
    steps = _steps(options.volume, options.speed)
    sounds = tuple(replace(sound, filters=steps) for sound in plan.sounds if isinstance(sound, EncodedSound))
    name = output_name(call.target)
    outcome = transcode(call, source, replace(plan, sounds=sounds), call.output_dir / name)
    facts = facts_of(call.output_dir / name, call.target, longest(source, outcome) / options.speed)
    return [Product(name=name, facts=facts, notes=(*plan.notes, *remarks(outcome)))]


def _steps(volume: float, speed: float) -> Filters:
    steps = [("volume", f"volume={volume}")] if volume != 1 else []
    while speed < _SLOWEST:
        steps.append(("atempo", f"tempo={_SLOWEST}"))
        speed /= _SLOWEST
    return (*steps, ("atempo", f"tempo={speed}")) if speed != 1 else tuple(steps)
