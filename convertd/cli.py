"""The commands."""

from __future__ import annotations

import asyncio
import datetime
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import convertd
from convertd import config as settings
from convertd.config import Config, ConfigError
from convertd.errors import ConvertdError

if TYPE_CHECKING:
    from convertd.app import Running

_CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="CONVERTD_CONFIG",
    help="Settings in TOML; config.example.toml shows them all.",
)
_DATA_DIR = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the database and all files.",
)


def _load(config_file: Path | None, flags: dict[str, Any]) -> Config:
    try:
        return settings.load(config_file, os.environ, flags)
    except ConfigError as error:
        count = len(error.faults)
        heading = "The settings have a fault:" if count == 1 else f"The settings have {count} faults:"
        raise click.ClickException("\n  ".join((heading, *error.faults))) from None


class _Commands(click.Group):
    """Commands whose failures are sentences."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has seen enough; click ends quietly
        except OSError as error:
            place = f"{error.filename}: " if error.filename is not None else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from None
        except sqlite3.Error as error:
            raise click.ClickException(f"The database cannot be used: {error}.") from None
        except ConvertdError as error:
            raise click.ClickException(error.message) from None


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(convertd.__version__, prog_name="convertd")
def main() -> None:
    """A conversion server that you run yourself: send a file, get a job, download the result."""


@main.command()
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", help="Port to listen on; 0 picks a free one.  [default: 8080]")
@_DATA_DIR
@_CONFIG
@click.option("--workers", help="Conversions that run at the same time.  [default: as many as CPUs]")
def serve(config_file: Path | None, **flags: Any) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Every setting can also come from the environment (CONVERTD_PORT, CONVERTD_LIMITS_UPLOAD, ...) or from the
    file named by --config; flags win over the environment, the environment over the file.
    """
    from convertd import app, logs

    config = _load(config_file, flags)
    logs.configure(config.log)
    try:
        asyncio.run(app.serve(config, _announce))
    except app.CannotStart as error:
        raise click.ClickException(str(error)) from None


def _announce(started: Running) -> None:
    """The start-up lines, on standard output and at once."""
    on = [name for name, works in started.layers.items() if works]
    off = [name for name, works in started.layers.items() if not works]
    found = [
        f"{started.registry.engines[name].title} {availability.version}"
        for name, availability in started.registry.availability.items()
        if availability.ok
    ]
    lines: list[str] = [
        f"convertd listening on {started.address}",
        f"data directory: {started.data_dir}",
        f"workers: {started.workers}",
        f"sandbox: {', '.join(on)}" + (f" (not on this host: {', '.join(off)})" if off else ""),
        f"engines: {', '.join(found)}",
    ]
    print("\n".join(lines), flush=True)


@main.command("check-config")
@_CONFIG
def check_config(config_file: Path | None) -> None:
    """Check the settings in file and environment; exit 1 and name every fault if there is one."""
    _load(config_file, {})
    click.echo("The settings are in order.")


@main.command()
@click.option("--source", help="Only what can be made from this format.")
@click.option("--target", help="Only what can be made into this format.")
@click.option("--operation", help="Only this operation.")
@_CONFIG
def formats(source: str | None, target: str | None, operation: str | None, config_file: Path | None) -> None:
    """List what this machine converts: operation, source and targets."""
    from convertd.engines.registry import Registry, discover

    config = _load(config_file, {})
    registry = Registry(discover(config.engines.modules))
    if operation is not None and operation not in registry.operations:
        raise click.ClickException(
            f"There is no operation {operation!r}; it can be {', '.join(registry.operations)}."
        )
    wanted = (operation, _format_name("--source", source), _format_name("--target", target))
    rows: dict[tuple[str, str], list[str]] = {}
    for key, plans in sorted(registry.routes.items()):
        if all(want is None or want == have for want, have in zip(wanted, key, strict=True)):
            missing = not any(registry.available(plan) for plan in plans)
            rows.setdefault(key[:2], []).append(key[2] + ("*" if missing else ""))
    if not rows:
        raise click.ClickException("Nothing converts that; try without one of the options.")
    for (name, origin), targets in rows.items():
        click.echo(f"{name:14} {origin:5} -> {' '.join(targets)}")
    if any("*" in word for targets in rows.values() for word in targets):
        click.echo("* needs an engine that is not installed; 'convertd doctor' says how to get it.")


