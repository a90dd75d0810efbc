"""Signed links: every altered bit is refused, rotation keeps links alive, one secret a directory."""

import re
import stat
import string
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convertd.errors import Expired
from convertd.web.signing import SECRET_FILE, LinkSigner, load_or_create_secret

OLD, NEW = "an old secret of some length", "a new secret of some length"
NOW = 1_800_000_000
ALPHABET = string.ascii_letters + string.digits + "_-"

signer = LinkSigner([OLD, NEW])
artifact_ids = st.text(ALPHABET, min_size=1, max_size=60)


@given(artifact_ids, st.integers(NOW + 1, NOW + 10**9))
def test_what_was_signed_is_read_back(artifact_id: str, expires_at: int) -> None:
    token = signer.sign(artifact_id, expires_at)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert signer.verify(token, NOW) == artifact_id


@settings(deadline=None)
@given(artifact_ids)
def test_every_flipped_bit_is_refused(artifact_id: str) -> None:
    token = signer.sign(artifact_id, NOW + 60)
    for place in range(len(token)):
        for bit in range(7):
            altered = token[:place] + chr(ord(token[place]) ^ (1 << bit)) + token[place + 1 :]
            with pytest.raises(Expired):
                signer.verify(altered, NOW)


def test_every_other_character_is_refused_at_every_place() -> None:
    token = signer.sign("art_1-x", NOW + 60)
    for place, old in enumerate(token):
        for new in set(ALPHABET + "=.~ \né\0") - {old}:
            with pytest.raises(Expired):
                signer.verify(token[:place] + new + token[place + 1 :], NOW)


@given(st.text(max_size=100))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(Expired):
        signer.verify(text, NOW)


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t + "A", lambda t: t + "=", lambda t: " " + t, str.upper]
)
def test_other_lengths_and_paddings_are_refused(change: "type[str]") -> None:
    with pytest.raises(Expired):
        signer.verify(change(signer.sign("abc", NOW + 60)), NOW)


def test_the_time_limit_is_exact() -> None:
    token = signer.sign("a", NOW)
    assert signer.verify(token, NOW - 0.001) == "a"
    with pytest.raises(Expired):
        signer.verify(token, NOW)


def test_a_stranger_cannot_tell_expired_from_forged() -> None:
    answers = set()
    for token in (signer.sign("a", NOW), signer.sign("a", NOW + 1)[:-1] + "!", "x"):
        with pytest.raises(Expired) as caught:
            signer.verify(token, NOW)
        answers.add(caught.value.message)
    assert len(answers) == 1


def test_rotation() -> None:
    before, after = LinkSigner([OLD]), LinkSigner([NEW])
    live = before.sign("a", NOW + 60)
    assert signer.verify(live, NOW) == "a"
    assert after.verify(signer.sign("a", NOW + 60), NOW) == "a"
    with pytest.raises(Expired):
        after.verify(live, NOW)


def test_one_link_does_not_open_another_artifact() -> None:
    token = signer.sign("abc", NOW + 60)
    with pytest.raises(Expired):
        signer.verify(token.replace("abc", "abd"), NOW)


@pytest.mark.parametrize("artifact_id", ["", "a/b", "a.b", "ä", "a\n"])
def test_ids_that_do_not_fit_a_link(artifact_id: str) -> None:
    with pytest.raises(ValueError):
        signer.sign(artifact_id, NOW)


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "deep"
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: load_or_create_secret(folder), range(32)))
    assert len(found) == 1
    assert len(found.pop()) >= 32
    assert stat.S_IMODE((folder / SECRET_FILE).stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == [SECRET_FILE]
    assert load_or_create_secret(tmp_path) != load_or_create_secret(folder)


def test_a_crash_while_the_secret_was_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "link-secret.new").write_text("half")
    assert load_or_create_secret(tmp_path) == load_or_create_secret(tmp_path) != "half"


def test_a_damaged_secret_is_refused(tmp_path: Path) -> None:
    (tmp_path / SECRET_FILE).write_text("short\n")
    with pytest.raises(ValueError, match="delete it"):
        load_or_create_secret(tmp_path)
