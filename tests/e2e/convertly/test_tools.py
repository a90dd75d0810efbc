"""The media tools, at once and as jobs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from tests.e2e.convertly.client import CREATED, MEDIA, Convertly, check, error
from tests.support import clips, samples
from tests.support.readers import probe

JPG = ("b.jpg", samples.picture("JPEG", 1600, 1200))
PNG = ("mark.png", samples.picture())
PDF = ("e.pdf", samples.pdf(3))
WAV = ("d.wav", samples.wav(2))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Four seconds of 640 × 480 with sound."""
    path = tmp_path_factory.mktemp("film") / "f.mp4"
    clips.video(path, size=(640, 480), frames=40, rate=10, options={"preset": "ultrafast"})
    return path.name, path.read_bytes()


async def worked(convertly: Convertly, tmp_path: Path, name: str, *files: Any, **fields: Any) -> Path:
    """The one file that the tool makes."""
    (file,) = (await convertly.tool(name, *files, **fields))["files"]
    path = tmp_path / file["filename"]
    path.write_bytes(await convertly.download(file))
    return path


def picture(path: Path) -> tuple[str | None, tuple[int, int]]:
    with Image.open(path) as image:
        image.load()
        return image.format, image.size


@pytest.mark.parametrize(
    ("fields", "made"),
    [
        ({}, ("JPEG", (480, 480))),
        ({"format": "png", "width": "100", "height": "50"}, ("PNG", (100, 50))),
        ({"format": "webp", "width": "100", "height": "100", "fit": "inside"}, ("WEBP", (100, 75))),
        ({"width": "100", "height": "100", "fit": "contain"}, ("JPEG", (100, 100))),
        ({"format": "avif", "width": "100"}, ("AVIF", (100, 75))),
        ({"width": "100"}, ("JPEG", (100, 75))),
        ({"width": "100", "fit": "cover"}, ("JPEG", (94, 480))),
        ({"timestamp": "3", "quality": "20", "height": "60"}, ("JPEG", (80, 60))),
    ],
)
async def test_thumbnails_of_a_film(
    convertly: Convertly, tmp_path: Path, film: Any, fields: dict[str, str], made: Any
) -> None:
    assert picture(await worked(convertly, tmp_path, "thumbnail", film, **fields)) == made


@pytest.mark.parametrize(
    ("name", "fields", "made"),
    [
        ("thumbnail", {}, ("JPEG", (512, 512))),
        ("thumbnail", {"format": "avif"}, ("AVIF", (512, 512))),
        ("transform", {}, ("WEBP", (1600, 1200))),
        ("transform", {"preset": "avatar"}, ("WEBP", (256, 256))),
        ("transform", {"preset": "ecommerce"}, ("WEBP", (1200, 1200))),
        ("transform", {"preset": "blog-hero", "format": "jpg"}, ("JPEG", (1600, 900))),
        ("transform", {"preset": "social-preview"}, ("WEBP", (1200, 630))),
        ("transform", {"width": "400", "height": "400", "fit": "fill"}, ("WEBP", (400, 400))),
        ("transform", {"width": "400", "height": "400", "fit": "outside"}, ("WEBP", (533, 400))),
        ("transform", {"width": "400", "height": "400"}, ("WEBP", (400, 400))),
        ("transform", {"width": "400", "rotate": "90", "flip": "true", "flop": "true"}, ("WEBP", (400, 533))),
        ("transform", {"cropLeft": "10", "cropTop": "20", "cropWidth": "30", "cropHeight": "40"},
         ("WEBP", (30, 40))),
        ("adjust", {"brightness": "1.2", "grayscale": "true"}, ("JPEG", (1600, 1200))),
        ("strip-metadata", {}, ("JPEG", (1600, 1200))),
    ],
)  # fmt: skip
async def test_pictures(
    convertly: Convertly, tmp_path: Path, name: str, fields: dict[str, str], made: Any
) -> None:
    assert picture(await worked(convertly, tmp_path, name, JPG, **fields)) == made


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"width": "300", "height": "200", "fit": "fill"}, (300, 200)),
        ({"width": "300", "height": "200", "fit": "contain"}, (300, 200)),
        ({"width": "300", "height": "200"}, (300, 200)),
        ({"preset": "avatar"}, (256, 256)),
        ({"preset": "social-preview", "fit": "fill"}, (1200, 630)),
        ({"preset": "avatar", "fit": "inside"}, (128, 128)),
        ({"width": "300", "height": "200", "fit": "inside"}, (128, 128)),
        ({"width": "300", "height": "200", "fit": "outside"}, (128, 128)),
        ({"width": "300"}, (128, 128)),
    ],
)
async def test_an_exact_size_is_that_of_a_small_picture_too(
    convertly: Convertly, tmp_path: Path, fields: dict[str, str], size: tuple[int, int]
) -> None:
    small = ("small.png", samples.picture("PNG", 128, 128))
    assert picture(await worked(convertly, tmp_path, "transform", small, **fields)) == ("WEBP", size)


