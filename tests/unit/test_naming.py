"""Names that must differ."""

from __future__ import annotations

from convertd.model.naming import Names


class CountingNames(Names):
    """Counts its lookups."""

    lookups = 0

    def is_free(self, path: str) -> bool:
        self.lookups += 1
        return super().is_free(path)


def test_names_stay_apart_whatever_they_are() -> None:
    names = Names()
    assert [names.unique(name) for name in ("a.txt", "A.txt", "a (2).txt", "d/a.txt", "a.txt")] == [
        *("a.txt", "A (2).txt", "a (2) (2).txt", "d/a.txt", "a (3).txt"),
    ]


def test_thousands_of_the_same_name_are_told_apart_without_trying_every_number() -> None:
    names = CountingNames()
    taken = [names.unique("page (2).png"), *(names.unique("page.png") for _ in range(3000))]
    assert len(set(taken)) == 3001
    assert taken[-1] == "page (3001).png"
    assert 3000 < names.lookups < 10_000
