"""What this machine can do, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from convertd.config import Config
from convertd.engines.registry import Registry, discover
from convertd.errors import ConvertdError
from convertd.sandbox.runner import Budget, Sandbox
from convertd.units import show_size


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    ok: bool
    text: str
    optional: bool = False
    """Whether the server runs without it."""


async def examine(config: Config) -> list[Finding]:
    """Look at everything; starts and stops a sandbox, changes nothing."""
    return [_python(), _data_directory(config.data_dir), *await _conversions(config)]


def _python() -> Finding:
    text = (
        f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}, {len(os.sched_getaffinity(0))} CPUs"
    )
    return Finding(subject="Python", ok=True, text=text)


def _data_directory(data_dir: Path) -> Finding:
    place = data_dir.absolute()
    # Unlike exists(), access() does not raise for what lies in a closed folder.
    existing = next(path for path in (place, *place.parents) if os.access(path, os.F_OK))
    if not existing.is_dir():
        return Finding(subject="data directory", ok=False, text=f"{existing} is not a folder")
    free = shutil.disk_usage(existing).free
    writable = os.access(existing, os.W_OK | os.X_OK)
    text = f"{place}, {show_size(free // 2**20 * 2**20)} free" if writable else f"{existing} is not writable"
    return Finding(subject="data directory", ok=writable, text=text)


async def _conversions(config: Config) -> list[Finding]:
    """The engines as a converting process finds them, and what confines it."""
    engines = discover(config.engines.modules)
    sandbox = Sandbox(engine_modules=config.engines.modules)
    try:
        await sandbox.start()
        found = _engines(Registry(engines, sandbox.disabled))
        return [*found, await _trial(sandbox), *_layers(sandbox.layers, optional=not config.sandbox.require)]
    except ConvertdError as error:
        return [*_engines(Registry(engines)), Finding(subject="sandbox", ok=False, text=error.message)]
    finally:
        await sandbox.close()


def _engines(registry: Registry) -> list[Finding]:
    findings = []
    for name, availability in registry.availability.items():
        engine = registry.engines[name]
        routes = len(engine.capabilities)
        text = f"{availability.version}, {routes} routes" if availability.ok else availability.hint
        findings.append(Finding(subject=engine.title, ok=availability.ok, text=text, optional=True))
    return findings


async def _trial(sandbox: Sandbox) -> Finding:
    try:
        with tempfile.TemporaryDirectory() as scratch:
            await sandbox.try_out(Path(scratch), Budget())
    except ConvertdError as error:
        return Finding(subject="sandbox", ok=False, text=error.message)
    except OSError as error:
        return Finding(subject="sandbox", ok=False, text=f"could not be tried: {error}")
    return Finding(subject="sandbox", ok=True, text="a conversion was tried and ran")


def _layers(layers: Mapping[str, bool], *, optional: bool) -> list[Finding]:
    missing = "the kernel or its settings do not offer it to this user; conversions run without this layer"
    return [
        Finding(subject=f"sandbox, {name}", ok=works, text="works" if works else missing, optional=optional)
        for name, works in layers.items()
    ]
