"""API keys in the database: made, found by digest, revoked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from convertd.errors import Conflict, InvalidRequest, NotFound
from convertd.jobs import database
from convertd.jobs.keyring import PREFIX, Keyring


@pytest.fixture
def keyring(tmp_path: Path) -> Iterator[Keyring]:
    database.prepare(tmp_path / "convertd.db")
    made = Keyring(tmp_path / "convertd.db")
    yield made
    made.close()


def test_a_made_key_opens_its_account_until_it_is_revoked(keyring: Keyring) -> None:
    assert keyring.is_empty()
    key = keyring.create("laptop", account=None, now=1.0)
    assert key.startswith(PREFIX)
    assert (keyring.account_of(key), keyring.is_empty()) == ("laptop", False)
    keyring.revoke("laptop", now=2.0)
    assert keyring.account_of(key) is None
    assert keyring.is_empty()
    with pytest.raises(NotFound):
        keyring.revoke("laptop", now=3.0)


def test_two_keys_may_open_one_account(keyring: Keyring) -> None:
    keys = [keyring.create(name, account="anna", now=1.0) for name in ("laptop", "phone")]
    assert [keyring.account_of(key) for key in keys] == ["anna", "anna"]
    with pytest.raises(Conflict):
        keyring.create("phone", account="ben", now=1.0)


def test_a_list_of_keys_opens_nothing(keyring: Keyring) -> None:
    key = keyring.create("laptop", account="anna", now=1.0)
    (listed,) = keyring.list()
    assert (listed.name, listed.account, listed.created_at, listed.revoked_at) == (
        "laptop",
        "anna",
        1.0,
        None,
    )
    assert key.startswith(listed.prefix)
    assert keyring.account_of(listed.prefix) is None
    (row,) = keyring._connection.execute("SELECT * FROM api_keys").fetchall()
    assert key not in [str(value) for value in row]


@pytest.mark.parametrize("key", ["", "x", "\udcff", "\x00", "cvd_" + "x" * 100_000])
def test_no_key_makes_it_stumble(keyring: Keyring, key: str) -> None:
    """Header bytes that are no UTF-8 arrive as lone surrogates."""
    assert keyring.account_of(key) is None


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101])
def test_a_key_needs_a_name_that_can_be_shown(keyring: Keyring, name: str) -> None:
    with pytest.raises(InvalidRequest):
        keyring.create(name, account=None, now=1.0)
