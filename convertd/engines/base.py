"""What an engine is.

An engine is one module (or package) in ``convertd.engines`` that exposes ``ENGINE``. Its import must be
cheap and must not import the library it drives: the server process reads capabilities from it, while only
the sandboxed child calls :attr:`Engine.run`, which imports the library (the zygote has done so already for
the modules named in :attr:`Engine.preload`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from convertd.model.operations import Options


class Fidelity(StrEnum):
    """How much of the source a person still finds in the target."""

    TEXT_ONLY = "text-only"
    GOOD = "good"
    EXACT = "exact"

    @property
    def rank(self) -> int:
        """0 for the lowest; compare fidelities by it."""
        return list(Fidelity).index(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Capability:
    """One thing that an engine can do: ``operation`` on ``source``, giving ``target`` (format names)."""

    operation: str
    source: str
    target: str
    options: type[Options]
    fidelity: Fidelity = Fidelity.EXACT
    least_inputs: int = 1
    most_inputs: int = 1
    """How many files one task takes. Where it may be several, ``source`` is the format of any of them: each
    other format that may come along has a capability of its own with the same operation and target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Availability:
    """Whether the engine's library or program is here: its version, else a hint how to get it."""

    ok: bool
    version: str = ""
    hint: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Caps that an engine checks before it spends memory or time; breaking one is ``LimitExceeded``."""

    pixels: int = 100_000_000
    """Width × height of one picture, frame or page."""
    total_pixels: int = 2_000_000_000
    """Sum of the pixels of all frames of an animated picture, and of all rendered pages of a document."""
    frames: int = 5_000
    """Frames of an animated picture, or pages of a TIFF."""
    pages: int = 2_000
    """Pages of a document that one task renders."""
    seconds: float = 6 * 3600.0
    """Length of a sound or video."""
    streams: int = 64
    """Streams in one container."""
    output_bytes: int = 4 * 1024**3
    """Size of one output file (the sandbox also holds it with RLIMIT_FSIZE)."""
    threads: int = 0
    """Threads that a codec may use; 0 leaves it to the library."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """What one engine call is told. Paths are in the child's own scratch directory."""

    operation: str
    target: str
    options: Options
    inputs: tuple[Path, ...]
    sources: tuple[str, ...]
    """The format of each input."""
    names: tuple[str, ...]
    """The client's name for each input: to be shown or packed, never a path."""
    output_dir: Path
    limits: Limits
    report: Callable[[float], None]
    """Tells progress, 0.0 to 1.0; cheap, may be called as often as wanted."""

    @property
    def input(self) -> Path:
        """The only input of most operations."""
        return self.inputs[0]

    @property
    def source(self) -> str:
        """The format of :attr:`input`."""
        return self.sources[0]


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One file that an engine made in ``Call.output_dir``."""

    name: str
    """File name inside the output directory."""
    part: str | None = None
    """What distinguishes it from its siblings, fit for a file name: ``p003`` for page 3."""
    facts: dict[str, Any] = {}
    """JSON facts for the client: width, height, frames, duration (s), video_codec, audio_codec, fps,
    channels, sample_rate, pages; ``source``: the same of the input, where it tells something."""
    notes: tuple[str, ...] = ()
    """Sentences that the client should read: "The result would have been larger than the input …"."""


def _nothing_to_preload() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """An engine as the registry sees it."""

    name: str
    title: str
    """What a person calls the library: ``Pillow``."""
    capabilities: tuple[Capability, ...]
    probe: Callable[[], Availability]
    """Called in the server; must not import the library."""
    run: Callable[[Call], list[Product]]
    """Called in the child only. Raises ``ConvertdError`` for what it understands, anything else for what
    it does not (reported as ``engine_error``; ``MemoryError`` as ``limit_exceeded``)."""
    internal: tuple[Capability, ...] = ()
    """What it does for the server alone: no client can ask for it."""
    preload: tuple[str, ...] = ()
    """Modules that the zygote imports once, before it forks."""
    warm_up: Callable[[], None] = _nothing_to_preload
    """Called once in the zygote after the imports; must start no thread."""
    processes: bool = False
    """Whether it starts programs of its own (the sandbox otherwise forbids fork and exec)."""


def package_availability(distribution: str, hint: str) -> Availability:
    """Probe for an engine that is a Python package: version from its metadata, without an import."""
    from importlib import metadata

    try:
        return Availability(ok=True, version=metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return Availability(ok=False, hint=hint)
