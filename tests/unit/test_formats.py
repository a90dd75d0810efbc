"""What a file is: content before name, and disagreements that say both."""

from __future__ import annotations

import codecs
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convertd.errors import FileInvalid, InvalidRequest, UnsupportedFormat
from convertd.model.formats import FORMATS, find_format, identify, identify_as, known_format
from convertd.model.sniffing import COMPOUND, TEXT, sniff
from tests.support.compound import compound


def box(brand: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return (len(body) + 4).to_bytes(4, "big") + body


def zip_head(first: bytes, data: bytes = b"", *names: bytes) -> bytes:
    """Local file headers as zip writers make them; ``data`` belongs to the first member."""
    members = [(first, data), *((name, b"") for name in names)]
    return b"".join(
        b"PK\x03\x04" + bytes(22) + len(name).to_bytes(2, "little") + bytes(2) + name + content
        for name, content in members
    )


ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(20)
UNDECIDED = compound("WordDocument", gap=200)[:65536]
PROTECTED = compound("EncryptionInfo", "EncryptedPackage")
OFFICE = b"[Content_Types].xml"
ODF = b"application/vnd.oasis.opendocument."

MAGIC: dict[str, bytes] = {
    "jpg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    "png": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "webp": b"RIFF\x10\x00\x00\x00WEBPVP8 ",
    "avif": box(b"avif", b"avif", b"mif1"),
    "gif": b"GIF89a\x01\x00\x01\x00",
    "bmp": b"BM" + bytes(12) + (40).to_bytes(4, "little") + bytes(8),
    "tiff": b"II*\x00\x08\x00\x00\x00",
    "ico": b"\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00" + bytes(12),
    "psd": b"8BPS\x00\x01" + bytes(20),
    "jp2": b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    "tga": bytes(40) + b"TRUEVISION-XFILE.\x00",
    "ppm": b"P6\n4 4\n255\n",
    "heif": box(b"heic", b"mif1", b"heic"),
    "jxl": b"\xff\x0a\xfa\x1f\x01",
    "svg": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "mp4": box(b"isom", b"isom", b"avc1"),
    "m4v": box(b"M4V ", b"isom"),
    "mov": box(b"qt  "),
    "mkv": b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska",
    "webm": b"\x1a\x45\xdf\xa3\x93\x42\x82\x84webm",
    "avi": b"RIFF\x10\x00\x00\x00AVI LIST",
    "wmv": ASF + bytes.fromhex("c0ef19bc4d5bcf11a8fd00805f5c442b"),
    "flv": b"FLV\x01\x05",
    "mpg": b"\x00\x00\x01\xba\x44",
    "ts": (b"\x47" + bytes(187)) * 6,
    "3gp": box(b"3gp4", b"3gp4"),
    "ogv": b"OggS" + bytes(24) + b"\x80theora",
    "mp3": b"\xff\xfb\x90\x64" + bytes(20),
    "wav": b"RIFF\x10\x00\x00\x00WAVEfmt ",
    "flac": b"fLaC\x00\x00\x00\x22",
    "ogg": b"OggS" + bytes(24) + b"\x01vorbis",
    "opus": b"OggS" + bytes(24) + b"OpusHead",
    "m4a": box(b"M4A ", b"mp42"),
    "aac": b"\xff\xf1\x50\x80\x02\x1f\xfc",
    "aiff": b"FORM\x00\x00\x00\x10AIFF",
    "wma": ASF,
    "amr": b"#!AMR\n",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "docx": zip_head(OFFICE, b"", b"_rels/.rels", b"word/document.xml"),
    "doc": compound("1Table", "\x01CompObj", "Data", "WordDocument", inside=("Workbook",)),
    "odt": zip_head(b"mimetype", ODF + b"text"),
    "rtf": b"{\\rtf1\\ansi",
    "wpd": b"\xffWPC\x10\x00",
    "epub": zip_head(b"mimetype", b"application/epub+zip"),
    "html": b"<!DOCTYPE html>\n<html></html>",
    "pptx": zip_head(OFFICE, b"", b"ppt/presentation.xml"),
    "ppt": compound("Current User", "PowerPoint Document"),
    "odp": zip_head(b"mimetype", ODF + b"presentation"),
    "xlsx": zip_head(OFFICE, b"", b"xl/workbook.xml"),
    "xls": compound("Workbook", inside=("WordDocument",)),
    "xlsb": zip_head(OFFICE, b"", b"xl/workbook.bin"),
    "ods": zip_head(b"mimetype", ODF + b"spreadsheet"),
    "csv": b"a,b\n1,2\n",
    "txt": "Grüße\n".encode(),
    "json": b'{"a": 1}',
    "xml": b"<?xml version='1.0'?><a/>",
    "md": b"# Title\n",
    "zip": zip_head(b"some/file.bin", b"data"),
    "tar": b"%PDF-1.7 and more.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(248),
    "tgz": b"\x1f\x8b\x08\x00",
    "gz": b"\x1f\x8b\x08\x00",
    "bz2": b"BZh91AY&SY" + bytes(8),
    "xz": b"\xfd7zXZ\x00\x00\x04",
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "rar": b"Rar!\x1a\x07\x01\x00",
}
"""The start of a file of each format."""

SEEN_AS_OTHERS = {
    "csv": "txt",
    "json": "txt",
    "xml": "txt",
    "md": "txt",
    "tgz": "gz",
}
"""Formats that nothing but the name tells from the one they are taken for."""


def test_every_format_has_a_sample() -> None:
    assert set(MAGIC) == set(FORMATS)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_each_format_is_known_with_its_name(name: str) -> None:
    for extension in FORMATS[name].extensions:
        assert identify(f"Some File.{extension.upper()}", MAGIC[name]).name == name


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_each_format_is_known_by_its_content_alone(name: str) -> None:
    assert identify("upload", MAGIC[name]).name == SEEN_AS_OTHERS.get(name, name)
    assert identify("upload.unheard-of", MAGIC[name]).name == SEEN_AS_OTHERS.get(name, name)


# Content before name


@pytest.mark.parametrize(
    ("file", "content"),
    [("photo.png", "jpg"), ("film.mp4", "mkv"), ("film.mp4", "mp3"), ("song.mp3", "mp4"), ("a.docx", "pdf")],
)
def test_content_decides_within_a_kind(file: str, content: str) -> None:
    assert identify(file, MAGIC[content]).name == content


@pytest.mark.parametrize(
    ("file", "content", "claimed"),
    [
        ("photo.png", "mp4", "png"),
        ("film.mp4", "png", "mp4"),
        ("notes.txt", "pdf", "txt"),
        ("notes.txt", "html", "txt"),
        ("sheet.xlsx", "docx", "xlsx"),
        ("bundle.zip", "docx", "zip"),
        ("photo.jpg", "html", "jpg"),
    ],
)
def test_a_name_of_another_kind_is_refused_with_both(file: str, content: str, claimed: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        identify(file, MAGIC[content])
    for word in (file, f"named as {claimed}", f"content is {content}", "rename it."):
        assert word in caught.value.message
    with pytest.raises(UnsupportedFormat, match="rename it, or say which is right with 'from_format'"):
        identify(file, MAGIC[content], source_field="from_format")


@pytest.mark.parametrize("claimed", ["png", "mp4", "docx", "pdf", "mp3", "zip"])
def test_text_is_not_what_a_binary_name_claims(claimed: str) -> None:
    with pytest.raises(UnsupportedFormat, match=f"named as {claimed} but its content is plain text"):
        identify(f"file.{claimed}", b"just some words")


def test_rubbish_is_refused_with_and_without_a_name() -> None:
    rubbish = b"\x01\x02\x03\x04\x99\x98" * 20
    with pytest.raises(UnsupportedFormat, match="named as png but its content is of no known format"):
        identify("file.png", rubbish)
    with pytest.raises(UnsupportedFormat, match="that convertd knows"):
        identify("file", rubbish)


def test_a_format_without_magic_is_believed_by_name() -> None:
    assert identify("picture.tga", b"\x00\x00\x02" + bytes(15) + b"\x99" * 20).name == "tga"


def test_an_empty_file_is_invalid_whatever_it_is_called() -> None:
    for source in (None, "png"):
        with pytest.raises(FileInvalid, match=r"'a\.png' is empty"):
            identify("a.png", b"", source=source)


def test_the_client_may_say_what_it_is() -> None:
    assert identify("data.bin", b"\x01\x02", source=".TIF").name == "tiff"
    assert identify("photo.png", MAGIC["mp4"], source="video/mp4").name == "mp4"
    with pytest.raises(InvalidRequest) as caught:
        identify("photo.png", MAGIC["png"], source="nonsense")
    assert caught.value.field == "source"


# Containers that several formats share


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("a.xlsb", "xlsx", "xlsb"),
        ("film.mov", "mp4", "mov"),
        ("film.m4v", "mp4", "m4v"),
        ("song.m4a", "mp4", "m4a"),
        ("film.ogv", "ogg", "ogv"),
        ("song.wma", "wmv", "wma"),
        ("a.docx", "zip", "docx"),
        ("a.epub", "zip", "epub"),
        ("a.zip", "zip", "zip"),
        ("song.mp4", "m4a", "m4a"),
        ("a.tar.gz", "gz", "tgz"),
        ("A.TAR.GZ", "gz", "tgz"),
        ("tar.gz", "gz", "gz"),
        ("a.gz", "gz", "gz"),
    ],
)
def test_the_name_tells_formats_of_one_container_apart(file: str, content: str, expected: str) -> None:
    assert identify(file, MAGIC[content]).name == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (box(b"mif1", b"mif1", b"avif"), "avif"),
        (box(b"msf1", b"hevc"), "heif"),
        (box(b"3g2a"), "3gp"),
        (bytes(4) + b"moov", "mov"),
        (bytes(4) + b"mdat", "mov"),
        (b"RF64\xff\xff\xff\xffWAVE", "wav"),
        (b"MM\x00*\x00\x00\x00\x08", "tiff"),
        (b"GIF87a", "gif"),
        (b"ID3\x04\x00\x00\x00\x00\x02\x01", "mp3"),
        (b"\xff\xf9\x50\x80", "aac"),
        (b"\xff\xf3\x84\x64" + bytes(9), "mp3"),
        (b"junk\n%PDF-1.4", "pdf"),
        ((bytes(4) + b"\x47" + bytes(187)) * 6, "ts"),
        (b"P1\n# made by hand\n1 1\n0\n", "ppm"),
        (b"\xff\x4f\xff\x51\x00", "jp2"),
        (b"PK\x05\x06" + bytes(18), "zip"),
        (b"  <svg xmlns='x'/>", "svg"),
        (b"<!-- hand made -->\n<svg/>", "svg"),
        (b"\xef\xbb\xbf<HTML>", "html"),
    ],
)
def test_other_ways_in_which_formats_begin(head: bytes, expected: str) -> None:
    assert sniff(head) == expected


