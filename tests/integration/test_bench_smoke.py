"""The benchmarks still run. What they measure is nobody's verdict here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import __main__ as bench
from tests.bench.rows import ROWS


def test_a_cheap_row_gives_a_table_and_a_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench.main(["--quick", "picture"]) == 0
    written = json.loads((tmp_path / "bench-results.json").read_text())
    assert set(written["rows"]) == {"picture"}
    lines = written["rows"]["picture"]["lines"]
    assert len(lines) == 2
    assert all(line["ours"] and line["bar"] and line["met"] in (True, False) for line in lines)
    table = capsys.readouterr().out
    assert all(line["what"] in table for line in lines)
    assert written["versions"]["convertd"]


def test_every_row_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(ROWS)


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["no-such-row"])
    assert "no-such-row" in capsys.readouterr().err
