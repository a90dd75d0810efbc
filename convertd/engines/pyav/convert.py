"""``convert`` and ``extract-audio``: another container, other codecs where they must be."""

from __future__ import annotations

from typing import Any

from convertd.engines.base import Call, Product
from convertd.engines.pyav import reading
from convertd.engines.pyav.codecs import CONTAINERS
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.plan import plan_sound, plan_video
from convertd.engines.pyav.planned import EncodedVideo, Plan, Wishes, wishes_of
from convertd.engines.pyav.source import Picture, Source
from convertd.engines.pyav.transcode import longest, remarks, transcode
from convertd.model.formats import FORMATS


def convert(call: Call) -> list[Product]:
    """One file of ``call.target``, its streams copied where they fit and encoded where they do not."""
    source = describe_input(call)
    plan = make_plan(call, source, wishes_of(call.options))
    name = output_name(call.target)
    outcome = transcode(call, source, plan, call.output_dir / name)
    facts = facts_of(call.output_dir / name, call.target, longest(source, outcome)) | {"source": told(source)}
    notes = (*plan.notes, *remarks(outcome))
    return [Product(name=name, facts=facts, notes=notes)]


def told(source: Source) -> dict[str, Any]:
    """What a client wants to compare the output with: width and height as stored, duration in seconds."""
    facts: dict[str, Any] = {"duration": round(source.duration, 3)} if source.duration is not None else {}
    if source.videos:
        facts |= {"width": source.videos[0].width, "height": source.videos[0].height}
    return facts


def describe_input(call: Call) -> Source:
    """What the call's input holds."""
    with reading.opened(call.input, call.source, call.limits) as container:
        return reading.describe(container, call.source)


def make_plan(call: Call, source: Source, wishes: Wishes) -> Plan:
    """The plan for the call's target, which may hold pictures or not."""

    def look(index: int) -> Picture:
        return reading.first_picture(call.input, call.source, index, call.limits)

    if CONTAINERS[call.target].video:
        plan = plan_video(source, call.target, wishes, look)
        if isinstance(plan.video, EncodedVideo):
            reading.check_pixels(plan.video.width, plan.video.height, call.limits)
        return plan
    return plan_sound(source, call.target, wishes)


def output_name(target: str) -> str:
    """The file name of the one output."""
    return f"output.{FORMATS[target].extensions[0]}"
