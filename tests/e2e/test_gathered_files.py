"""Operations that take several files together: bound, laid over one another, packed, played in a row."""

from __future__ import annotations

import io
import zipfile

import pypdfium2
import pytest
from aiohttp import FormData
from PIL import Image

from tests.support import samples
from tests.support.api import Api

PICTURES = [("one.png", samples.picture(seed=1)), ("two.jpg", samples.picture("JPEG", seed=2))]


def form(files: list[tuple[str, bytes]], **fields: str) -> FormData:
    made = FormData()
    for name, body in files:
        made.add_field("file", body, filename=name)
    for name, value in fields.items():
        made.add_field(name, value)
    return made


async def test_pictures_become_one_pdf_in_order(api: Api) -> None:
    reply = await api.request("POST", "/convert", data=form(PICTURES, operation="merge", page_size="a4"))
    assert reply.status == 200, reply.body
    document = pypdfium2.PdfDocument(reply.body)
    assert [tuple(round(side) for side in page.get_size()) for page in document] == [(842, 595)] * 2


async def test_the_second_picture_lies_on_the_first(api: Api) -> None:
    fields = {"operation": "watermark", "to": "png", "position": "center", "opacity": "1"}
    red = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(red, "PNG")
    files = [PICTURES[0], ("mark.png", red.getvalue())]
    reply = await api.request("POST", "/convert", data=form(files, **fields, watermark_width="40"))
    assert reply.status == 200, reply.body
    with Image.open(io.BytesIO(reply.body)) as image:
        assert image.convert("RGB").getpixel((image.width // 2, image.height // 2)) == (255, 0, 0)


async def test_it_is_one_task_of_all_inputs(api: Api) -> None:
    reply = await api.submit(form(PICTURES, operation="archive", to="zip"), wait=20)
    job = reply.job(200)
    [task] = job["tasks"]
    assert (task["inputs"], task["status"]) == ([0, 1], "succeeded")
    with zipfile.ZipFile(io.BytesIO(await api.download(job["outputs"][0]))) as packed:
        assert packed.namelist() == ["one.png", "two.jpg"]
        assert packed.read("one.png") == PICTURES[0][1]


@pytest.mark.parametrize(
    ("files", "fields", "says"),
    [
        ([PICTURES[0]] * 3, {"operation": "watermark", "text": "x"}, "takes 1 to 2 files"),
        ([("a.wav", samples.wav())], {"operation": "concat", "to": "mp3"}, "takes 2 to 100 files"),
        (PICTURES, {"to": "webp"}, "/convert takes one file"),
    ],
)
async def test_too_many_or_too_few(
    api: Api, files: list[tuple[str, bytes]], fields: dict[str, str], says: str
) -> None:
    reply = await api.request("POST", "/convert", data=form(files, **fields))
    assert says in reply.problem(400, "invalid_request")["detail"]


async def test_a_file_that_does_not_belong_to_the_others(api: Api) -> None:
    files = [PICTURES[0], ("a.wav", samples.wav())]
    reply = await api.request("POST", "/jobs", data=form(files, operation="merge"))
    assert "wav" in reply.problem(415, "unsupported_format")["detail"]
