"""Office documents through the real server: to PDF, and on to a picture of every page."""

from __future__ import annotations

import asyncio
import io

import pypdfium2
import pytest
from PIL import Image

from convertd.engines.soffice import ENGINE
from tests.support import office
from tests.support.api import Api
from tests.support.compound import compound

pytestmark = pytest.mark.skipif(not ENGINE.probe().ok, reason="LibreOffice is not here")


async def test_two_documents_become_pdfs_in_one_answer_each(api: Api) -> None:
    texts = ("Words of the first", "Words of the second")
    replies = await asyncio.gather(
        *(
            api.submit(office.docx(text), path="/convert", to="pdf", filename=f"{number}.docx")
            for number, text in enumerate(texts)
        )
    )
    for text, reply in zip(texts, replies, strict=True):
        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/pdf")
        with pypdfium2.PdfDocument(io.BytesIO(reply.body)) as document:
            assert document[0].get_textpage().get_text_bounded() == text


async def test_slides_become_pictures(api: Api) -> None:
    deck = office.pptx("One", "Two", "Three")
    reply = await api.submit(deck, wait=60, to="png", filename="deck.pptx", pages="2-", width=320)
    job = reply.job(200)
    assert job["status"] == "succeeded", job["error"]
    assert [output["name"] for output in job["outputs"]] == ["deck-p2.png", "deck-p3.png"]
    pictures = [Image.open(io.BytesIO(await api.download(output))) for output in job["outputs"]]
    assert [picture.size for picture in pictures] == [(320, 180), (320, 180)]
    assert len({picture.tobytes() for picture in pictures}) == 2


async def test_a_protected_document_says_so(api: Api) -> None:
    protected = compound("EncryptionInfo", "EncryptedPackage")
    reply = await api.submit(protected, wait=30, to="pdf", filename="secret.xlsx")
    error = reply.job(200)["error"]
    assert error["code"] == "file_invalid"
    assert "password" in error["message"]
    nameless = await api.submit(protected, wait=30, to="pdf", filename="secret")
    assert "password" in nameless.any_problem()["detail"]