async def test_a_padded_picture_reaches_the_edges(convertly: Convertly, tmp_path: Path) -> None:
    small = ("small.png", samples.picture("PNG", 128, 128))
    path = await worked(convertly, tmp_path, "transform", small, preset="ecommerce", format="png")
    with Image.open(path) as image:
        assert image.size == (1200, 1200)
        assert image.convert("RGB").getpixel((2, 2)) != (255, 255, 255)


async def test_a_poster_frame(convertly: Convertly, tmp_path: Path, film: Any) -> None:
    assert picture(await worked(convertly, tmp_path, "poster-frame", film)) == ("JPEG", (640, 480))
    small = await worked(convertly, tmp_path, "poster-frame", film, width="320", format="png")
    assert picture(small) == ("PNG", (320, 240))


async def test_a_storyboard(convertly: Convertly, tmp_path: Path, film: Any) -> None:
    assert picture(await worked(convertly, tmp_path, "storyboard", film)) == ("JPEG", (960, 540))
    wanted = {"frames": "4", "columns": "2", "width": "100", "format": "webp"}
    assert picture(await worked(convertly, tmp_path, "storyboard", film, **wanted)) == ("WEBP", (200, 150))


async def test_a_gif(convertly: Convertly, tmp_path: Path, film: Any) -> None:
    path = await worked(convertly, tmp_path, "gif", film, start="1", duration="2", width="160", fps="5")
    with Image.open(path) as image:
        assert (image.format, image.size, image.n_frames) == ("GIF", (160, 120), 10)


@pytest.mark.parametrize(
    ("fields", "codec", "suffix"),
    [
        ({}, "mp3", ".mp3"),
        ({"format": "wav"}, "pcm_s16le", ".wav"),
        ({"format": "flac", "bitrateKbps": "192"}, "flac", ".flac"),
        ({"format": "m4a", "bitrateKbps": "96"}, "aac", ".m4a"),
        ({"format": "mp3", "bitrateKbps": "512"}, "mp3", ".mp3"),
        ({"format": "ogg"}, "vorbis", ".ogg"),
    ],
)
async def test_the_sound_of_a_film(
    convertly: Convertly, tmp_path: Path, film: Any, fields: dict[str, str], codec: str, suffix: str
) -> None:
    path = await worked(convertly, tmp_path, "extract-audio", film, **fields)
    (stream,) = probe(path)["streams"]
    assert (stream["codec_name"], path.suffix) == (codec, suffix)


async def test_the_bit_rate_of_a_sound(convertly: Convertly, tmp_path: Path) -> None:
    path = await worked(convertly, tmp_path, "extract-audio", WAV, bitrateKbps="64")
    assert abs(int(probe(path)["streams"][0]["bit_rate"]) - 64_000) < 2000


@pytest.mark.parametrize("fmt", ["mp4", "mp3"])
async def test_a_part_of_a_film(convertly: Convertly, tmp_path: Path, film: Any, fmt: str) -> None:
    path = await worked(convertly, tmp_path, "trim", film, format=fmt, start="1", duration="2")
    assert abs(float(probe(path)["format"]["duration"]) - 2) < 0.2


