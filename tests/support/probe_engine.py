"""An engine that misbehaves on demand: each operation is one thing that hostile bytes could make a decoder do."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from convertd.engines.base import Availability, Call, Capability, Engine, Product
from convertd.errors import FileInvalid
from convertd.model.operations import Options

Misdeed = Callable[[Call], list[Product]]
MISDEEDS: dict[str, Misdeed] = {}


class Told(Options, frozen=True, kw_only=True):
    """What a misdeed is told: a path, a number, a text."""

    path: str = ""
    number: int = 0


def misdeed(act: Misdeed) -> Misdeed:
    MISDEEDS[act.__name__.replace("_", "-")] = act
    return act


def told(call: Call) -> Told:
    assert isinstance(call.options, Told)
    return call.options


def text(call: Call, words: str, name: str = "result.txt") -> list[Product]:
    (call.output_dir / name).write_text(words)
    return [Product(name=name)]


@misdeed
def copy(call: Call) -> list[Product]:
    """No misdeed at all."""
    return text(call, call.input.read_text())


def _available() -> Availability:
    return Availability(ok=True, version="1")


def _run(call: Call) -> list[Product]:
    return MISDEEDS[call.operation](call)


def _engine(name: str, *, processes: bool) -> Engine:
    return Engine(
        name=name,
        title=name,
        capabilities=tuple(
            Capability(operation=operation, source="txt", target=target, options=Told)
            for operation in MISDEEDS
            for target in ("txt", "png")
        ),
        probe=_available,
        run=_run,
        processes=processes,
    )


ENGINE = _engine("probe", processes=False)
