"""Identifiers: opaque, unique, and ordered by time."""

from __future__ import annotations

import secrets
import time
import uuid


def new_job_id() -> str:
    """A UUID of version 7 (RFC 9562): milliseconds, then 74 random bits, so that ids sort by creation."""
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    value = (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | random >> 62 << 64 | 0b10 << 62
    return str(uuid.UUID(int=value | random & (1 << 62) - 1))


def new_delivery_id() -> str:
    """Like a job's id."""
    return new_job_id()


def new_token() -> str:
    """A random secret that nobody can guess: a worker's hold on a job."""
    return secrets.token_hex(16)