async def test_a_part_keeps_the_format(convertly: Convertly, tmp_path: Path) -> None:
    path = await worked(convertly, tmp_path, "trim", WAV, duration="0.5")
    assert path.name == "d.wav"
    assert abs(float(probe(path)["format"]["duration"]) - 0.5) < 0.01


async def test_a_film_of_another_format_and_size(convertly: Convertly, tmp_path: Path, film: Any) -> None:
    wanted = {"format": "mov", "compressionLevel": "40", "resize": "width", "resizeWidth": "160"}
    path = await worked(convertly, tmp_path, "convert", film, **wanted)
    video = next(stream for stream in probe(path)["streams"] if stream["codec_type"] == "video")
    assert (path.suffix, video["width"], video["height"]) == (".mov", 160, 120)


async def test_sounds_one_after_the_other(convertly: Convertly, tmp_path: Path) -> None:
    path = await worked(convertly, tmp_path, "concat-audio", WAV, WAV, part="files", format="flac")
    assert abs(float(probe(path)["format"]["duration"]) - 4) < 0.1
    reply = await convertly.post("/api/media/concat-audio", WAV)
    assert "2 to" in error(reply, 400)


@pytest.mark.parametrize(("size", "points"), [("a4", (595, 842)), ("letter", (612, 792))])
async def test_pictures_into_a_document(
    convertly: Convertly, tmp_path: Path, size: str, points: tuple[int, int]
) -> None:
    import pypdfium2

    path = await worked(convertly, tmp_path, "image-to-pdf", JPG, PNG, part="files", pageSize=size)
    with pypdfium2.PdfDocument(path) as document:
        assert len(document) == 2
        width, height = document[0].get_size()
        assert abs(width - points[1]) < 2
        assert abs(height - points[0]) < 2


async def test_a_page_of_a_document(convertly: Convertly, tmp_path: Path) -> None:
    fmt, (width, height) = picture(await worked(convertly, tmp_path, "pdf-preview", PDF, page="2"))
    assert (fmt, width) == ("JPEG", 1600)
    assert height > width
    assert (
        picture(await worked(convertly, tmp_path, "pdf-preview", PDF, width="200", format="png"))[1][0] == 200
    )


async def test_marks(convertly: Convertly, tmp_path: Path) -> None:
    texted = await worked(convertly, tmp_path, "watermark", JPG, text="© Acme", position="top-left")
    with Image.open(texted) as image:
        marked_by_text = image.convert("RGB")
    mark = [("watermarkFile", PNG)]
    pictured = await worked(
        convertly, tmp_path, "watermark", JPG, more=mark, opacity="1", margin="0", watermarkWidth="200"
    )
    with Image.open(pictured) as image, Image.open(io.BytesIO(JPG[1])) as source:
        box = ImageChops.difference(image.convert("RGB"), source.convert("RGB")).point(
            lambda value: 255 if value > 60 else 0
        )
        left, top, right, bottom = box.getbbox() or (0, 0, 0, 0)
        assert left >= 1390
        assert top >= 1040
        assert (right, bottom) >= (1590, 1190)
        corner = ImageChops.difference(marked_by_text, source.convert("RGB")).crop((0, 0, 400, 200))
        assert max(extreme[1] for extreme in corner.getextrema()) > 60  # type: ignore[index]
    answer = await convertly.tool("watermark", JPG, more=mark)
    assert answer["files"][0]["originalSize"] == len(JPG[1])
    assert "watermarkFile" in error(await convertly.post("/api/media/watermark", JPG), 400)
    both = await convertly.post("/api/media/watermark", JPG, more=mark, text="x")
    assert "watermarkFile" in error(both, 400)


