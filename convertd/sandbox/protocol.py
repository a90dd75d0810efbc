"""What crosses the borders between server, zygote and child.

Server and zygote speak over a SEQPACKET socket, one JSON message a packet; a :class:`Run` carries the write
end of the task's result pipe. The child writes JSON lines into that pipe: any number of :class:`Progress`,
then one :class:`Done` or :class:`Failed`. The child has decoded hostile bytes, so the server believes
nothing that it says beyond these shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from convertd.engines.base import Limits, Product

MAX_PACKET: Final = 160 * 1024
"""Bytes of one message between server and zygote; less than the kernel's default socket buffer."""
MAX_LINE: Final = 1024 * 1024
"""Bytes of one line from a child."""
MAX_MESSAGE: Final = 2_000
"""Characters of a sentence that comes from a child."""
MAX_DETAIL: Final = 8 * 1024
"""Characters of a traceback that are kept."""
PROGRESS_INTERVAL: Final = 0.05
"""Seconds between two progress lines of a child."""


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One engine call. ``options`` are validated already; ``inputs`` are file names in the scratch."""

    engine: str
    operation: str
    target: str
    options: dict[str, Any] = {}
    inputs: tuple[str, ...]
    sources: tuple[str, ...]
    """The format of each input."""
    names: tuple[str, ...] = ()
    """The client's name for each input, where there is one."""
    limits: Limits = Limits()


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What one call may use."""

    wall_seconds: float = 600.0
    cpu_seconds: int = 1200
    memory_bytes: int = 2 * 1024**3
    """Address space beyond that of the interpreter with its libraries; for an engine that starts programs
    also the memory of all its processes together."""
    file_bytes: int = 4 * 1024**3
    """Size of any one file it writes."""
    open_files: int = 256
    processes: int = 64
    """Processes and threads at a time."""


Breach = Literal["", "time", "processes", "memory", "route", "fork"]
"""Why the zygote itself ended a task: one of the budget's limits that it enforces; or it could not start it,
because no engine that it has loaded has the route, or the machine gives no process."""


class Run(msgspec.Struct, frozen=True, tag="run"):
    """Server to zygote: fork a child for this."""

    task: int
    work: Work
    scratch: str
    budget: Budget


class Kill(msgspec.Struct, frozen=True, tag="kill"):
    """Server to zygote: kill the task's child and all that it started."""

    task: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Zygote to server, once: what it could set up. ``disabled``: engine name → why it cannot run."""

    layers: dict[str, bool]
    disabled: dict[str, str]


class Started(msgspec.Struct, frozen=True, tag="started"):
    """Zygote to server: the child runs."""

    task: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """Zygote to server: nothing of the task is alive any more.

    ``signal`` killed the child, or it exited with ``exit_code``.
    """

    task: int
    exit_code: int = 0
    signal: int = 0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    breach: Breach = ""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Child to server: how far it is, 0.0 to 1.0."""

    fraction: Annotated[float, Meta(ge=0.0, le=1.0)]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Child to server: success, to be judged."""

    products: list[Product]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Child to server: the error, as :class:`~convertd.errors.ConvertdError` has it."""

    code: str
    message: Annotated[str, Meta(max_length=MAX_MESSAGE)]
    detail: str | None = None
    field: str | None = None


def fitting(names: Sequence[str]) -> tuple[str, ...]:
    """Clients' names for :attr:`Work.names`, each cut to its end where all would not fit into a packet."""
    most = MAX_PACKET // 3 // max(len(names), 1)
    return tuple(name.encode(errors="replace")[-most:].decode(errors="ignore") for name in names)


to_zygote = msgspec.json.Decoder(Run | Kill)
from_zygote = msgspec.json.Decoder(Ready | Started | Ended)
from_child = msgspec.json.Decoder(Progress | Done | Failed)
encode = msgspec.json.Encoder().encode
