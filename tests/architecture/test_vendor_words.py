"""The words of the hosted services live in ``api/`` alone."""

from __future__ import annotations

import re
from pathlib import Path

import convertd

ROOT = Path(convertd.__file__).parent
WORDS = re.compile(r"convertly|changethisfile|\bctf_|toolkitapi|pipelyn", re.IGNORECASE)
TEXTS = frozenset((".py", ".sql", ".html", ".css", ".js", ".json", ".toml", ".txt", ".md"))


def test_the_words_are_recognised() -> None:
    for text in ("Convertly", "x-changethisfile-id", "ctf_live_1", "ToolkitAPI", "pipelyn.io"):
        assert WORDS.search(text)
    assert not WORDS.search("convertd struct_f convert only")


def test_hosted_services_are_named_in_their_dialects_alone() -> None:
    texts = [path for path in ROOT.rglob("*") if path.suffix in TEXTS]
    assert len(texts) > 50
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts
        if path.relative_to(ROOT).parts[0] != "api"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if WORDS.search(f"{line}")
    ]
    files = [
        str(path) for path in texts if path.relative_to(ROOT).parts[0] != "api" and WORDS.search(path.name)
    ]
    assert named + files == []
