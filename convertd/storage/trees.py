"""Removing what a hostile child left behind."""

from __future__ import annotations

import secrets
from pathlib import Path


def remove_tree(top: Path) -> None:
    """Delete a directory that a hostile child filled: any depth, any mode; links are not followed.

    Nested directories are moved up one by one, so neither the stack nor the length of a path grows.
    """
    if not _is_own_directory(top):
        top.unlink(missing_ok=True)
        return
    while entries := list(top.iterdir()):
        for entry in entries:
            if not _is_own_directory(entry):
                entry.unlink(missing_ok=True)
                continue
            for inner in list(entry.iterdir()):
                if _is_own_directory(inner):
                    inner.rename(top / secrets.token_hex(16))
                else:
                    inner.unlink(missing_ok=True)
            entry.rmdir()
    top.rmdir()


def _is_own_directory(path: Path) -> bool:
    """Whether it is a directory and no link; it is made accessible on the way."""
    if path.is_symlink() or not path.is_dir():
        return False
    path.chmod(0o700)
    return True