# Compound files


@pytest.mark.parametrize("name", ["doc", "xls", "ppt"])
def test_a_compound_file_whose_content_lies_too_far_is_what_its_name_says(name: str) -> None:
    assert sniff(UNDECIDED) == COMPOUND
    assert identify(f"a.{name}", UNDECIDED).name == name


@pytest.mark.parametrize("name", ["setup.msi", "picture.png", "a.docx", "upload"])
def test_a_compound_file_that_nothing_tells_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedFormat):
        identify(name, UNDECIDED)


@pytest.mark.parametrize(("start", "name"), [(b"\xec\xa5\xc1\x00", "doc"), (MAGIC["doc"][:0], None)])
def test_the_first_sector_may_tell(start: bytes, name: str | None) -> None:
    head = UNDECIDED[:512] + start + UNDECIDED[512 + len(start) :]
    assert sniff(head) == (name or COMPOUND)


@pytest.mark.parametrize("name", ["docx", "xlsx", "pptx"])
def test_an_encrypted_office_file_is_what_its_name_says(name: str) -> None:
    assert identify(f"a.{name}", PROTECTED).name == name


@pytest.mark.parametrize("name", ["upload", "a.doc", "a.pdf"])
def test_an_encrypted_office_file_without_that_name_is_protected(name: str) -> None:
    with pytest.raises(FileInvalid, match="password"):
        identify(name, PROTECTED)


