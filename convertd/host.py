"""What this process takes of its host, and gives back."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource


def allow_open_files() -> None:
    """As many as the host lets this process have: the usual 1024 are few for a server's connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # then those that it has must do
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def give_back_memory() -> int:
    """Return to the host what is free inside the heap; whether there was any.

    After many uploads at once, glibc keeps hundreds of MiB for good; other C libraries have no such call.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return 0 if trim is None else int(await asyncio.to_thread(trim, 0))
