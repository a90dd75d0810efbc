"""What a benchmark row is, and the registry of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


class Skipped(Exception):
    """A row cannot be measured here; the message says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What is to be reached: a value that must be at most, or at least, ``value``."""

    at_most: bool
    value: float

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.value:g}"

    def met(self, measured: float) -> bool:
        return measured <= self.value if self.at_most else measured >= self.value


def at_most(value: float) -> Bar:
    return Bar(at_most=True, value=value)


def at_least(value: float) -> Bar:
    return Bar(at_most=False, value=value)


@dataclass(kw_only=True)
class Line:
    """One line of the table. The bar is held against ``ratio`` where there is one, else against ``ours``."""

    what: str
    unit: str
    ours: float
    peer: float | None = None
    ratio: float | None = None
    bar: Bar | None = None
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """``None`` where no bar is set."""
        if self.bar is None:
            return None
        return self.bar.met(self.ours if self.ratio is None else self.ratio)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a row is told: how often to measure, and where it may write."""

    rounds: int
    quick: bool
    assets: Path
    """Generated sources, kept between runs."""

    def pick(self, usual: int, quick: int) -> int:
        """A count or a length for this run."""
        return quick if self.quick else usual

    @contextmanager
    def room(self, *, parent: Path | None = None) -> Iterator[Path]:
        """A directory for one measurement, removed afterwards."""
        with TemporaryDirectory(prefix="convertd-bench-", dir=parent) as path:
            yield Path(path)


Measure = Callable[[Bench], list[Line]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A named measurement that gives one or more lines."""

    name: str
    summary: str
    measure: Measure


ROWS: dict[str, Row] = {}


def row(name: str, summary: str) -> Callable[[Measure], Measure]:
    """Register a measurement."""

    def register(measure: Measure) -> Measure:
        ROWS[name] = Row(name=name, summary=summary, measure=measure)
        return measure

    return register
