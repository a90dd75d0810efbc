"""The pdfium engine: pages as pictures and text, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from convertd.engines.base import Capability, Limits
from convertd.engines.pdfium import ENGINE
from convertd.errors import FileInvalid, InvalidRequest, LimitExceeded
from convertd.model.formats import identify
from convertd.model.parsing import parse_options
from tests.support.engines import capability, run
from tests.support.pictures import BLUE, GREEN, RED, YELLOW, close, looks_like

CORPUS = Path(os.environ["CONVERTD_CORPUS"]) if os.environ.get("CONVERTD_CORPUS") else None


def pdf(*objects: str, root: int = 1) -> bytes:
    """A PDF of the given objects, numbered from 1, with a true cross-reference table."""
    out = b"%PDF-1.7\n"
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    return (
        out + f"trailer <</Size {len(objects) + 1} /Root {root} 0 R>>\nstartxref\n{table}\n%%EOF\n".encode()
    )


def stream(content: str, extra: str = "") -> str:
    return f"<</Length {len(content)} {extra}>>\nstream\n{content}\nendstream"


def colour(rgb: tuple[int, int, int]) -> str:
    return " ".join(f"{value / 255:.3f}" for value in rgb) + " rg"


QUADRANTS = (
    f"{colour(RED)} 0 100 150 100 re f {colour(GREEN)} 150 100 150 100 re f "
    f"{colour(BLUE)} 0 0 150 100 re f {colour(YELLOW)} 150 0 150 100 re f"
)


def document(contents: list[str], box: str = "0 0 300 200", page: str = "", catalog: str = "") -> bytes:
    """One page for each content stream; object 3 is the font, pages and contents follow."""
    numbers = [4 + 2 * index for index in range(len(contents))]
    kids = " ".join(f"{number} 0 R" for number in numbers)
    objects = [
        f"<</Type /Catalog /Pages 2 0 R {catalog}>>",
        f"<</Type /Pages /Kids [{kids}] /Count {len(contents)}>>",
        "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica>>",
    ]
    for number, content in zip(numbers, contents, strict=True):
        objects += [
            f"<</Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents {number + 1} 0 R "
            f"/Resources <</Font <</F1 3 0 R>>>> {page}>>",
            stream(content),
        ]
    return pdf(*objects)


def words(text: str) -> str:
    return f"BT /F1 24 Tf 20 100 Td ({text}) Tj ET"


def write(data: bytes, folder: Path) -> Path:
    path = folder / "a.pdf"
    path.write_bytes(data)
    return path


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return write(document([QUADRANTS]), tmp_path)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write(document([words(f"Page {number}") for number in range(1, 13)]), tmp_path)


def picture(
    path: Path, out: Path, target: str = "png", operation: str = "convert", **options: object
) -> Image.Image:
    return Image.open(run(ENGINE, operation, "pdf", target, path, out, **options)[0][0])


@pytest.mark.parametrize("route", ENGINE.capabilities, ids=lambda c: f"{c.operation}-{c.target}")
def test_every_route_gives_a_file_of_its_format(route: Capability, one: Path, tmp_path: Path) -> None:
    [(path, product)] = run(ENGINE, route.operation, route.source, route.target, one, tmp_path / "out")
    assert identify(path.name, path.read_bytes()[:65536]).name == route.target
    if route.target not in ("txt", "json"):
        image = Image.open(path)
        assert product.facts == {"width": image.width, "height": image.height}
        assert looks_like(image, [RED, GREEN, BLUE, YELLOW])
        if shutil.which("identify") and route.target != "avif":
            size = subprocess.run(
                ["identify", "-format", "%wx%h", path], capture_output=True, text=True, check=True
            )
            assert size.stdout == f"{image.width}x{image.height}"


def test_pages_come_one_by_one_with_their_number(many: Path, tmp_path: Path) -> None:
    told: list[float] = []
    made = run(ENGINE, "convert", "pdf", "jpg", many, tmp_path / "out", dpi=36, report=told.append)
    assert [product.part for _, product in made] == [f"p{number:02}" for number in range(1, 13)]
    assert len({path for path, _ in made}) == 12
    assert told == sorted(told)
    assert len(told) == 13


@pytest.mark.parametrize(
    ("pages", "parts"),
    [("2", ["p02"]), ("1-3,7,11-", ["p01", "p02", "p03", "p07", "p11", "p12"]), ("5,4,5", ["p05", "p04"])],
)
def test_pages_can_be_chosen(pages: str, parts: list[str], many: Path, tmp_path: Path) -> None:
    made = run(ENGINE, "convert", "pdf", "png", many, tmp_path / "out", pages=pages, dpi=18)
    assert [product.part for _, product in made] == parts


@pytest.mark.parametrize("pages", ["13", "0", "5-2", "10-13", "1,99"])
@pytest.mark.parametrize("target", ["png", "txt"])
def test_pages_that_are_not_there_are_named(pages: str, target: str, many: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="1 to 12") as caught:
        run(ENGINE, "convert", "pdf", target, many, tmp_path / "out", pages=pages)
    assert caught.value.field == "pages"


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (625, 417)),
        ({"dpi": 72}, (300, 200)),
        ({"dpi": 300}, (1250, 833)),
        ({"width": 150}, (150, 100)),
        ({"height": 400}, (600, 400)),
        ({"width": 100, "height": 100}, (100, 67)),
    ],
)
def test_sizes(options: dict[str, object], size: tuple[int, int], one: Path, tmp_path: Path) -> None:
    assert picture(one, tmp_path / "out", **options).size == size


def test_density_is_written(one: Path, tmp_path: Path) -> None:
    assert picture(one, tmp_path / "out", dpi=200).info["dpi"] == pytest.approx((200, 200), abs=0.1)


def test_dpi_and_width_exclude_each_other() -> None:
    with pytest.raises(InvalidRequest, match="either dpi or width"):
        parse_options(capability(ENGINE, "convert", "pdf", "png").options, {"dpi": 100, "width": 100})


def test_quality_and_lossless(one: Path, tmp_path: Path) -> None:
    data = document([words("Many words that make edges") + " " + QUADRANTS[:60] + words("more of them")])
    path = write(data, tmp_path)
    for target in ("jpg", "webp"):
        low, high = (
            run(ENGINE, "convert", "pdf", target, path, tmp_path / str(q), quality=q)[0][0].stat().st_size
            for q in (5, 95)
        )
        assert low < high
    exact = picture(path, tmp_path / "out", "webp", lossless=True).convert("RGB")
    assert exact.tobytes() == picture(path, tmp_path / "out", "png").tobytes()


def test_background(tmp_path: Path) -> None:
    path = write(document([words("x")]), tmp_path)
    assert close(picture(path, tmp_path / "out", background="#204060").getpixel((5, 5)), (32, 64, 96), 1)
    assert picture(path, tmp_path / "out", background="transparent").getpixel((5, 5))[3] == 0
    assert close(
        picture(path, tmp_path / "out", "jpg", background="transparent").getpixel((5, 5)), (255, 255, 255)
    )


@pytest.mark.parametrize(
    ("rotation", "expected"),
    [(90, [BLUE, RED, YELLOW, GREEN]), (180, [YELLOW, BLUE, GREEN, RED]), (270, [GREEN, YELLOW, RED, BLUE])],
)
def test_page_rotation_is_honoured(rotation: int, expected: list[tuple[int, ...]], tmp_path: Path) -> None:
    path = write(document([QUADRANTS], page=f"/Rotate {rotation}"), tmp_path)
    image = picture(path, tmp_path / "out", dpi=72)
    assert image.size == ((200, 300) if rotation != 180 else (300, 200))
    assert looks_like(image, expected)


def test_annotations_and_form_fields_are_drawn(tmp_path: Path) -> None:
    def look(rgb: tuple[int, int, int]) -> str:
        return stream(f"{colour(rgb)} 0 0 100 100 re f", "/Type /XObject /Subtype /Form /BBox [0 0 100 100]")

    data = pdf(
        "<</Type /Catalog /Pages 2 0 R /AcroForm <</Fields [5 0 R]>>>>",
        "<</Type /Pages /Kids [3 0 R] /Count 1>>",
        "<</Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Annots [4 0 R 5 0 R]>>",
        "<</Type /Annot /Subtype /Square /Rect [0 0 100 100] /F 4 /AP <</N 6 0 R>>>>",
        "<</Type /Annot /Subtype /Widget /FT /Tx /T (name) /Rect [100 0 200 100] /F 4 /AP <</N 7 0 R>>>>",
        look(RED),
        look(GREEN),
    )
    image = picture(write(data, tmp_path), tmp_path / "out", dpi=72)
    assert close(image.getpixel((50, 50)), RED)
    assert close(image.getpixel((150, 50)), GREEN)


# ------------------------------------------------------------------------------------- thumbnails


@pytest.mark.parametrize("target", ["jpg", "png", "webp"])
@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, (320, 213)),
        ({"width": 600}, (600, 400)),
        ({"width": 100, "height": 100, "fit": "contain"}, (100, 100)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 2000, "height": 2000}, (625, 417)),
        ({"width": 2000, "height": 2000, "enlarge": True}, (2000, 1334)),
    ],
)
def test_thumbnail_sizes(
    target: str, options: dict[str, object], size: tuple[int, int], one: Path, tmp_path: Path
) -> None:
    assert picture(one, tmp_path / "out", target, "thumbnail", **options).size == pytest.approx(size, abs=1)


def test_thumbnail_cuts_or_pads(one: Path, tmp_path: Path) -> None:
    cover = picture(one, tmp_path / "out", "png", "thumbnail", width=90, height=90, fit="cover")
    assert looks_like(cover, [RED, GREEN, BLUE, YELLOW])
    contain = picture(
        one, tmp_path / "out", "png", "thumbnail", width=90, height=90, fit="contain", background="black"
    )
    assert contain.getpixel((45, 3)) == (0, 0, 0)
    assert close(contain.getpixel((20, 30)), RED)


@pytest.mark.parametrize("target", ["jpg", "png", "webp", "avif"])
def test_one_side_of_a_thumbnail_follows_the_other(target: str, one: Path, tmp_path: Path) -> None:
    assert picture(one, tmp_path / "out", target, "thumbnail", width=600).size == (600, 400)
    assert picture(one, tmp_path / "out", target, "thumbnail", width=1600, enlarge=True).width == 1600


def test_thumbnail_of_a_page(many: Path, tmp_path: Path) -> None:
    assert picture(many, tmp_path / "out", "jpg", "thumbnail", page=12, quality=20).width == 320
    with pytest.raises(InvalidRequest, match="12 pages") as caught:
        run(ENGINE, "thumbnail", "pdf", "jpg", many, tmp_path / "out", page=13)
    assert caught.value.field == "page"


# ------------------------------------------------------------------------------------------- text


def test_text_has_its_pages_parted_by_form_feeds(many: Path, tmp_path: Path) -> None:
    [(path, product)] = run(ENGINE, "convert", "pdf", "txt", many, tmp_path / "out")
    pages = path.read_text("utf-8").split("\f")
    assert [page.strip() for page in pages] == [f"Page {number}" for number in range(1, 13)]
    assert product.facts == {"pages": 12}
    assert product.notes == ()


def test_text_of_chosen_pages(many: Path, tmp_path: Path) -> None:
    [(path, _)] = run(ENGINE, "convert", "pdf", "txt", many, tmp_path / "out", pages="3,5")
    assert path.read_bytes() == b"Page 3\n\fPage 5\n"


def test_text_beyond_ascii(tmp_path: Path) -> None:
    data = document([words("gr\\374n \\351t\\351")]).replace(
        b"/Helvetica", b"/Helvetica /Encoding /WinAnsiEncoding"
    )
    # The longer font dictionary moves all offsets: readers rebuild the table.
    [(path, _)] = run(ENGINE, "convert", "pdf", "txt", write(data, tmp_path), tmp_path / "out")
    assert path.read_text("utf-8").strip() == "grün été"


def test_a_document_without_text_is_not_empty_and_says_so(one: Path, tmp_path: Path) -> None:
    [(path, product)] = run(ENGINE, "convert", "pdf", "txt", one, tmp_path / "out")
    assert path.read_bytes() == b"\n"
    assert "OCR" in product.notes[0]


# ----------------------------------------------------------------------------------------- inspect


def test_a_document_tells_of_itself(tmp_path: Path) -> None:
    info = "<</Title (A\\040title) /Author (N\\351e)>>"
    data = document([QUADRANTS, words("2")]).replace(
        b"trailer <<", b"8 0 obj\n" + info.encode() + b"\nendobj\ntrailer <</Info 8 0 R "
    )
    path = write(data, tmp_path)
    [(made, product)] = run(ENGINE, "inspect", "pdf", "json", path, tmp_path / "out")
    assert json.loads(made.read_text("utf-8")) == product.facts
    assert product.facts == {
        "kind": "document", "format": "pdf", "size_bytes": len(data), "pages": 2, "page_width": 300,
        "page_height": 200, "encrypted": False, "title": "A title", "author": "Née",
    }  # fmt: skip


# ----------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("target", ["png", "txt"])
@pytest.mark.parametrize(
    "data", [b"%PDF-1.7\n", b"%PDF-1.4 nothing of the kind", document([QUADRANTS])[:120]]
)
def test_a_broken_document_is_the_files_fault(data: bytes, target: str, tmp_path: Path) -> None:
    with pytest.raises(FileInvalid, match="damaged") as caught:
        run(ENGINE, "convert", "pdf", target, write(data, tmp_path), tmp_path / "out")
    assert str(tmp_path) not in caught.value.message


def test_a_document_without_pages_is_the_files_fault(tmp_path: Path) -> None:
    with pytest.raises(FileInvalid):
        run(ENGINE, "convert", "pdf", "png", write(document([]), tmp_path), tmp_path / "out")


def test_an_encrypted_document_asks_for_an_unprotected_one(tmp_path: Path) -> None:
    """The standard security handler with hashes that no empty password matches."""
    lock = "<</Filter /Standard /V 1 /R 2 /P -4 /O <" + "41" * 32 + "> /U <" + "42" * 32 + ">>>"
    data = document([QUADRANTS])
    head, trailer = data.split(b"trailer <<")
    body = head.rsplit(b"xref", 1)[0] + b"6 0 obj\n" + lock.encode() + b"\nendobj\n"
    path = write(body + b"trailer <</Encrypt 6 0 R /ID [<00> <00>] " + trailer, tmp_path)
    with pytest.raises(FileInvalid, match="protected by a password"):
        run(ENGINE, "convert", "pdf", "png", path, tmp_path / "out")
    [(_, product)] = run(ENGINE, "inspect", "pdf", "json", path, tmp_path / "out")
    assert product.facts == {
        "kind": "document", "format": "pdf", "size_bytes": path.stat().st_size, "encrypted": True,
    }  # fmt: skip


def test_a_huge_page_is_refused_before_it_is_drawn(tmp_path: Path) -> None:
    path = write(document([QUADRANTS], box="0 0 14400 14400"), tmp_path)
    with pytest.raises(LimitExceeded, match="Page 1 has 30000 × 30000"):
        run(ENGINE, "convert", "pdf", "png", path, tmp_path / "out")
    assert picture(path, tmp_path / "out", width=300).size == (300, 300)


def test_limits_of_pages_and_of_pixels_together(many: Path, tmp_path: Path) -> None:
    with pytest.raises(LimitExceeded, match="12 pages; at most 11"):
        run(ENGINE, "convert", "pdf", "png", many, tmp_path / "out", limits=Limits(pages=11))
    with pytest.raises(LimitExceeded, match="720,000 pixels together"):
        run(
            ENGINE,
            "convert",
            "pdf",
            "png",
            many,
            tmp_path / "out",
            dpi=72,
            limits=Limits(total_pixels=719_999),
        )
    run(ENGINE, "convert", "pdf", "png", many, tmp_path / "out", dpi=72, limits=Limits(total_pixels=720_000))


def test_a_picture_wider_than_webp_is_refused(tmp_path: Path) -> None:
    path = write(document([QUADRANTS], box="0 0 14400 10"), tmp_path)
    with pytest.raises(LimitExceeded, match="WEBP holds at most"):
        run(ENGINE, "convert", "pdf", "webp", path, tmp_path / "out")


# ------------------------------------------------------------------------------------------ corpus


@pytest.mark.skipif(CORPUS is None, reason="CONVERTD_CORPUS names no folder")
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*.pdf")) if CORPUS else [], ids=lambda path: path.name)
@pytest.mark.parametrize("target", ["jpg", "txt"])
def test_every_real_document(path: Path, target: str, tmp_path: Path) -> None:
    if path.name == "encryption_openpassword.pdf":
        with pytest.raises(FileInvalid, match="password"):
            run(ENGINE, "convert", "pdf", target, path, tmp_path)
    else:
        made = run(ENGINE, "convert", "pdf", target, path, tmp_path)
        assert all(file.stat().st_size > 0 for file, _ in made)


@pytest.mark.skipif(CORPUS is None or not shutil.which("pdftotext"), reason="corpus and pdftotext")
def test_another_reader_finds_the_same_words(tmp_path: Path) -> None:
    assert CORPUS is not None
    source = CORPUS / "document" / "text_only_pdfa1b.pdf"
    [(path, _)] = run(ENGINE, "convert", "pdf", "txt", source, tmp_path)
    other = subprocess.run(["pdftotext", "-layout", source, "-"], capture_output=True, text=True, check=True)
    assert sorted(path.read_text("utf-8").split()) == sorted(other.stdout.split())
