"""``strip-metadata``: the same streams in a new file of the same format, without tags, chapters, covers."""

from __future__ import annotations

from dataclasses import replace

from convertd.engines.base import Call, Product
from convertd.engines.pyav.codecs import SAME_CONTAINERS
from convertd.engines.pyav.convert import describe_input, output_name
from convertd.engines.pyav.facts import facts_of
from convertd.engines.pyav.planned import Copied, Plan
from convertd.engines.pyav.source import Source
from convertd.engines.pyav.transcode import longest, remarks, transcode


def strip(call: Call) -> list[Product]:
    """Pictures, sound and subtitles packet by packet; which language a track is in is kept."""
    source = describe_input(call)
    plan = bare_plan(call, source)
    name = output_name(call.target)
    outcome = transcode(call, source, plan, call.output_dir / name)
    facts = facts_of(call.output_dir / name, call.target, longest(source, outcome))
    return [Product(name=name, facts=facts, notes=(*plan.notes, *remarks(outcome)))]


def bare_plan(call: Call, source: Source) -> Plan:
    """All that is seen and heard of ``source``, copied into a file of the same format."""
    videos, sounds, texts = (
        tuple(Copied(index=stream.index, codec=stream.codec) for stream in streams)
        for streams in (source.videos, source.sounds, source.texts)
    )
    count = len(source.unreadable)
    note = f"{count} stream{'s' if count > 1 else ''} of an unknown kind left out."
    container = SAME_CONTAINERS[call.target]
    return Plan(
        # Else the muxer writes its own name and the like.
        container=replace(container, options={**container.options, "fflags": "+bitexact"}),
        video=videos[0] if videos else None,
        more_videos=videos[1:],
        sounds=sounds,
        texts=texts,
        strip_metadata=True,
        notes=(note,) if count else (),
    )
