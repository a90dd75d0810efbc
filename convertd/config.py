"""The settings: one declaration on the fields below, from which everything else is derived.

Each field carries its type, default, range and description. The TOML key (``section.name``), the environment
variable (``CONVERTD_SECTION_NAME``), the flag (``--section-name``), the table in the documentation and
``config.example.toml`` follow from it. A component is handed its own section, never the whole.

Sizes are bytes; durations are seconds.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta

from convertd.net.rules import parse_rule
from convertd.settings import ENV_PREFIX, Setting, WrongEntry, count, seconds, size, text
from convertd.units import DAY, GB, HOUR, MB, MINUTE


class ConfigError(Exception):
    """The settings cannot be used; ``faults`` holds one sentence for each reason, all of them."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all sections."""


class Limits(Section, frozen=True, kw_only=True):
    """What one request, one file or the queue may ask for."""

    upload: Annotated[int, size("Largest single file.")] = 500 * MB
    request: Annotated[int, size("All files of one request together.")] = 2 * GB
    upload_time: Annotated[float, seconds("Time for the whole body of a request to arrive.")] = HOUR
    files: Annotated[int, count("Files of one job.")] = 100
    tasks: Annotated[int, count("Tasks of one job: its files times its targets.")] = 1000
    queue: Annotated[int, count("Waiting jobs; past this, new ones are answered 429.")] = 10_000
    rate: Annotated[
        int, count("Requests for work that an account may make in a minute; 0: no limit.", ge=0)
    ] = 6000
    pixels: Annotated[int, count("Pixels of one picture, frame or rendered page.")] = 100_000_000
    total_pixels: Annotated[int, count("Pixels of all frames or pages of one file together.")] = 2_000_000_000
    frames: Annotated[int, count("Frames of an animated picture.")] = 5000
    pages: Annotated[int, count("Pages of a document.")] = 2000
    duration: Annotated[float, seconds("Length of a video or sound.")] = 6 * HOUR
    streams: Annotated[int, count("Streams of a media file.")] = 64
    output: Annotated[int, size("Largest file that a conversion may write.")] = 4 * GB


class Jobs(Section, frozen=True, kw_only=True):
    """How jobs are tried, held and given up."""

    attempts: Annotated[int, count("Tries at a task before it fails for good.", le=100)] = 3
    attempt_timeout: Annotated[float, seconds("Time for one conversion.")] = HOUR
    deadline: Annotated[float, seconds("Time from acceptance to the end, all tries and waits included.")] = (
        DAY
    )
    lease: Annotated[float, seconds("How long a worker holds a job without a sign of life.")] = 30.0
    heartbeat: Annotated[float, seconds("How often a worker renews its lease; less than jobs.lease.")] = 10.0
    retry_delay: Annotated[float, seconds("Wait before the second try; doubles with each further one.")] = 5.0
    grace: Annotated[float, seconds("Time that SIGTERM leaves running jobs to finish.", ge=0)] = 30.0


class Retention(Section, frozen=True, kw_only=True):
    """How long things are kept."""

    inputs: Annotated[float, seconds("Uploaded files, counted from the end of the job.")] = DAY
    outputs: Annotated[float, seconds("Converted files, counted from the end of the job.")] = DAY
    links: Annotated[float, seconds("Validity of a download link; each poll makes fresh ones.")] = HOUR
    rows: Annotated[
        float, seconds("Records of ended jobs and of settled callbacks; at least as long as the files.")
    ] = 7 * DAY
    idempotency: Annotated[float, seconds("Idempotency keys and the answers that they replay.")] = DAY
    sweep: Annotated[float, seconds("How often expired things are looked for.")] = MINUTE


class Sandbox(Section, frozen=True, kw_only=True):
    """The bounds of a converting process."""

    require: Annotated[
        bool, Meta(description="Refuse to start when the host lacks a layer of isolation.")
    ] = False
    memory: Annotated[int, size("Address space of one process.", ge=64 * MB)] = 3 * GB
    processes: Annotated[int, count("Processes and threads of one conversion.", le=100_000)] = 64
    open_files: Annotated[int, count("Open files of one process.", ge=16, le=100_000)] = 256
    threads: Annotated[
        int, count("Threads that a codec may use; 0: the CPUs shared out among the workers.", ge=0, le=1024)
    ] = 0


class Links(Section, frozen=True, kw_only=True):
    """Signed download links."""

    base_url: Annotated[
        str,
        text(
            "Address under which clients reach the server; empty: taken from each request.",
            allowed="an http or https address without query, or nothing",
            kind="address",
        ),
    ] = ""
    secrets: Annotated[
        tuple[Annotated[str, Meta(min_length=16)], ...],
        text(
            "Keys that sign links, newest last: the last signs, all are accepted; "
            "empty: one is made and kept in the data directory.",
            allowed="keys of at least 16 characters each",
            secret=True,
        ),
    ] = ()

    def __repr__(self) -> str:
        """Counts the secrets instead of showing them."""
        return f"Links(base_url={self.base_url!r}, secrets=<{len(self.secrets)} hidden>)"


