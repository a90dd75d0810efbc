"""Signed links: whoever holds one may download one artifact until its time has passed.

A token is ``EXPIRES-ARTIFACT`` (seconds since 1970, in hexadecimal) and then 43 characters of HMAC-SHA-256.
All of it is ``[A-Za-z0-9_-]``, so it stands in any path or query as it is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from itsdangerous import Signer
from itsdangerous.encoding import base64_decode, base64_encode

from convertd.errors import Expired

SECRET_FILE: Final = "link-secret"  # noqa: S105

_ARTIFACT = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_TOKEN = re.compile(r"(([0-9a-f]{1,12})-([A-Za-z0-9_-]+))([A-Za-z0-9_-]{43})", re.ASCII)


class LinkSigner:
    """Signs with the newest (last) secret and accepts all, so that links outlive a rotation."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signer = Signer(
            list(secrets), salt="convertd.link", key_derivation="hmac", digest_method=hashlib.sha256
        )

    def sign(self, artifact_id: str, expires_at: int) -> str:
        """A token for ``artifact_id`` (of ``[A-Za-z0-9_-]``), good until ``expires_at`` (Unix seconds)."""
        if not _ARTIFACT.fullmatch(artifact_id):
            raise ValueError(f"not fit for a link: {artifact_id!r}")
        payload = f"{expires_at:x}-{artifact_id}"
        return payload + self._signer.get_signature(payload).decode()

    def verify(self, token: str, now: float) -> str:
        """The artifact that ``token`` opens.

        A token that is altered, foreign or signed with a secret no longer in use is refused exactly as one
        whose time has passed, with ``Expired``: a stranger learns nothing from the answer, and the log says
        which it was.
        """
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise _refused("malformed token")
        payload, expires_at, artifact_id, signature = match.groups()
        # The last character has two bits to spare: without this, four spellings would pass.
        canonical = base64_encode(base64_decode(signature)) == signature.encode()
        if not (self._signer.verify_signature(payload, signature) and canonical):
            raise _refused("wrong signature")
        if now >= int(expires_at, 16):
            raise _refused(f"past its time: {artifact_id}")
        return artifact_id


def load_or_create_secret(data_dir: Path) -> str:
    """The secret kept in ``data_dir``, made at the first call; processes that start together agree on one.

    Raises ``ValueError`` if the file holds no usable secret, ``OSError`` if it cannot be read or written.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = data_dir / SECRET_FILE
    folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not file.exists():
            _write_durably(file, secrets.token_urlsafe(32))
            os.fsync(folder)
        secret = file.read_text(encoding="ascii", errors="replace").strip()
    finally:
        os.close(folder)
    if len(secret) < 16 or not secret.isascii():
        raise ValueError(
            f"{file} holds no secret of at least 16 ASCII characters; delete it and a new one is made"
        )
    return secret


def _write_durably(file: Path, text: str) -> None:
    aside = file.with_suffix(".new")
    aside.unlink(missing_ok=True)
    with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:  # noqa: PTH123
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    aside.rename(file)


def _refused(detail: str) -> Expired:
    return Expired(
        "This link is not valid, or no longer; ask for the job again to get a fresh one.", detail=detail
    )
