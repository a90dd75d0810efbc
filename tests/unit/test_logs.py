"""Log entries as lines for people: what a client sent cannot pass for an entry of its own."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from convertd import logs
from convertd.config import Log

log = logging.getLogger("convertd.test")


@pytest.fixture(autouse=True)
def unchanged_loggers() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("convertd")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/download/\nFAKE\x1b[31m", "/download/\n    FAKE\\x1b[31m"),
        ("a\r\x00\x7f\x9b\u202e\u2028\udc80", "a\\r\\x00\\x7f\\x9b\\u202e\\u2028\\udc80"),
        ("Süßes 日本 \\n", "Süßes 日本 \\n"),
    ],
)
def test_an_entry_is_one_line(capsys: pytest.CaptureFixture[str], sent: str, shown: str) -> None:
    logs.configure(Log())
    log.info("GET %s", sent)
    written = capsys.readouterr().err
    assert written.endswith(f" INFO convertd.test: GET {shown}\n")


def test_a_traceback_keeps_its_lines_but_begins_no_entry(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log())
    try:
        raise ValueError("bad\n2026-01-01 ERROR convertd: FAKE\x1b[31m")
    except ValueError:
        log.exception("it failed")
    first, *others = capsys.readouterr().err.splitlines()
    assert first.endswith(" ERROR convertd.test: it failed")
    assert others[0] == "    Traceback (most recent call last):"
    assert others[-1] == "    2026-01-01 ERROR convertd: FAKE\\x1b[31m"
    assert all(line.startswith("    ") for line in others)


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Log(format="json"))
    log.info("GET %s", "/\nFAKE\x1b[31m")
    written = capsys.readouterr().err
    assert written.count("\n") == 1
    assert "\x1b" not in written
