"""The example programs of the hosted APIs run as they stand."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.origin import Origin
from tests.support.server import REPOSITORY, ServerProcess, clean_environment

EXAMPLES = REPOSITORY / "examples"


def run(name: str, *arguments: object, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments), "--url", url],
        env=clean_environment({}), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "wide.png"
    path.write_bytes(samples.picture(width=1600))
    return path


class TestConvertly:
    def test_a_batch(self, server: ServerProcess, picture: Path, tmp_path: Path) -> None:
        (tmp_path / "b.jpg").write_bytes(samples.picture("JPEG"))
        arrays = ("--formats", "webp", "avif", "--compressions", 80, 60, "--resizes", "email", "original")
        files = (picture, tmp_path / "b.jpg")
        ended = run("convertly.py", *files, *arrays, "--output", tmp_path / "out", url=server.url)
        assert ended.returncode == 0, ended.stderr
        with Image.open(tmp_path / "out" / "wide.webp") as image:
            assert image.width == 800
        with Image.open(tmp_path / "out" / "b.avif") as image:
            assert image.format == "AVIF"

    def test_what_is_refused_and_what_fails(
        self, server: ServerProcess, picture: Path, tmp_path: Path
    ) -> None:
        refused = run("convertly.py", picture, "--formats", "webp", "avif", url=server.url)
        assert (refused.returncode, "formats" in refused.stderr) == (2, True)
        (tmp_path / "cut.png").write_bytes(samples.picture()[:5000])
        wanted = ("--formats", "webp", "webp", "--output", tmp_path / "out")
        failed = run("convertly.py", picture, tmp_path / "cut.png", *wanted, url=server.url)
        assert failed.returncode == 1
        assert "cut.png" in failed.stderr
        assert (tmp_path / "out" / "wide.webp").exists()


class TestPipelyn:
    def test_a_picture(self, server: ServerProcess, picture: Path, tmp_path: Path) -> None:
        ended = run("pipelyn.py", picture, "--preset", "mobile", "--output", tmp_path / "out", url=server.url)
        assert ended.returncode == 0, ended.stderr
        with Image.open(tmp_path / "out" / "wide.webp") as image:
            assert image.width == 900

    def test_what_is_refused_and_what_fails(self, server: ServerProcess, tmp_path: Path) -> None:
        (tmp_path / "note.txt").write_text("no picture")
        refused = run("pipelyn.py", tmp_path / "note.txt", url=server.url)
        assert (refused.returncode, "image/*" in refused.stderr) == (2, True)
        (tmp_path / "cut.png").write_bytes(samples.picture()[:5000])
        failed = run("pipelyn.py", tmp_path / "cut.png", "--output", tmp_path, url=server.url)
        assert failed.returncode == 1
        assert failed.stderr


class TestToolkitapi:
    def test_a_picture(self, start: Start, picture: Path, tmp_path: Path) -> None:
        with Origin() as origin:
            url = start(OUTBOUND_ALLOW=origin.place).url
            address = origin.url("wide.png", picture.read_bytes())
            script, out = "toolkitapi_convert.py", tmp_path / "out"
            ended = run(script, address, "png", "webp", "--kind", "media", "--output", out, url=url)
            assert ended.returncode == 0, ended.stderr
            refused = run(script, origin.url("nothing.png"), "png", "webp", "--kind", "media", url=url)
        with Image.open(out / "wide.webp") as image:
            assert (image.format, image.width) == ("WEBP", 1600)
        assert (refused.returncode, "404" in refused.stderr) == (2, True)

    def test_a_machine_without_the_client_is_told_what_to_install(self) -> None:
        script = str(EXAMPLES / "toolkitapi_convert.py")
        without_packages = [sys.executable, "-S", script, "http://a.example/a.png", "png", "webp"]
        env = clean_environment({})
        ended = subprocess.run(without_packages, env=env, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr == "httpx is not installed: pip install toolkitapi==2.0.0b3\n"


class TestChangethisfile:
    def test_what_failed_is_tried_anew(self, start: Start, tmp_path: Path) -> None:
        url = start().url
        (tmp_path / "cut.png").write_bytes(samples.picture()[:5000])
        for count in (1, 2):
            failed = run("changethisfile.py", tmp_path / "cut.png", "--target", "webp", url=url)
            assert (failed.returncode, "file_invalid" in failed.stderr) == (1, True)
            with urllib.request.urlopen(f"{url}/v1/jobs") as reply:
                assert json.load(reply)["total"] == count

    def test_a_result_that_is_gone(self, picture: Path) -> None:
        job = {"job_id": "1", "status": "completed", "download_url": None, "result": {"size": 1}}
        with Origin() as origin:
            origin.posted = json.dumps({"status_url": origin.url("job", json.dumps(job).encode())}).encode()
            ended = run("changethisfile.py", picture, "--target", "webp", url=f"http://{origin.place}")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == "The result of job 1 has been deleted; convert the file again.\n"


NOWHERE = "http://127.0.0.1:9"
"""The port of a service that nobody runs any more."""
ARGUMENTS = {
    "convertly.py": ("{file}", "--formats", "webp"),
    "pipelyn.py": ("{file}",),
    "changethisfile.py": ("{file}", "--target", "webp"),
    "toolkitapi_convert.py": ("http://a.example/a.png", "png", "webp"),
}


@pytest.mark.parametrize("script", ARGUMENTS)
def test_a_server_that_is_not_there_is_one_line(script: str, picture: Path) -> None:
    arguments = (each.format(file=picture) for each in ARGUMENTS[script])
    ended = run(script, *arguments, url=NOWHERE)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(NOWHERE)


@pytest.mark.parametrize("script", [each for each in ARGUMENTS if each != "toolkitapi_convert.py"])
def test_a_file_that_is_not_there_is_one_line(script: str, tmp_path: Path) -> None:
    arguments = (each.format(file=tmp_path / "missing.png") for each in ARGUMENTS[script])
    ended = run(script, *arguments, url=NOWHERE)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "missing.png" in ended.stderr
