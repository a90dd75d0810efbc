"""How callbacks are signed. All is HMAC-SHA-256; what differs is the key, the signed bytes and the writing.

Receivers verify with :mod:`convertd.client`, which has to do without this package and says it once more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105
_SECRET_BYTES: Final = 32


def new_secret() -> str:
    """A key for signing callbacks, in the form of Standard Webhooks."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def standard_signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature of Standard Webhooks 1.0: ``v1,`` and the HMAC of ``id.timestamp.body`` in base64."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(standard_key(secret), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def standard_key(secret: str) -> bytes:
    """The bytes that ``whsec_<base64>`` stands for; any other secret is its own UTF-8 bytes."""
    if secret.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except ValueError:  # binascii's own, and that for what is not ASCII
            key = b""
        if key:
            return key
    return secret.encode()


def timestamped_hex(key: bytes, timestamp: int, body: bytes) -> str:
    """The HMAC of ``timestamp.body`` in lower-case hexadecimal."""
    return hmac.new(key, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def hashed_key(secret: str) -> bytes:
    """The key of those who keep only a hash of the secret: its SHA-256, as 64 hexadecimal characters."""
    return hashlib.sha256(secret.encode()).hexdigest().encode()
