"""What the server believes of a product."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from convertd.engines.base import Product
from convertd.errors import EngineError
from convertd.sandbox.judge import judge

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)
M4V = b"\x00\x00\x00\x14ftypisom\x00\x00\x02\x00isom" + bytes(16)


def put(out: Path, content: bytes, name: str = "result") -> None:
    (out / name).write_bytes(content)


def judged(out: Path, target: str, *names: str, file_bytes: int = 1000) -> None:
    judge([Product(name=name) for name in names], out=out, target=target, file_bytes=file_bytes)


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("png", PNG),
        ("mp4", M4V),
        ("m4v", M4V),
        ("tga", bytes(2) + b"\x02" + bytes(40)),
        ("txt", b"plain"),
        ("txt", b"<html> is how a page starts, %PDF-1.7 how a document"),
        ("txt", b"page one\x0cpage \x02 two"),
        ("txt", b""),
        ("csv", b""),
        ("csv", "ä;ö\n".encode("utf-16")),
        ("json", b"{}"),
        ("html", b"<!DOCTYPE html><p>"),
        ("svg", b'<?xml version="1.0"?><svg/>'),
    ],
)
def test_content_of_the_target_is_believed(tmp_path: Path, target: str, content: bytes) -> None:
    put(tmp_path, content)
    judged(tmp_path, target, "result")


@pytest.mark.parametrize(
    ("target", "content"),
    [
        ("png", b""),
        ("json", b""),
        ("jpg", PNG),
        ("png", b"<!DOCTYPE html><script>"),
        ("pdf", b"plain"),
        ("txt", PNG),
        ("txt", b"a\0b"),
        ("mp4", b"\x1a\x45\xdf\xa3" + bytes(8) + b"webm"),
        ("tga", PNG),
    ],
)
def test_other_content_is_refused(tmp_path: Path, target: str, content: bytes) -> None:
    put(tmp_path, content)
    with pytest.raises(EngineError) as raised:
        judged(tmp_path, target, "result")
    assert "result" in (raised.value.detail or "")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../result", "/etc/passwd", "a\0b", "x" * 300, "nowhere"]
)
def test_names_that_are_no_file_there_are_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, PNG)
    with pytest.raises(EngineError):
        judged(tmp_path, "png", name)


def test_only_plain_files_of_their_own_are_taken(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "secret.png", tmp_path / "out"
    elsewhere.write_bytes(PNG)
    out.mkdir()
    (out / "symlink").symlink_to(elsewhere)
    (out / "hard-link").hardlink_to(elsewhere)
    (out / "directory").mkdir()
    os.mkfifo(out / "fifo")
    for name in ("symlink", "hard-link", "directory", "fifo"):
        with pytest.raises(EngineError):
            judged(out, "png", name)


def test_a_replaced_output_directory_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, PNG)
    (tmp_path / "out").symlink_to(tmp_path)
    with pytest.raises(EngineError):
        judged(tmp_path / "out", "png", "result")


def test_size_and_number_are_held(tmp_path: Path) -> None:
    put(tmp_path, PNG + bytes(2000))
    with pytest.raises(EngineError):
        judged(tmp_path, "png", "result")
    with pytest.raises(EngineError):
        judged(tmp_path, "png")
    with pytest.raises(EngineError):
        judged(tmp_path, "png", "result", "result", file_bytes=10_000)
    judged(tmp_path, "png", "result", file_bytes=10_000)