async def test_what_a_file_is(convertly: Convertly, film: Any) -> None:
    answer = await convertly.tool("inspect", film)
    media = check(answer["media"], MEDIA)
    told = (media["kind"], media["format"], media["width"], media["height"], media["mimeType"])
    assert told == ("video", "mp4", 640, 480, "video/mp4")
    assert (media["sizeBytes"], round(media["duration"])) == (len(film[1]), 4)
    assert media["bitrateKbps"] == pytest.approx(len(film[1]) * 8 / 1000 / media["duration"], rel=0.1)
    assert [stream["type"] for stream in media["streams"]] == ["video", "audio"]
    inside = json.loads(await convertly.download(answer["files"][0]))
    assert (inside["width"], inside["height"]) == (640, 480)
    for file, kind in ((JPG, "image"), (WAV, "audio"), (PDF, "document")):
        assert (await convertly.tool("inspect", file))["media"]["kind"] == kind


@pytest.mark.parametrize("flag", ["async", "background"])
async def test_a_tool_as_a_job(convertly: Convertly, film: Any, flag: str) -> None:
    reply = await convertly.post(
        "/api/media/extract-audio", film, part="file", format="mp3", **{flag: "true"}
    )
    created = check(reply.json(), CREATED)
    assert (created["tool"], created["status"]) == ("extract-audio", "pending")
    job = await convertly.wait(created["jobId"])
    assert (job["jobType"], job["tool"], job["status"]) == ("media_tool", "extract-audio", "completed")
    assert job["results"][0]["filename"] == "f.mp3"


@pytest.mark.parametrize(
    ("name", "fields", "names"),
    [
        ("thumbnail", {"width": "0"}, "width"),
        ("thumbnail", {"fit": "stretch"}, "fit"),
        ("thumbnail", {"quality": "101"}, "quality"),
        ("transform", {"preset": "poster"}, "preset"),
        ("transform", {"flip": "perhaps"}, "flip"),
        ("transform", {"cropWidth": "x"}, "cropWidth"),
        ("watermark", {"text": "x", "position": "middle"}, "position"),
        ("watermark", {"text": "x", "opacity": "7"}, "opacity"),
        ("image-to-pdf", {"pageSize": "a5"}, "pageSize"),
        ("adjust", {"brightness": "-1"}, "brightness"),
        ("adjust", {"format": "nonsense"}, "format"),
        ("gif", {"fps": "0"}, "fps"),
        ("extract-audio", {"bitrateKbps": "8"}, "bitrateKbps"),
        ("trim", {"duration": "-1"}, "duration"),
        ("thumbnail", {"async": "perhaps"}, "async"),
    ],
)
async def test_wrong_wishes(convertly: Convertly, name: str, fields: dict[str, str], names: str) -> None:
    reply = await convertly.post(f"/api/media/{name}", JPG, part="file", **fields)
    assert error(reply, 400)
    assert names in reply.text


async def test_a_wrong_wish_makes_no_job(convertly: Convertly) -> None:
    for path, field in (("/api/media/thumbnail", "async"), ("/api/convert", "saveToStorage")):
        before = (await convertly.http.get("/api/jobs")).json()["pagination"]["total"]
        assert error(await convertly.post(path, JPG, format="webp", **{field: "perhaps"}), 400)
        assert (await convertly.http.get("/api/jobs")).json()["pagination"]["total"] == before


async def test_a_mark_without_a_picture(convertly: Convertly) -> None:
    reply = await convertly.post("/api/media/watermark", more=[("watermarkFile", PNG)])
    assert "no file" in error(reply, 400)


@pytest.mark.parametrize("name", ["remove-background", "vectorize", "signed-transform", "make-coffee"])
async def test_tools_that_there_are_not(convertly: Convertly, name: str) -> None:
    assert "thumbnail" in error(await convertly.post(f"/api/media/{name}", JPG, part="file"), 404)


async def test_a_tool_that_does_not_fit_the_file(convertly: Convertly) -> None:
    assert error(await convertly.post("/api/media/storyboard", JPG, part="file"), 415)


@pytest.mark.parametrize("name", ["jobs", "optimize", "presets", "limits"])
async def test_names_of_another_api_are_no_tools(convertly: Convertly, name: str) -> None:
    reply = await convertly.post(f"/api/media/{name}", JPG, part="file")
    assert "jobType" not in reply.text
    assert reply.status_code >= 400