class Outbound(Section, frozen=True, kw_only=True):
    """Requests to addresses that clients name: files to fetch, callbacks."""

    allow: Annotated[
        tuple[str, ...],
        text(
            "Hosts, addresses and networks that may be reached besides the public internet, "
            "such as receiver.lan, localhost:9000, 10.1.0.0/16.",
            allowed="host names, addresses (both also with a port) or networks such as "
            "receiver.lan, localhost:9000, [::1]:9000, 10.1.0.0/16",
            check=parse_rule,
        ),
    ] = ()
    fetch_time: Annotated[float, seconds("Time for one file to be fetched.")] = 5 * MINUTE


class Callbacks(Section, frozen=True, kw_only=True):
    """Telling of a job's end."""

    timeout: Annotated[float, seconds("Time for one attempt at a callback.")] = 15.0
    retry_delay: Annotated[
        float,
        seconds("Wait before the second attempt at a callback; all later waits grow and shrink with it."),
    ] = 5.0


class Engines(Section, frozen=True, kw_only=True):
    """What converts."""

    modules: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")], ...],
        text("Import paths of further engine modules.", allowed="import paths such as acme.engines.dwg"),
    ] = ()


class Log(Section, frozen=True, kw_only=True):
    """What is written to standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severity that is written.")
    ] = "info"
    format: Annotated[
        Literal["text", "json"], Meta(description="Lines for people, or one JSON object a line.")
    ] = "text"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings."""

    host: Annotated[
        str, Meta(min_length=1, description="Address to listen on.", extra={"allowed": "a host or address"})
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0: any free one.")] = 8080
    data_dir: Annotated[Path, Meta(description="Folder for the database and all files.")] = Path(
        "./convertd-data"
    )
    workers: Annotated[
        int, count("Conversions that run at the same time; 0: as many as CPUs.", ge=0, le=1024)
    ] = 0
    limits: Limits = Limits()
    jobs: Jobs = Jobs()
    retention: Retention = Retention()
    sandbox: Sandbox = Sandbox()
    links: Links = Links()
    outbound: Outbound = Outbound()
    callbacks: Callbacks = Callbacks()
    engines: Engines = Engines()
    log: Log = Log()

    @property
    def worker_count(self) -> int:
        """``workers``, or the number of CPUs that this process may use."""
        return self.workers or len(os.sched_getaffinity(0))


class SettingRow(NamedTuple):
    """A setting as the documentation shows it."""

    key: str
    env: str
    flag: str
    type: str
    default: str
    description: str


def _declared() -> Iterator[Setting]:
    hints = get_type_hints(Config, include_extras=True)
    for field in msgspec.structs.fields(Config):
        hint = hints[field.name]
        if not (isinstance(hint, type) and issubclass(hint, Section)):
            yield Setting("", field.name, hint, field.default)
            continue
        inner = get_type_hints(hint, include_extras=True)
        for item in msgspec.structs.fields(hint):
            yield Setting(field.name, item.name, inner[item.name], item.default)


SETTINGS: Final[Mapping[str, Setting]] = {setting.key: setting for setting in _declared()}
SECTIONS: Final = tuple(dict.fromkeys(setting.section for setting in SETTINGS.values() if setting.section))

_OTHERS: Final = frozenset((f"{ENV_PREFIX}LISTEN_SECRET",))
"""Variables of other commands, which look like mistyped settings."""

_AT_MOST: Final = (
    ("limits.upload", "limits.request"),
    ("jobs.attempt_timeout", "jobs.deadline"),
    ("retention.links", "retention.outputs"),
    ("retention.inputs", "retention.rows"),
    ("retention.outputs", "retention.rows"),
)
_LESS: Final = (("jobs.heartbeat", "jobs.lease"),)


class _Given(NamedTuple):
    key: str
    origin: str
    value: Any


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Config:
    """Settings from ``file`` (TOML), overridden by ``environ``, overridden by ``flags``.

    ``flags`` are by key, ``None`` meaning not given. An empty environment variable counts as not set.
    Raises :class:`ConfigError` with every fault found.
    """
    faults: list[str] = []
    given = [*_from_file(file, faults), *_from_environ(environ, faults), *_from_flags(flags, faults)]
    values = {key: setting.default for key, setting in SETTINGS.items()}
    origins = dict.fromkeys(SETTINGS, "default")
    wrong: set[str] = set()
    for item in given:
        try:
            values[item.key] = SETTINGS[item.key].parse(item.value)
            origins[item.key] = item.origin
        except ValueError as error:
            wrong_part = item._replace(value=error.args[0]) if isinstance(error, WrongEntry) else item
            faults.append(_refusal(SETTINGS[item.key], wrong_part))
            wrong.add(item.key)
    faults += _clashes({key: value for key, value in values.items() if key not in wrong}, origins)
    if faults:
        raise ConfigError(tuple(faults))
    return _build(values)


def settings_table() -> list[SettingRow]:
    """All settings in their declared order."""
    return [
        SettingRow(
            key=setting.key,
            env=setting.env,
            flag=setting.flag,
            type=setting.type_name,
            default=setting.show(setting.default),
            description=setting.description,
        )
        for setting in SETTINGS.values()
    ]


def example_toml() -> str:
    """The text of ``config.example.toml``: every setting, commented out, with its default."""
    lines = [
        "# Settings of convertd. Each line shows its default: take the # away to change it.",
        "# The environment overrides this file (limits.upload: CONVERTD_LIMITS_UPLOAD), flags override both.",
        '# Sizes: 1048576, "500MB", "2GiB" (kB, MB, GB and KiB, MiB, GiB alike are powers of 1024).',
        '# Durations: 15 (seconds), "90s", "1h30m", "7d".',
    ]
    section = ""
    for setting in SETTINGS.values():
        if setting.section != section:
            section = setting.section
            lines += ["", f"[{section}]"]
        lines += ["", f"# {setting.description}", f"#{setting.name} = {setting.toml()}"]
    return "\n".join(lines) + "\n"


def _from_file(file: Path | None, faults: list[str]) -> Iterator[_Given]:
    if file is None:
        return
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        faults.append(f"{file}: the settings file cannot be read: {error.strerror or error}")
        return
    except ValueError as error:
        faults.append(f"{file}: the settings file is not valid TOML: {error}")
        return
    for name, content in document.items():
        if name in SECTIONS and isinstance(content, dict):
            pairs = [(f"{name}.{inner}", value) for inner, value in content.items()]
        elif name in SECTIONS:
            faults.append(f"{name} ({file}): is a section, write it as [{name}]")
            continue
        else:
            pairs = [(name, content)]
        for key, value in pairs:
            if key in SETTINGS:
                yield _Given(key, f"{file}: {key}", value)
            else:
                faults.append(f"{key} ({file}): no such setting{_nearest(key, [*SETTINGS, *SECTIONS])}")


def _from_environ(environ: Mapping[str, str], faults: list[str]) -> Iterator[_Given]:
    known = {setting.env: setting.key for setting in SETTINGS.values()}
    prefixes = tuple(f"{ENV_PREFIX}{section.upper()}_" for section in SECTIONS)
    for name, value in environ.items():
        if name in known and value.strip():
            yield _Given(known[name], name, value)
        elif name not in known and (name.startswith(prefixes) or _looks_mistyped(name, known)):
            faults.append(f"{name} (environment): no such setting{_nearest(name, [*known])}")


def _looks_mistyped(name: str, known: Iterable[str]) -> bool:
    """Whether a variable outside all sections is meant as a setting: CONVERTD_PROT, but not CONVERTD_URL."""
    if not name.startswith(ENV_PREFIX) or name in _OTHERS:
        return False
    # Without the prefix, which would make all of them alike.
    words = [setting.removeprefix(ENV_PREFIX) for setting in known]
    return bool(difflib.get_close_matches(name.removeprefix(ENV_PREFIX), words, n=1, cutoff=0.75))


def _from_flags(flags: Mapping[str, Any], faults: list[str]) -> Iterator[_Given]:
    for key, value in flags.items():
        if key not in SETTINGS:
            faults.append(f"{key} (flag): no such setting{_nearest(key, [*SETTINGS])}")
        elif value is not None:
            yield _Given(key, SETTINGS[key].flag, value)


def _nearest(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _refusal(setting: Setting, item: _Given) -> str:
    shown = "the value" if setting.secret else f"{item.value!r:.80}"
    return f"{setting.key} ({item.origin}): {shown} is not allowed; give {setting.allowed}"


def _clashes(values: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[str]:
    def shown(key: str) -> str:
        return f"{key} ({origins[key]}) = {SETTINGS[key].show(values[key])}"

    for pairs, words in ((_AT_MOST, "must not be more than"), (_LESS, "must be less than")):
        for low, high in pairs:
            if low not in values or high not in values or values[low] < values[high]:
                continue
            if values[low] > values[high] or pairs is _LESS:
                yield f"{shown(low)} {words} {shown(high)}"


def _build(values: Mapping[str, Any]) -> Config:
    top: dict[str, Any] = {}
    for key, setting in SETTINGS.items():
        part = top.setdefault(setting.section, {}) if setting.section else top
        part[setting.name] = values[key]
    hints = get_type_hints(Config)
    return Config(
        **{name: hints[name](**value) if name in SECTIONS else value for name, value in top.items()}
    )
