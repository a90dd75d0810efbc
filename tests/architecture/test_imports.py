"""Imports go down only, and the server's process loads no library that decodes files."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import convertd

ROOT = Path(convertd.__file__).parent

FLOORS: tuple[frozenset[str], ...] = tuple(
    frozenset(floor.split())
    for floor in (
        "__main__",
        "cli",
        "app doctor listening",
        "figures host",
        "logs",
        "config",
        "settings",
        "api ui worker callbacks",
        "web sandbox",
        # Jobs are planned over engines, by what these declare.
        "jobs",
        "engines",
        "model storage net",
        "errors units client",
    )
)
"""From the roof down. A room imports from floors below its own, and within itself."""

DECLARED = frozenset(("convertd.engines.base", "convertd.engines.registry"))
"""All of the engines that other rooms may know."""

DECODERS = ("PIL", "av", "pypdfium2", "pypdfium2_raw", "pikepdf", "openpyxl", "python_calamine", "pysubs2")


class Import(NamedTuple):
    """One import statement: who, where, and what."""

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"

    @property
    def rooms(self) -> tuple[str, str]:
        """The room that imports and the one that is imported; empty for the package itself."""
        return _room(self.importer), _room(self.imported)


def _room(module: str) -> str:
    return f"{module}.".split(".")[1]


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ("convertd", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imported(node: ast.AST) -> Iterator[str]:
    """Full names; for ``from a import b``, the module ``a.b`` where there is one."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are written in full"
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in MODULES else node.module or ""


def _imports() -> list[Import]:
    return [
        Import(module, getattr(node, "lineno", 0), name)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.split(".")[0] == "convertd"
    ]


IMPORTS = _imports()


def _floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_there_is_something_to_look_at() -> None:
    assert len(IMPORTS) > 200


def test_every_room_has_its_floor() -> None:
    rooms = {_room(module) for module in MODULES} - {""}
    assert rooms <= frozenset().union(*FLOORS)


def test_imports_go_down_only() -> None:
    wrong = [
        str(one)
        for one in IMPORTS
        for importer, imported in [one.rooms]
        if imported and importer != imported
        if _floor(importer) >= _floor(imported)
    ]
    assert wrong == []


def test_the_client_needs_the_standard_library_alone() -> None:
    tree = ast.parse(MODULES["convertd.client"].read_text(encoding="utf-8"))
    rooms = {name.split(".")[0] for node in ast.walk(tree) for name in _imported(node)}
    assert rooms <= sys.stdlib_module_names


def test_the_package_itself_imports_nothing_of_the_house() -> None:
    assert [str(one) for one in IMPORTS if one.importer == "convertd"] == []


def test_other_rooms_know_engines_by_their_declarations_alone() -> None:
    wrong = [
        str(one)
        for one in IMPORTS
        if one.rooms[1] == "engines" and one.rooms[0] != "engines" and one.imported not in DECLARED
    ]
    assert wrong == []


SHARED = frozenset(("dialect", "reception", "unpacking"))
"""What all dialects stand on."""


def test_dialects_do_not_know_each_other() -> None:
    wrong = []
    for one in IMPORTS:
        importer, imported = (f"{module}..".split(".")[2] for module in (one.importer, one.imported))
        if importer != "dialects" and one.rooms == ("api", "api") and imported not in {"", importer, *SHARED}:
            wrong.append(str(one))
    assert wrong == []


SERVER = """
import sys
import convertd.app, convertd.cli, convertd.doctor
from convertd.engines.registry import Registry, discover
engines = discover()
Registry(engines)
print(*sys.modules)
print(*(module for engine in engines.values() for module in engine.preload))
"""


def test_the_server_loads_no_library_that_decodes_files() -> None:
    run = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=True)
    loaded, preloaded = (set(line.split()) for line in run.stdout.split("\n")[:2])
    assert "convertd.app" in loaded
    assert loaded.isdisjoint(DECODERS)
    assert loaded.isdisjoint(preloaded), "these are for the children alone"
