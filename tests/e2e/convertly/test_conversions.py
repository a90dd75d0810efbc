"""Conversions and compressions at once."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import Any

import pytest
from PIL import Image

from tests.e2e.conftest import Start
from tests.e2e.convertly.client import CONVERTED, Convertly, check, connected, error
from tests.support import samples

PNG = ("a.png", samples.picture())
JPG = ("b.jpg", samples.picture("JPEG", 1600, 1200))
TALL = ("tall.jpg", samples.picture("JPEG", 1200, 2400))
WAV = ("d.wav", samples.wav(1))
MP4 = ("c.mp4", samples.mp4(1))


def size_of(body: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(body)) as image:
        image.load()
        return image.size


async def test_without_storage_the_bytes_come_along(convertly: Convertly) -> None:
    answer = await convertly.convert(PNG, format="webp")
    assert answer["storage"] == {"saved": False, "notice": None}
    (file,) = answer["files"]
    assert file["downloadUrl"].startswith("data:image/webp;base64,")
    assert file["appliedQuality"] == 82
    assert (await convertly.download(file))[8:12] == b"WEBP"


async def test_with_storage_there_is_a_link(convertly: Convertly) -> None:
    answer = await convertly.convert(PNG, format="webp", saveToStorage="true")
    assert answer["storage"] == {"saved": True, "notice": None}
    assert answer["files"][0]["downloadUrl"].startswith("http://")
    assert await convertly.download(answer["files"][0])


async def test_what_is_too_large_for_the_answer_is_a_link(convertly: Convertly) -> None:
    large = ("large.png", samples.picture(width=2000, height=1600))
    answer = await convertly.convert(large, format="bmp")
    assert answer["storage"]["saved"] is False
    assert "too large" in answer["storage"]["notice"]
    assert answer["files"][0]["downloadUrl"].startswith("http://")
    assert size_of(await convertly.download(answer["files"][0])) == (2000, 1600)


@pytest.mark.parametrize(
    ("resize", "size"),
    [
        ({"resize": "original", "resizeWidth": "10"}, (1200, 2400)),
        ({"resize": "website"}, (960, 1920)),
        ({"resize": "email"}, (400, 800)),
        ({"resize": "ecommerce"}, (800, 1600)),
        ({"resize": "instagram"}, (1080, 1080)),
        ({"resize": "linkedin"}, (1200, 627)),
        ({"resize": "square"}, (1000, 1000)),
        ({"resize": "width", "resizeWidth": "300"}, (300, 600)),
        ({"resize": "height", "resizeHeight": "300"}, (150, 300)),
        ({"resize": "width", "resizeWidth": "9000"}, (1200, 2400)),
        ({"resizeWidth": "300", "resizeHeight": "300"}, (150, 300)),
    ],
)
async def test_sizes(convertly: Convertly, resize: dict[str, str], size: tuple[int, int]) -> None:
    answer = await convertly.convert(TALL, format="webp", **resize)
    assert size_of(await convertly.download(answer["files"][0])) == size


async def test_a_small_picture_is_cut_to_the_shape_but_not_enlarged(convertly: Convertly) -> None:
    answer = await convertly.convert(PNG, format="png", resize="instagram")
    assert size_of(await convertly.download(answer["files"][0])) == (240, 240)


async def test_orientation_is_applied_unless_it_is_not_wanted(convertly: Convertly) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(out, "JPEG", exif=exif)
    for wanted, size in (("true", (40, 60)), ("false", (60, 40))):
        answer = await convertly.convert(("o.jpg", out.getvalue()), format="png", autoOrient=wanted)
        assert size_of(await convertly.download(answer["files"][0])) == size


async def test_settings_that_mean_nothing_for_a_format_are_passed_over(convertly: Convertly) -> None:
    answer = await convertly.convert(
        PNG, WAV, MP4, formats=["png", "flac", "mp4"], compressions=[82, 82, 60], resizes=["email"] * 3
    )
    told = [(file["filename"], file["appliedQuality"]) for file in answer["files"]]
    assert told == [("a.png", None), ("d.flac", None), ("c.mp4", 60)]


async def test_several_files_into_one_archive(convertly: Convertly) -> None:
    answer = await convertly.convert(PNG, JPG, format="zip")
    (file,) = answer["files"]
    assert (file["mimeType"], file["originalSize"]) == ("application/zip", len(PNG[1]) + len(JPG[1]))
    with zipfile.ZipFile(io.BytesIO(await convertly.download(file))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == dict((PNG, JPG))


async def test_each_file_into_an_archive_that_holds_one(convertly: Convertly) -> None:
    answer = await convertly.convert(PNG, JPG, format="gz")
    assert [file["filename"] for file in answer["files"]] == ["a.png.gz", "b.jpg.gz"]


async def test_a_zip_stays_whole_where_an_archive_is_wanted(convertly: Convertly) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", PNG[1])
    answer = await convertly.convert(("z.zip", packed.getvalue()), format="tar")
    with tarfile.open(fileobj=io.BytesIO(await convertly.download(answer["files"][0]))) as opened:
        assert opened.getnames() == ["a.png"]


async def test_some_of_the_files_fail(convertly: Convertly) -> None:
    answer = await convertly.convert(PNG, ("cut.png", PNG[1][:5000]), format="webp")
    assert [file["filename"] for file in answer["files"]] == ["a.webp"]
    assert [failure["filename"] for failure in answer["failures"]] == ["cut.png"]


async def test_a_damaged_file_and_a_bomb(start: Start) -> None:
    async with connected(start(LIMITS_PIXELS="10000").url) as convertly:
        assert error(
            await convertly.post("/api/convert", ("cut.png", b"\x89PNG\r\n\x1a\n"), format="webp"), 400
        )
        assert "pixels" in error(await convertly.post("/api/convert", PNG, format="webp"), 413)


async def test_the_same_key_gives_the_same_answer(convertly: Convertly) -> None:
    headers = {"Idempotency-Key": "at once"}
    answers = [await convertly.convert(PNG, format="avif", headers=headers) for _ in range(2)]
    assert answers[0]["files"][0]["storedFileId"] == answers[1]["files"][0]["storedFileId"]
    assert error(await convertly.post("/api/compress", PNG, headers=headers), 409)


async def test_a_document_is_not_made_smaller(convertly: Convertly) -> None:
    """Neither is it answered with pictures of its pages."""
    reply = await convertly.post("/api/compress", ("e.pdf", samples.pdf(2)))
    assert "no compress for pdf; it can: archive, convert" in error(reply, 415)


@pytest.mark.parametrize(
    ("fields", "quality"),
    [
        ({}, 82),
        ({"mode": "quality", "quality": "40"}, 40),
        ({"mode": "quality", "quality": "40", "targetBytes": "9000"}, 40),
        ({"format": "webp"}, 82),
    ],
)
async def test_compressing_by_quality(convertly: Convertly, fields: dict[str, str], quality: int) -> None:
    answer = await convertly.convert(JPG, path="/api/compress", **fields)
    (file,) = answer["files"]
    assert file["appliedQuality"] == quality
    assert file["finalSize"] < len(JPG[1])
    assert size_of(await convertly.download(file)) == (1600, 1200)


@pytest.mark.parametrize("fields", [{"mode": "target-size"}, {}])
async def test_compressing_down_to_a_size(convertly: Convertly, fields: dict[str, str]) -> None:
    answer = await convertly.convert(JPG, path="/api/compress", targetBytes="20000", **fields)
    assert answer["files"][0]["finalSize"] <= 20_000


@pytest.mark.parametrize("fmt", ["png", "webp"])
async def test_compressing_without_loss(convertly: Convertly, fmt: str) -> None:
    answer = await convertly.convert(PNG, path="/api/compress", lossless="true", format=fmt)
    with (
        Image.open(io.BytesIO(await convertly.download(answer["files"][0]))) as result,
        Image.open(io.BytesIO(PNG[1])) as source,
    ):
        assert result.convert("RGB").tobytes() == source.convert("RGB").tobytes()


async def test_metadata_goes_unless_it_is_to_stay(convertly: Convertly) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    out = io.BytesIO()
    with Image.open(io.BytesIO(JPG[1])) as image:
        image.save(out, "JPEG", exif=exif, quality=95)
    for strip, maker in (("true", None), ("false", "Acme")):
        answer = await convertly.convert(
            ("m.jpg", out.getvalue()), path="/api/compress", stripMetadata=strip, quality="50"
        )
        with Image.open(io.BytesIO(await convertly.download(answer["files"][0]))) as image:
            assert image.getexif().get(0x010F) == maker


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"mode": "small"}, "mode"),
        ({"mode": "target-size"}, "targetBytes"),
        ({"targetBytes": "12"}, "targetBytes"),
        ({"quality": "0"}, "quality"),
        ({"lossless": "true"}, "lossless"),
        ({"stripMetadata": "x"}, "stripMetadata"),
    ],
)
async def test_wrong_wishes_of_compression(convertly: Convertly, fields: dict[str, Any], names: str) -> None:
    reply = await convertly.post("/api/compress", JPG, **fields)
    assert error(reply, 400)
    assert names in reply.text


async def test_compressing_as_a_job(convertly: Convertly) -> None:
    created = await convertly.create(JPG, jobType="compress", compression="40")
    job = await convertly.wait(created["jobId"])
    assert (job["jobType"], job["results"][0]["appliedQuality"]) == ("compress", 40)
    assert job["results"][0]["finalSize"] < len(JPG[1])


async def test_a_request_for_another_service(convertly: Convertly) -> None:
    reply = await convertly.post("/api/convert", PNG, part="file", source="png", target="webp")
    assert reply.status_code == 400
    told = reply.json()["error"]
    assert told["code"] == "bad_request"
    assert "/v1/convert" in told["message"]


async def test_the_answer_has_its_shape_for_an_archive_too(convertly: Convertly) -> None:
    reply = await convertly.post("/api/convert", PNG, format="webp", createArchive="true")
    files = check(reply.json(), CONVERTED)["files"]
    assert [file["mimeType"] for file in files] == ["image/webp", "application/zip"]
    assert zipfile.is_zipfile(io.BytesIO(await convertly.download(files[1])))