@given(st.binary(max_size=600), st.integers(0, 2000), st.integers(0, 2000))
def test_a_compound_file_in_any_state_is_judged(junk: bytes, at: int, end: int) -> None:
    whole = MAGIC["doc"]
    assert sniff((whole[:at] + junk + whole[at:])[: max(end, 8)]) in (None, *FORMATS, COMPOUND, TEXT)


# Text


@pytest.mark.parametrize("name", ["txt", "csv", "json", "xml", "md", "html", "svg"])
def test_text_is_what_its_name_says(name: str) -> None:
    assert identify(f"file.{name}", b"plain words").name == name


@pytest.mark.parametrize(
    "text",
    [
        "plain words",
        "Grüße, 世界",
        "P1 is the first of the priorities",
        "P2\tlater",
        "ID3 tags are described here",
        "BM is a town",
        "a\x1b[31mred\x1b[0m\n",
    ],
)
def test_text_is_text_however_it_begins(text: str) -> None:
    assert sniff(text.encode()) == TEXT
    assert identify("notes.txt", text.encode()).name == "txt"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8"])
@pytest.mark.parametrize("text", ["hello", "Grüße", "<b>", "世界", "\t\n"])
def test_text_with_a_byte_order_mark_is_text(encoding: str, text: str) -> None:
    """FF FE looks like the sync word of MPEG sound."""
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE, "utf-8": codecs.BOM_UTF8}
    assert identify("notes.txt", marks[encoding] + text.encode(encoding)).name == "txt"