def _format_name(option: str, word: str | None) -> str | None:
    from convertd.model.formats import find_format

    if word is None:
        return None
    found = find_format(word)
    if found is None:
        raise click.ClickException(
            f"{option} {word[:40]!r} is not a format that convertd knows; 'convertd formats' lists them."
        )
    return found.name


@main.command()
@_DATA_DIR
@_CONFIG
def doctor(data_dir: Path | None, config_file: Path | None) -> None:
    """Say what this machine can do, what is missing, and how to get it."""
    from convertd.doctor import examine

    config = _load(config_file, {"data_dir": data_dir})
    findings = asyncio.run(examine(config))
    for finding in findings:
        click.echo(f"{'ok  ' if finding.ok else 'MISS'}  {finding.subject}: {finding.text}")
    if not all(finding.ok or finding.optional for finding in findings):
        raise SystemExit(1)


@main.command()
@click.option("--port", default=9000, show_default=True, help="Port to listen on; 0 picks a free one.")
@click.option(
    "--secret",
    envvar="CONVERTD_LISTEN_SECRET",
    show_envvar=True,
    help="Check signatures: the job's callback_secret, or the account's.",
)
@click.option(
    "--answer",
    "answers",
    default="200",
    show_default=True,
    help="Statuses to answer with in turn, the last from then on: 500,500,200 rehearses two retries.",
)
def listen(port: int, secret: str | None, answers: str) -> None:
    """Receive callbacks on this machine and print them, to try things out."""
    from convertd import listening

    rehearsal = listening.Rehearsal(answers=_statuses(answers), secret=secret)
    try:
        listening.listen(port, rehearsal)
    except OSError as error:
        raise click.ClickException(
            f"Cannot listen on port {port}: {error.strerror or error}. Choose another with --port."
        ) from None


def _statuses(words: str) -> list[int]:
    statuses = [int(word) for word in words.split(",") if word.strip().isdecimal()]
    if len(statuses) != len(words.split(",")) or not all(200 <= status <= 599 for status in statuses):
        raise click.ClickException("--answer takes statuses from 200 to 599, parted by commas.")
    return statuses


@main.group()
def keys() -> None:
    """API keys: without one the server answers this machine only."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--account", help="Owner of the jobs made with the key; keys of one account share them.  [default: NAME]"
)
@_DATA_DIR
@_CONFIG
def create_key(name: str, account: str | None, data_dir: Path | None, config_file: Path | None) -> None:
    """Make a key called NAME; it is shown this once, alone on the last line."""
    from convertd import app

    config = _load(config_file, {"data_dir": data_dir})
    with app.open_keyring(config.data_dir) as keyring:
        key = keyring.create(name, account=account, now=time.time())
    click.echo(f"Key {name!r} is valid from now on, also in a running server. It will not be shown again:")
    click.echo(key)


@keys.command("list")
@_DATA_DIR
@_CONFIG
def list_keys(data_dir: Path | None, config_file: Path | None) -> None:
    """List all keys."""
    from convertd import app

    config = _load(config_file, {"data_dir": data_dir})
    with app.open_keyring(config.data_dir, create=False) as keyring:
        found = keyring.list()
    for key in found:
        made = datetime.datetime.fromtimestamp(key.created_at, datetime.UTC)
        state = "revoked" if key.revoked_at else "valid"
        click.echo(f"{key.name:20} {key.account:20} {key.prefix}...  {made:%Y-%m-%d %H:%M} UTC  {state}")
    if not found:
        click.echo("There are no keys; 'convertd keys create NAME' makes one.")


@keys.command("revoke")
@click.argument("name")
@_DATA_DIR
@_CONFIG
def revoke_key(name: str, data_dir: Path | None, config_file: Path | None) -> None:
    """End the validity of key NAME at once, also in a running server."""
    from convertd import app

    config = _load(config_file, {"data_dir": data_dir})
    with app.open_keyring(config.data_dir, create=False) as keyring:
        keyring.revoke(name, now=time.time())
        open_again = keyring.is_empty()
    click.echo(f"Key {name!r} is revoked.")
    if open_again:
        click.echo(
            "No valid key is left: a server that serves this machine alone is open to its users again."
        )
