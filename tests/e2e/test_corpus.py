"""Real files that nobody here wrote: each that has a route converts, each that is hostile ends typed."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from convertd.engines.registry import Registry, discover
from convertd.errors import BY_CODE, ConvertdError
from convertd.model.formats import FORMATS, HEAD_BYTES, Family, identify
from convertd.model.operations import CONVERT
from tests.support import samples
from tests.support.api import ENDED, Api, Reply
from tests.support.server import ServerProcess

CORPUS = Path(os.environ["CONVERTD_CORPUS"]) if os.environ.get("CONVERTD_CORPUS") else None

pytestmark = pytest.mark.skipif(CORPUS is None, reason="CONVERTD_CORPUS names no folder")

TARGETS = {
    Family.PICTURE: ("png", "jpg"),
    Family.VIDEO: ("mp4", "gif", "mp3"),
    Family.SOUND: ("mp3", "flac"),
    Family.DOCUMENT: ("png",),
    Family.PRESENTATION: ("png",),
    Family.SPREADSHEET: ("pdf",),
}
"""What is tried for each family; what has no route to one takes the next."""

SOUND_ONLY = ("audio/two_audio_tracks.mp4", "video/mp4-with-audio.mp4")
"""Containers of the video family without a video."""

REGISTRY = Registry(discover(()))


def files(*folders: str) -> list[Path]:
    if CORPUS is None:
        return []
    return [path for folder in folders for path in sorted((CORPUS / folder).iterdir()) if path.is_file()]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def can_convert(source: str, target: str) -> bool:
    """Whether this machine has what the route needs."""
    try:
        REGISTRY.plan(CONVERT, source, target)
    except ConvertdError:
        return False
    return True


def routed() -> Iterable[tuple[Path, str]]:
    """Each good file with up to two targets."""
    for path in files("image", "audio", "video", "document"):
        try:
            source = identify(path.name, path.read_bytes()[:HEAD_BYTES])
        except ConvertdError:
            continue
        possible = [target for target in FORMATS if can_convert(source.name, target)]
        wanted = TARGETS.get(source.family, ()) if name_of(path) not in SOUND_ONLY else ("mp4", "mp3")
        for target in [word for word in wanted if word in possible][:2]:
            yield path, target


ROUTED = list(routed())

CUT_OFF = (
    "image/ultrahdr.jpg",  # ends with the head of its only scan
    "audio/testMP3truncated.mp3",
    "audio/testMP4_coverArt.m4a",  # every packet is too short
    "document/corruptionOneByteMissing.pdf",
    "document/encryption_openpassword.pdf",
    "document/protected_page_1.docx",
    "document/testEXCEL_protected_passtika.xlsx",
)
"""Files that other readers cannot decode without a password or at all: they may fail as invalid."""


def read_by_another(path: Path, target: str) -> None:
    """A reader that is not the writer opens the file as what it should be."""
    family = FORMATS[target].family
    if family is Family.PICTURE and which("identify"):
        out = subprocess.run(["identify", str(path)], capture_output=True, timeout=60, check=False)
        assert out.returncode == 0, out.stderr
        assert out.stdout
    elif family in (Family.VIDEO, Family.SOUND) and which("ffprobe"):
        command = ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
        out = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert out.returncode == 0, out.stderr
        assert float(out.stdout) > 0
    elif target == "pdf" and which("pdfinfo"):
        out = subprocess.run(["pdfinfo", str(path)], capture_output=True, timeout=60, check=False)
        assert out.returncode == 0, out.stderr
    else:
        pytest.skip("no independent reader is here")


async def converted(api: Api, path: Path, target: str) -> Reply:
    return await api.submit(path.read_bytes(), wait=30, to=target, filename=path.name)


@pytest.mark.parametrize(("path", "target"), ROUTED, ids=[f"{name_of(p)}-{t}" for p, t in ROUTED])
async def test_it_converts(api: Api, tmp_path: Path, path: Path, target: str) -> None:
    reply = await converted(api, path, target)
    job = await api.ended(reply.json["id"], seconds=120) if reply.status == 202 else reply.job(200)
    if job["status"] == "failed" and name_of(path) in CUT_OFF:
        assert job["error"]["code"] == "file_invalid"
        return
    assert job["status"] == "succeeded", job["error"]
    for output in job["outputs"][:3]:
        result = tmp_path / output["name"]
        result.write_bytes(await api.download(output))
        read_by_another(result, target)


HOSTILE = files("hostile")
FILE_FAULTS = ("file_invalid", "unsupported_format", "limit_exceeded", "timeout", "engine_missing")


@pytest.mark.parametrize("path", HOSTILE, ids=[path.name for path in HOSTILE])
async def test_a_hostile_file_ends_typed_and_hurts_nobody(
    api: Api, server: ServerProcess, path: Path
) -> None:
    target = "mp3" if path.suffix in (".mp3", ".wav") else "webm" if path.suffix == ".mp4" else "png"
    target = "jpg" if path.suffix == ".png" else target
    hostile, friendly = await asyncio.gather(
        converted(api, path, target),
        api.submit(samples.picture(), wait=30, to="webp", filename="a.png"),
    )
    assert friendly.job(200)["status"] == "succeeded"
    if hostile.status >= 400:
        assert hostile.any_problem()["code"] in FILE_FAULTS
        return
    job = await api.ended(hostile.json["id"], seconds=120)
    print(path.name, job["status"], job["error"])
    _check_end(job)
    assert (await api.get("/readyz")).status == 200
    assert server.process.poll() is None


def _check_end(job: dict[str, Any]) -> None:
    assert job["status"] in ENDED
    if job["status"] == "failed":
        assert job["error"]["code"] in BY_CODE
        assert job["error"]["code"] in FILE_FAULTS, job["error"]
    else:
        assert all(output["bytes"] > 0 for output in job["outputs"])