def test_text_that_is_cut_within_a_character_is_text() -> None:
    assert sniff("ü".encode() * 10 + "ü".encode()[:1]) == TEXT


@pytest.mark.parametrize("head", [b"words\x00words", b"latin \xfc", b"\x00"])
def test_what_is_no_utf8_is_no_text(head: bytes) -> None:
    assert sniff(head) is None


@given(st.binary(min_size=1, max_size=400), st.sampled_from(["", "a", *(f"a.{name}" for name in FORMATS)]))
def test_no_content_makes_it_stumble(head: bytes, name: str) -> None:
    with contextlib.suppress(UnsupportedFormat):
        assert identify(name, head).name in FORMATS


@given(st.sampled_from(sorted(MAGIC)), st.integers(1, 60))
def test_no_cut_makes_it_stumble(name: str, length: int) -> None:
    assert sniff(MAGIC[name][:length]) in {None, TEXT, COMPOUND, *FORMATS}


# Words for formats


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("jpeg", "jpg"),
        (".JPG", "jpg"),
        (" heic ", "heif"),
        ("image/webp", "webp"),
        ("text/plain", "txt"),
        ("text/plain; charset=latin-1", "txt"),
        ("markdown", "md"),
        ("matroska", "mkv"),
    ],
)
def test_a_format_has_several_words(word: str, name: str) -> None:
    found = find_format(word)
    assert found is not None
    assert found.name == name
    assert known_format(word, field="to") is found


@pytest.mark.parametrize("word", ["", ".", "exe", "application/x-nothing", "jpg png", "../jpg"])
def test_other_words_are_refused_by_field(word: str) -> None:
    assert find_format(word) is None
    with pytest.raises(InvalidRequest, match="that convertd knows") as caught:
        known_format(word, field="to")
    assert caught.value.field == "to"


def test_no_word_means_two_formats() -> None:
    words = [word for fmt in FORMATS.values() for word in {fmt.name, *fmt.extensions, *fmt.aliases}]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("claimed", "content", "really"),
    [
        ("png", "png", "png"),
        ("jpg", "png", "png"),
        ("mp3", "wav", "wav"),
        ("pdf", "png", "pdf"),
        ("webm", "mp4", "mp4"),
    ],
)
def test_the_word_of_a_sender(claimed: str, content: str, really: str) -> None:
    assert identify_as(claimed, MAGIC[content]) == really


def test_the_word_of_a_sender_on_text() -> None:
    assert identify_as("csv", b"a;b\n") == "csv"
    assert identify_as("png", b"a;b\n") == "png"
    assert identify_as("png", b"\0\1\2") == "png"
