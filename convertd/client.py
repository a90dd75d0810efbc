"""For programs that use a convertd server: make sure that a callback comes from it, unaltered and now.

Needs the standard library alone, so that the file can be copied to where it is wanted::

    from convertd.client import VerificationError, verify

    event = verify(request.body, request.headers, secret)
    print(event["type"], event["data"]["job"]["id"])
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["VerificationError", "verify"]

_SECONDS = re.compile(r"\d{1,12}", re.ASCII)
_TIMESTAMPED = re.compile(r"t=(\d{1,12}),v1=([0-9a-f]{64})", re.ASCII)


class VerificationError(Exception):
    """The callback must not be believed; the text says why."""


class _Claim(NamedTuple):
    """What a callback claims of itself, and what would prove it."""

    timestamp: str
    signatures: list[str]
    expected: str


def verify(
    body: bytes | str,
    headers: Mapping[str, str],
    secret: str,
    *,
    hashed_secret: bool = False,
    tolerance: float = 300.0,
    now: float | None = None,
) -> dict[str, Any]:
    """The event in a callback's body, once its signature and age are found good.

    ``body`` are the bytes as they arrived: parsed and written again they are others. ``secret`` is the job's
    ``callback_secret`` or the account's. ``headers`` may be written in any case. Two forms are told apart by
    the header that is there:

    - ``webhook-signature`` (Standard Webhooks 1.0), with one ``v1,`` signature or, while the secret is being
      replaced, several, of which one must fit. A secret ``whsec_<base64>`` stands for the decoded bytes, any
      other for its UTF-8 bytes.
    - any other header whose name ends in ``-signature``, ``t=<seconds>,v1=<hex>``, in the forms of the hosted
      services. The key is the secret, or with ``hashed_secret`` the hexadecimal SHA-256 of it.

    Raises :class:`VerificationError` where nothing is signed, no signature fits, the body is no JSON object,
    or the time of sending is more than ``tolerance`` seconds from ``now`` (the present, unless given).
    """
    raw = body.encode() if isinstance(body, str) else bytes(body)
    told = {name.lower(): value for name, value in headers.items()}
    claim = _standard(raw, told, secret) or _timestamped(raw, told, secret, hashed=hashed_secret)
    if claim is None:
        raise VerificationError("No header holds a signature that could be checked.")
    if not _fits(claim):
        raise VerificationError("No signature fits: another secret was used, or something was altered.")
    age = (time.time() if now is None else now) - int(claim.timestamp)
    if abs(age) > tolerance:
        raise VerificationError(f"It was sent {age:.0f} s ago; up to {tolerance:g} s are tolerated.")
    return _object(raw)


def _standard(body: bytes, headers: Mapping[str, str], secret: str) -> _Claim | None:
    message_id, timestamp, signature = (
        headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
    )
    if not (message_id and signature and _SECONDS.fullmatch(timestamp)):
        return None
    digest = _digest(_standard_key(secret), f"{message_id}.{timestamp}.", body)
    return _Claim(timestamp, signature.split(), f"v1,{base64.b64encode(digest).decode()}")


def _standard_key(secret: str) -> bytes:
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError:  # binascii's own, and that for what is not ASCII
            key = b""
        if key:
            return key
    return secret.encode()


def _timestamped(body: bytes, headers: Mapping[str, str], secret: str, *, hashed: bool) -> _Claim | None:
    key = hashlib.sha256(secret.encode()).hexdigest() if hashed else secret
    for name, value in headers.items():
        match = _TIMESTAMPED.fullmatch(value) if name.endswith("-signature") else None
        if match is not None:
            timestamp, signature = match.groups()
            return _Claim(timestamp, [signature], _digest(key.encode(), f"{timestamp}.", body).hex())
    return None


def _digest(key: bytes, prefix: str, body: bytes) -> bytes:
    return hmac.digest(key, prefix.encode(errors="replace") + body, hashlib.sha256)


def _fits(claim: _Claim) -> bool:
    """Compares in constant time."""
    expected = claim.expected.encode()
    return any(hmac.compare_digest(one.encode(errors="replace"), expected) for one in claim.signatures)


def _object(body: bytes) -> dict[str, Any]:
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise VerificationError("The body is signed, but it is no JSON object.")
    return event
