"""What goes to the zygote fits into one packet."""

from __future__ import annotations

import pytest

from convertd.sandbox.protocol import MAX_PACKET, Budget, Run, Work, encode, fitting


@pytest.mark.parametrize("letter", ["a", '"', "\u4e16", "\U0001f600"])
def test_a_thousand_files_with_the_longest_names_fit(letter: str) -> None:
    names = [f"{letter * 250}.jpeg"] * 1000
    work = Work(
        engine="archives",
        operation="archive",
        target="zip",
        inputs=tuple(f"input-{number}.jpeg" for number in range(1000)),
        sources=("jpeg",) * 1000,
        names=fitting(names),
    )
    assert len(encode(Run(1, work, "/a/scratch/folder" * 5, Budget()))) <= MAX_PACKET
    assert all(name.endswith(".jpeg") and len(name) > 5 for name in work.names)


def test_names_that_fit_stay_as_they_are() -> None:
    names = ("\u4e16" * 100 + ".txt", "a", "")
    assert fitting(names) == names
    assert fitting(()) == ()
