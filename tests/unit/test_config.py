"""The settings table: where a value may come from, what is refused, and that everything shown agrees."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convertd import config
from convertd.config import Config, ConfigError, load
from convertd.units import parse_duration, parse_size, show_duration, show_size

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
SECRET = "correct horse battery"


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "convertd.toml"
    file.write_text(text, encoding="utf-8")
    return file


def faults(
    tmp_path: Path, toml: str = "", environ: dict[str, str] | None = None, flags: dict[str, Any] | None = None
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, toml), environ or {}, flags or {})
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def test_defaults() -> None:
    settings = load(None, {}, {})
    assert settings == Config()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8080, Path("convertd-data"))
    assert settings.limits.upload == 500 * 1024**2
    assert settings.limits.request == 2 * 1024**3
    assert settings.jobs.deadline == 86400.0
    assert settings.retention.rows == 7 * 86400.0
    assert settings.worker_count >= 1


def test_flags_override_environment_overrides_file(tmp_path: Path) -> None:
    file = written(tmp_path, 'port = 1\nworkers = 1\nhost = "file"\n[limits]\nupload = "1MB"\n')
    settings = load(
        file,
        {"CONVERTD_PORT": "2", "CONVERTD_WORKERS": "2", "CONVERTD_LOG_LEVEL": " "},
        {"port": 3, "host": None},
    )
    assert (settings.host, settings.workers, settings.port) == ("file", 2, 3)
    assert settings.limits.upload == 1024**2
    assert settings.log.level == "info"
    assert settings.worker_count == 2


def test_every_type_reads_from_the_environment() -> None:
    settings = load(
        None,
        {
            "CONVERTD_LIMITS_OUTPUT": "2GiB",
            "CONVERTD_JOBS_DEADLINE": "1h30m",
            "CONVERTD_SANDBOX_REQUIRE": "yes",
            "CONVERTD_LINKS_SECRETS": f"{SECRET}, another {SECRET}",
            "CONVERTD_LINKS_BASE_URL": "https://files.example.org/convertd/",
            "CONVERTD_DATA_DIR": "/srv/convertd",
            "CONVERTD_LOG_FORMAT": "json",
            "CONVERTD_ENGINES_MODULES": "acme.dwg,acme.step",
        },
        {},
    )
    assert settings.limits.output == 2 * 1024**3
    assert settings.jobs.deadline == 5400.0
    assert settings.sandbox.require is True
    assert settings.links.secrets == (SECRET, f"another {SECRET}")
    assert settings.links.base_url == "https://files.example.org/convertd"
    assert settings.data_dir == Path("/srv/convertd")
    assert settings.log.format == "json"
    assert settings.engines.modules == ("acme.dwg", "acme.step")


def test_every_fault_is_reported_at_once_with_its_origin(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        '[limits]\nupload = "lots"\npixles = 3\n[job]\nlease = 3\n',
        {"CONVERTD_PORT": "70000", "CONVERTD_JOBS_LEESE": "3"},
        {"log.level": "loud", "hosst": "x"},
    )
    file = tmp_path / "convertd.toml"
    assert found == (
        f"limits.pixles ({file}): no such setting; did you mean limits.pixels?",
        f"job ({file}): no such setting; did you mean jobs?",
        "CONVERTD_JOBS_LEESE (environment): no such setting; did you mean CONVERTD_JOBS_LEASE?",
        "hosst (flag): no such setting; did you mean host?",
        f"limits.upload ({file}: limits.upload): 'lots' is not allowed; "
        "give a size such as 500MB or 2GiB, from 1B to 1024TB",
        "port (CONVERTD_PORT): '70000' is not allowed; give a whole number from 0 to 65535",
        "log.level (--log-level): 'loud' is not allowed; give one of debug, info, warning, error",
    )


def test_a_faulty_value_is_reported_even_where_it_is_overridden(tmp_path: Path) -> None:
    assert len(faults(tmp_path, 'port = "x"', {"CONVERTD_PORT": "8081"})) == 1


def test_foreign_environment_variables_are_left_alone() -> None:
    assert (
        load(None, {"CONVERTD_CORPUS": "/x", "CONVERTD_LIMITSX": "1", "LIMITS_UPLOAD": "1"}, {}) == Config()
    )


@pytest.mark.parametrize(
    "name",
    [
        *("CORPUS", "URL", "KEY", "CONFIG", "LISTEN_SECRET", "SERVICE_HOST", "SERVICE_PORT"),
        *("PORT_8080_TCP", "PORT_8080_TCP_ADDR", "PORT_8080_TCP_PORT", "PORT_8080_TCP_PROTO"),
    ],
)
def test_variables_of_other_programs_are_no_typing_errors(name: str) -> None:
    """Clients have some of their own, and Kubernetes makes more for a service called convertd."""
    assert load(None, {f"CONVERTD_{name}": "x"}, {}) == Config()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("LIMIT_UPLOAD", "LIMITS_UPLOAD"), ("PROT", "PORT"), ("DATADIR", "DATA_DIR"), ("WORKER", "WORKERS")],
)
def test_a_mistyped_variable_is_a_fault(tmp_path: Path, typed: str, meant: str) -> None:
    assert faults(tmp_path, environ={f"CONVERTD_{typed}": "1"}) == (
        f"CONVERTD_{typed} (environment): no such setting; did you mean CONVERTD_{meant}?",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", -1),
        ("port", True),
        ("port", 80.5),
        ("host", ""),
        ("host", 5),
        ("data_dir", ""),
        ("workers", "1e3"),
        ("limits.upload", 0),
        ("limits.upload", "-1MB"),
        ("limits.upload", 1.5),
        ("limits.upload", "9" * 5000),
        ("limits.upload", 2**70),
        ("limits.duration", "1y"),
        ("limits.duration", float("nan")),
        ("limits.duration", float("inf")),
        ("jobs.lease", "0s"),
        ("jobs.lease", False),
        ("sandbox.require", 1),
        ("sandbox.require", "maybe"),
        ("sandbox.memory", "1MB"),
        ("links.base_url", "ftp://example.org"),
        ("links.base_url", "https://"),
        ("links.base_url", "https://user:word@example.org"),
        ("links.base_url", "https://example.org/?a=b"),
        ("links.base_url", "https://example.org:99999"),
        ("links.base_url", "https://example.org/\r\nx"),
        ("engines.modules", ["os; import x"]),
        ("engines.modules", {"a": 1}),
        ("log.format", ["json"]),
    ],
)
def test_out_of_range(key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {key: value})
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{key} (--")


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        ("jobs.heartbeat", "jobs.lease", ("30s", "30s")),
        ("retention.links", "retention.outputs", ("2h", "1h")),
        ("retention.outputs", "retention.rows", ("8d", "7d")),
        ("retention.inputs", "retention.rows", ("8d", "7d")),
        ("jobs.attempt_timeout", "jobs.deadline", ("25h", "24h")),
        ("limits.upload", "limits.request", ("2GB", "1GB")),
    ],
)
def test_settings_that_contradict_each_other(low: str, high: str, values: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {config.SETTINGS[low].env: values[0]}, {high: values[1]})
    (fault,) = caught.value.faults
    assert fault.startswith(f"{low} ({config.SETTINGS[low].env}) = {values[0]} must")
    assert fault.endswith(f"{high} ({config.SETTINGS[high].flag}) = {values[1]}")


def test_equal_values_pass_where_only_more_is_wrong() -> None:
    assert load(None, {}, {"retention.links": "24h"}).retention.links == 86400.0


def test_secrets_are_never_shown() -> None:
    assert SECRET not in repr(load(None, {}, {"links.secrets": [SECRET]}))
    with pytest.raises(ConfigError) as caught:
        load(None, {"CONVERTD_LINKS_SECRETS": f"{SECRET},short"}, {})
    assert SECRET not in str(caught.value)
    assert "short" not in str(caught.value)
    assert "at least 16" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"port = ", "not valid TOML"),
        (b'host = "\xff"', "not valid TOML"),
        (b"limits = 3", "is a section"),
    ],
)
def test_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "convertd.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file, {"CONVERTD_PORT": "x"}, {})
    assert len(caught.value.faults) == 2
    assert words in caught.value.faults[0]
    assert str(file) in caught.value.faults[0]


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, {}, {})


def test_the_committed_example_is_generated() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == config.example_toml()


def test_the_example_is_all_comments_and_its_lines_are_the_defaults(tmp_path: Path) -> None:
    text = config.example_toml()
    assert load(written(tmp_path, text), {}, {}) == Config()
    live = re.sub(r"^#(?=\w+ = )", "", text, flags=re.MULTILINE)
    assert load(written(tmp_path, live), {}, {}) == Config()
    document = tomllib.loads(live)
    count = sum(len(value) if isinstance(value, dict) else 1 for value in document.values())
    assert count == len(config.SETTINGS)


def test_the_table_is_complete_and_its_defaults_read_back() -> None:
    rows = config.settings_table()
    assert len({row.env for row in rows}) == len({row.flag for row in rows}) == len(config.SETTINGS)
    assert all(row.description.endswith(".") and row.type for row in rows)
    assert load(None, {row.env: row.default for row in rows}, {}) == Config()
    assert {"CONVERTD_HOST", "CONVERTD_PORT", "CONVERTD_DATA_DIR", "CONVERTD_WORKERS"} <= {
        r.env for r in rows
    }


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1048576", 1048576),
        ("500MB", 500 * 2**20),
        ("2 GiB", 2**31),
        ("1.5k", 1536),
        ("1tb", 2**40),
        ("7B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15", 15),
        ("0.5", 0.5),
        ("1h30m", 5400),
        ("7d", 604800),
        ("250ms", 0.25),
        ("1w 2D", 777600),
        ("90s", 90),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "MB", "1XB", "1e3", "-1", "0x10", "1 2", "٣", "1.5.2", "1h 30", "h"])
def test_neither_size_nor_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_size(text)
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(0, 2**49))
def test_shown_sizes_read_back(value: int) -> None:
    assert parse_size(show_size(value)) == value


@given(st.integers(0, 10**8))
def test_shown_durations_read_back(value: int) -> None:
    assert parse_duration(show_duration(value)) == value
