"""Names in one place that must differ."""

from __future__ import annotations

from pathlib import PurePosixPath


class Names:
    """Gives every file a name that none before has, on systems that see no difference in case as well."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}
        """The last number given to each name: thousands of files may be called the same."""

    def unique(self, path: str) -> str:
        """``path``, or where it is taken, with a number before its extension."""
        free = path
        if not self.is_free(path):
            whole, number = PurePosixPath(path), self._numbers.get(path.casefold(), 1)
            while not self.is_free(free):
                number += 1
                free = str(whole.with_name(f"{whole.stem} ({number}){whole.suffix}"))
            self._numbers[path.casefold()] = number
        self._taken.add(free.casefold())
        return free

    def is_free(self, path: str) -> bool:
        """Whether no file has this name."""
        return path.casefold() not in self._taken
