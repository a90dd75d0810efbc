"""What the commands say when they cannot do what they are asked: one sentence, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import clean_environment, convertd

MISSING_ENGINE = {"CONVERTD_ENGINES_MODULES": "nosuch.engine"}


def refused(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What a command says on standard error before it exits with 1."""
    ended = convertd(*arguments, env=env)
    assert ended.returncode == 1, ended
    assert ended.stderr.startswith("Error: "), ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


@pytest.mark.parametrize("command", ["doctor", "formats"])
def test_an_engine_module_that_is_missing(command: str) -> None:
    assert "nosuch.engine" in refused(command, env=MISSING_ENGINE)


@pytest.mark.parametrize("arguments", [("keys", "create", "x"), ("serve", "--port", "0")])
def test_a_data_directory_that_cannot_be(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file" / "inner", Path("/proc/nowhere")):
        assert str(place) in refused(*arguments, "--data-dir", str(place))


@pytest.mark.parametrize("arguments", [("keys", "list"), ("keys", "revoke", "x")])
def test_keys_of_a_place_without_a_database(arguments: tuple[str, ...], tmp_path: Path) -> None:
    place = tmp_path / "mistyped"
    said = refused(*arguments, "--data-dir", str(place))
    assert f"no database in {place}" in said
    assert not place.exists()


def test_a_link_secret_that_is_none(tmp_path: Path) -> None:
    for content in (b"short", b"\xff" * 40):
        (tmp_path / "link-secret").write_bytes(content)
        said = refused("serve", "--port", "0", "--data-dir", str(tmp_path))
        assert str(tmp_path / "link-secret") in said
        assert "delete it" in said


def test_formats_without_such_a_word() -> None:
    assert "thumbnail" in refused("formats", "--operation", "convrt")
    assert "'convertd formats' lists them" in refused("formats", "--target", "wepb")


def test_the_doctor_looks_at_a_data_directory_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    examined = convertd("doctor", "--data-dir", str(tmp_path / "file" / "inner"))
    assert examined.returncode == 1
    assert f"MISS  data directory: {tmp_path}/file is not a folder" in examined.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user without privileges")
def test_the_doctor_looks_at_a_data_directory_in_a_closed_folder(tmp_path: Path) -> None:
    closed = Path("/") / f"convertd-test-{os.getpid()}"
    closed.mkdir(0o700)
    script = (
        "import asyncio, os, pathlib, sys; from convertd import doctor; os.setgid(65534); os.setuid(65534);"
        "print(doctor._data_directory(pathlib.Path(sys.argv[1])).text)"
    )
    try:
        told = subprocess.run(
            [sys.executable, "-c", script, str(closed / "inner")],
            env=clean_environment({}),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    finally:
        closed.rmdir()
    assert told == f"{closed} is not writable\n"
