"""File names: whatever a client called its file, the header is one safe line that names one plain file."""

import re
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convertd.web.disposition import LONGEST_BYTES, attachment, safe_name
from convertd.web.uploads import clean_name

HEADER = re.compile(
    r"attachment; filename=\"([^\"\\%]+)\"(?:; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]+))?"
)


@pytest.mark.parametrize(
    ("name", "safe", "header"),
    [
        ("photo.webp", "photo.webp", 'attachment; filename="photo.webp"'),
        ("my photo (1).webp", "my photo (1).webp", 'attachment; filename="my photo (1).webp"'),
        ("é.png", "é.png", "attachment; filename=\"e.png\"; filename*=UTF-8''%C3%A9.png"),
        ("日本.pdf", "日本.pdf", "attachment; filename=\"__.pdf\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.pdf"),
        ("100%.txt", "100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("../../etc/passwd", "passwd", 'attachment; filename="passwd"'),
        ("C:\\windows\\win.ini", "win.ini", 'attachment; filename="win.ini"'),
        ("a\r\nSet-Cookie: x=y", "aSet-Cookie_ x=y", 'attachment; filename="aSet-Cookie_ x=y"'),
        ('a"; filename="b.exe', "a_; filename=_b.exe", None),
        ("invoice\u202egnp.exe", "invoicegnp.exe", 'attachment; filename="invoicegnp.exe"'),
        ("..", "download", 'attachment; filename="download"'),
        ("\0", "download", 'attachment; filename="download"'),
        (".bashrc", "bashrc", 'attachment; filename="bashrc"'),
        ("NUL.txt", "_NUL.txt", 'attachment; filename="_NUL.txt"'),
        ("a" * 300 + ".jpeg", "a" * 195 + ".jpeg", None),
        ("日" * 300 + ".jpeg", "日" * 65 + ".jpeg", None),
        ("x." + "y" * 300, "x." + "y" * 198, None),
        ("folder/", "folder", None),
        ("\ud800.png", "png", None),
    ],
)
def test_names(name: str, safe: str, header: str | None) -> None:
    assert safe_name(name) == safe
    if header is not None:
        assert attachment(name) == header


@given(st.text(max_size=400))
@example("‥／etc／passwd")
@example("\u202e\u2066\u200f\u061c")
@example("con")
def test_any_text_becomes_one_safe_header(name: str) -> None:
    header = attachment(name)
    match = HEADER.fullmatch(header)
    assert match is not None
    assert header.isascii()
    assert header.isprintable()
    for shown in (match[1], unquote(match[2]) if match[2] else match[1]):
        assert shown not in ("", ".", "..")
        assert not set(shown) & set('/\\<>:"|?*')
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in shown)
        assert not shown.startswith((".", " "))
        assert not shown.endswith((".", " "))
    assert len(safe_name(name).encode()) <= LONGEST_BYTES + 1
    if match[2]:
        assert unquote(match[2]) == safe_name(name)


@given(st.text(max_size=100))
def test_a_safe_name_stays(name: str) -> None:
    assert safe_name(safe_name(name)) == safe_name(name)


@pytest.mark.parametrize("name", ["", "...", ". " * 101 + "y" * 20, "/", "a/", "\0"])
def test_a_clients_file_is_never_without_a_name(name: str) -> None:
    assert clean_name(name)
