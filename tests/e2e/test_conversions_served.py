"""Real files through the real command: in by every shape of request, out by signed links."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
from aiohttp import FormData
from PIL import Image

from tests.support import samples
from tests.support.api import ENDED, Api
from tests.support.readers import probe
from tests.support.server import ServerProcess, all_dead


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def batch_form() -> FormData:
    form = FormData()
    for name, fmt, seed in (("one.png", "PNG", 1), ("two.jpg", "JPEG", 2), ("three.bmp", "BMP", 3)):
        form.add_field("file", samples.picture(fmt, seed=seed), filename=name)
    form.add_field("to", "webp")
    form.add_field("to", "gif")
    return form


async def test_a_raw_put_is_a_picture_in_another_format(api: Api) -> None:
    reply = await api.request(
        "PUT", "/jobs?to=webp&filename=a.png", data=samples.picture(), headers={"Prefer": "wait=30"}
    )
    job = reply.job(200)
    assert reply.headers["Preference-Applied"] == "wait=30"
    assert reply.headers["Location"] == f"{api.url}/jobs/{job['id']}"
    assert (job["status"], job["progress"]) == ("succeeded", 100)
    (output,) = job["outputs"]
    assert (output["name"], output["format"], output["media_type"]) == ("a.webp", "webp", "image/webp")
    image = opened(await api.download(output))
    assert (image.format, image.size) == ("WEBP", (320, 240))


async def test_without_prefer_the_answer_does_not_wait(api: Api) -> None:
    reply = await api.submit(samples.picture(), to="webp", filename="a.png")
    job = reply.job(202)
    assert "Preference-Applied" not in reply.headers
    assert reply.headers["Retry-After"]
    assert (await api.ended(job["id"]))["status"] == "succeeded"


async def test_three_pictures_to_two_formats_are_six_files(api: Api) -> None:
    job = (await api.submit(batch_form(), wait=30)).job(200)
    assert job["counts"]["tasks"] == job["counts"]["succeeded"] == 6
    names = [output["name"] for output in job["outputs"]]
    assert sorted(names) == ["one.gif", "one.webp", "three.gif", "three.webp", "two.gif", "two.webp"]
    assert len({output["url"] for output in job["outputs"]}) == 6
    for output in job["outputs"]:
        data = await api.download(output)
        assert hashlib.sha256(data).hexdigest() == output["sha256"]
        assert opened(data).format == output["format"].upper()


async def test_a_batch_tells_which_of_its_files_failed(api: Api) -> None:
    form = batch_form()
    form.add_field("file", samples.picture()[:5000], filename="cut.png")
    job = (await api.submit(form, wait=30)).job(200)
    assert job["status"] == "succeeded"
    assert (job["counts"]["succeeded"], job["counts"]["failed"]) == (6, 2)
    failed = [task for task in job["tasks"] if task["status"] == "failed"]
    assert {task["input"] for task in failed} == {3}
    assert {task["error"]["code"] for task in failed} == {"file_invalid"}
    assert all(task["output"] is None for task in failed)


async def test_a_video_is_encoded_and_its_progress_rises(api: Api, tmp_path: Path) -> None:
    video = samples.mp4(3, 480, 360)
    job = (await api.submit(video, to="webm", filename="clip.mp4")).job(202)
    seen = [0.0]
    while job["status"] not in ENDED:
        job = await api.job(job["id"])
        if job["progress"] != seen[-1]:
            seen.append(job["progress"])
    assert job["status"] == "succeeded", job["error"]
    assert seen == sorted(seen)
    assert len(seen) >= 4, seen
    (output,) = job["outputs"]
    path = tmp_path / output["name"]
    path.write_bytes(await api.download(output))
    found = probe(path)
    assert "webm" in found["format"]["format_name"]
    assert float(found["format"]["duration"]) == pytest.approx(3, abs=0.1)
    assert output["duration"] == pytest.approx(3, abs=0.1)


async def test_a_sound_becomes_an_mp3(api: Api, tmp_path: Path) -> None:
    job = (await api.submit(samples.wav(2), to="mp3", filename="tone.wav", wait=30)).job(200)
    path = tmp_path / "tone.mp3"
    path.write_bytes(await api.download(job["outputs"][0]))
    found = probe(path)
    assert found["streams"][0]["codec_name"] == "mp3"
    assert float(found["format"]["duration"]) == pytest.approx(2, abs=0.1)


async def test_what_cannot_become_smaller_comes_back_without_its_place(api: Api) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "Tester"
    exif[0x8825] = {1: "N", 2: (51.0, 30.0, 0.0)}
    out = io.BytesIO()
    Image.effect_noise((120, 80), 60).save(
        out, "JPEG", quality=20, optimize=True, progressive=True, exif=exif
    )
    reply = await api.submit(out.getvalue(), operation="compress", quality=95, filename="a.jpg", wait=30)
    (output,) = reply.job(200)["outputs"]
    assert output["notes"] == [
        "The result would not have been smaller: the input is returned without its metadata."
    ]
    data = await api.download(output)
    assert len(data) < len(out.getvalue())
    with Image.open(io.BytesIO(data)) as image:
        assert dict(image.getexif()) == {274: 6}


async def test_a_pdf_becomes_a_picture_of_each_page(api: Api) -> None:
    job = (await api.submit(samples.pdf(3), to="png", filename="doc.pdf", wait=30)).job(200)
    assert len(job["outputs"]) == 3
    assert len({output["name"] for output in job["outputs"]}) == 3
    for output in job["outputs"]:
        assert opened(await api.download(output)).format == "PNG"


@pytest.mark.parametrize("operation", ["compress", "adjust", "watermark"])
async def test_what_a_pdf_cannot_is_refused_with_what_it_can(api: Api, operation: str) -> None:
    refused = await api.submit(samples.pdf(2), operation=operation, filename="a.pdf", wait=30)
    said = refused.problem(415, "unsupported_format")["detail"]
    assert said.startswith(f"There is no {operation} for pdf; it can: archive, convert, inspect, thumbnail.")
    routes = (await api.get("/formats?source=pdf")).json["routes"]
    assert {route["operation"] for route in routes} == {"archive", "convert", "inspect", "thumbnail"}


async def test_a_cut_download_is_resumed_by_range(api: Api) -> None:
    job = (await api.submit(samples.picture(), to="bmp", filename="a.png", wait=30)).job(200)
    (output,) = job["outputs"]
    first = await api.get(output["url"], headers={"Range": "bytes=0-99999"})
    assert (first.status, len(first.body)) == (206, 100_000)
    again = {"Range": "bytes=100000-", "If-Range": first.headers["ETag"]}
    rest = await api.get(output["url"], headers=again)
    assert rest.status == 206
    assert rest.headers["Content-Range"] == f"bytes 100000-{output['bytes'] - 1}/{output['bytes']}"
    assert hashlib.sha256(first.body + rest.body).hexdigest() == output["sha256"]
    assert first.headers["ETag"] == f'"{output["sha256"]}"'


async def test_a_download_is_an_attachment_that_is_never_a_page(api: Api) -> None:
    job = (await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)).job(200)
    reply = await api.request("HEAD", job["outputs"][0]["url"])
    assert reply.status == 200
    assert reply.body == b""
    assert reply.headers["Content-Disposition"].startswith("attachment;")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Server"] == "convertd"


async def test_every_bit_of_a_link_counts(api: Api) -> None:
    job = (await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)).job(200)
    head, _, token = job["outputs"][0]["url"].rpartition("/")
    for position in range(0, len(token), 5):
        for bit in (1, 2, 32):
            flipped = chr(ord(token[position]) ^ bit)
            if not (flipped.isalnum() or flipped in "-_"):
                continue
            altered = f"{head}/{token[:position]}{flipped}{token[position + 1 :]}"
            (await api.get(altered)).problem(410, "expired")
    assert (await api.get(f"{head}/{token}")).status == 200


class TestConvert:
    """POST /convert."""

    async def test_answers_with_the_bytes(self, api: Api) -> None:
        reply = await api.submit(samples.picture(), path="/convert", to="webp", filename="photo.png")
        assert (reply.status, reply.headers["Content-Type"]) == (200, "image/webp")
        assert 'filename="photo.webp"' in reply.headers["Content-Disposition"]
        assert opened(reply.body).format == "WEBP"
        job = (await api.get(reply.headers["Location"])).job(200)
        assert job["outputs"][0]["sha256"] == hashlib.sha256(reply.body).hexdigest()

    async def test_takes_a_form(self, api: Api) -> None:
        form = FormData()
        form.add_field("to", "png")
        form.add_field("width", "10")
        form.add_field("file", samples.picture("JPEG"), filename="photo.jpg")
        reply = await api.submit(form, path="/convert")
        assert opened(reply.body).width == 10

    async def test_answers_with_the_error_of_a_damaged_file(self, api: Api) -> None:
        cut = samples.picture()[:5000]
        reply = await api.submit(cut, path="/convert", to="webp", filename="cut.png")
        reply.problem(422, "file_invalid")

    async def test_past_the_wait_it_is_a_job(self, api: Api) -> None:
        reply = await api.submit(
            b"slow\n", path="/convert", wait=1, to="txt", operation="linger", seconds=2, filename="a.txt"
        )
        job = reply.job(202)
        assert job["status"] == "running"
        assert reply.headers["Location"].endswith(job["id"])
        assert (await api.ended(job["id"]))["status"] == "succeeded"

    async def test_several_pages_are_a_job(self, api: Api) -> None:
        reply = await api.submit(samples.pdf(2), path="/convert", to="png", filename="doc.pdf")
        assert len(reply.job(202)["outputs"]) == 2

    async def test_takes_one_file_and_one_format(self, api: Api) -> None:
        (await api.submit(batch_form(), path="/convert")).problem(400, "invalid_request")
        reply = await api.submit(samples.picture(), path="/convert", to="webp,gif", filename="a.png")
        reply.problem(400, "invalid_request")


class TestCancelling:
    async def test_a_running_encoder_is_gone_within_two_seconds(
        self, api: Api, server: ServerProcess
    ) -> None:
        video = samples.mp4(20, 640, 480)
        job = (await api.submit(video, to="webm", filename="long.mp4")).job(202)
        await api.progressing(job["id"])
        (child,) = server.children()
        reply = await api.request("DELETE", f"/jobs/{job['id']}")
        assert reply.job(200)["status"] == "cancelled"
        assert all_dead([child], seconds=2)
        job = await api.job(job["id"])
        assert (job["status"], job["outputs"], job["error"]) == ("cancelled", [], None)

    async def test_a_queued_job_never_runs(self, api: Api) -> None:
        before = [await api.linger(3600) for _ in range(2)]
        job = (await api.submit(samples.picture(), to="webp", filename="a.png")).job(202)
        assert job["queue_position"] >= 1
        assert (await api.request("DELETE", f"/jobs/{job['id']}")).job(200)["status"] == "cancelled"
        for other in before:
            await api.request("DELETE", f"/jobs/{other['id']}")
        job = await api.job(job["id"])
        assert (job["status"], job["started_at"], job["attempts"]) == ("cancelled", None, 0)

    async def test_an_ended_job_cannot_be_cancelled(self, api: Api) -> None:
        job = (await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)).job(200)
        (await api.request("DELETE", f"/jobs/{job['id']}")).problem(409, "conflict")


class TestRetrying:
    async def test_a_cancelled_job_runs_again_from_its_inputs(self, api: Api) -> None:
        job = await api.linger(0.5)
        await api.request("DELETE", f"/jobs/{job['id']}")
        again = (await api.request("POST", f"/jobs/{job['id']}/retry")).job(202)
        assert again["id"] == job["id"]
        ended = await api.ended(job["id"])
        assert (ended["status"], len(ended["outputs"])) == ("succeeded", 1)

    async def test_a_failed_job_runs_again(self, api: Api) -> None:
        cut = samples.picture()[:5000]
        job = (await api.submit(cut, to="webp", filename="cut.png", wait=30)).job(200)
        assert job["error"]["code"] == "file_invalid"
        assert job["links"]["retry"] == f"{api.url}/jobs/{job['id']}/retry"
        (await api.request("POST", job["links"]["retry"])).job(202)
        assert (await api.ended(job["id"]))["error"]["code"] == "file_invalid"

    async def test_a_job_that_succeeded_does_not(self, api: Api) -> None:
        job = (await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)).job(200)
        (await api.request("POST", f"/jobs/{job['id']}/retry")).problem(409, "conflict")


class TestReading:
    @pytest.mark.parametrize("held", ["{}", '"x", {}', 'W/"1-0",{}', "*"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_known_state_is_not_sent_again(self, api: Api, method: str, held: str) -> None:
        job = (await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)).job(200)
        for _ in range(3):  # the tag changes with the minute
            first = await api.get(f"/jobs/{job['id']}")
            assert first.headers["ETag"].startswith('W/"')
            headers = {"If-None-Match": held.format(first.headers["ETag"])}
            second = await api.request(method, f"/jobs/{job['id']}", headers=headers)
            if second.status == 304:
                break
        assert (second.status, second.body) == (304, b"")
        assert "Retry-After" not in second.headers

    @pytest.mark.parametrize("held", ['"*"', '"x"', "1-0", ""])
    async def test_an_unknown_state_is_sent(self, api: Api, held: str) -> None:
        job = (await api.submit(samples.picture(), to="webp", filename="a.png", wait=30)).job(200)
        assert (await api.get(f"/jobs/{job['id']}", headers={"If-None-Match": held})).status == 200

    async def test_a_long_poll_ends_with_the_change(self, api: Api) -> None:
        job = await api.linger(1)
        while job["status"] == "queued":
            job = await api.job(job["id"])
        assert job["status"] == "running"
        assert (await api.job(job["id"], wait=30))["status"] == "succeeded"

    async def test_a_long_poll_misses_no_change_since_the_known_version(self, api: Api) -> None:
        job = await api.linger(0)
        known = (await api.get(f"/jobs/{job['id']}")).headers["ETag"]
        while (await api.job(job["id"]))["status"] != "succeeded":
            pass
        headers = {"Prefer": "wait=30", "If-None-Match": known}
        reply = await api.get(f"/jobs/{job['id']}", headers=headers)
        assert reply.status in (200, 304)
        late = await api.linger(20)
        while (await api.job(late["id"]))["status"] == "queued":
            pass
        headers["If-None-Match"] = 'W/"0-1", W/"1-0"'
        assert (await api.get(f"/jobs/{late['id']}", headers=headers)).job(200)["status"] == "running"
        await api.request("DELETE", f"/jobs/{late['id']}")

    async def test_jobs_are_listed_newest_first_in_pages(self, api: Api) -> None:
        made = []
        for seed in range(5):
            reply = await api.submit(samples.picture(seed=seed), to="webp", filename="a.png", wait=30)
            made.append(reply.job(200)["id"])
        page = (await api.get("/jobs?limit=2")).json
        assert [job["id"] for job in page["jobs"]] == made[:-3:-1]
        following = (await api.get(f"/jobs?limit=3&cursor={page['next_cursor']}")).json
        assert [job["id"] for job in following["jobs"]] == made[2::-1]
        assert following["jobs"][0]["outputs"][0]["url"]

    async def test_the_list_is_narrowed_by_state(self, api: Api) -> None:
        cut = samples.picture()[:5000]
        failed = (await api.submit(cut, to="webp", filename="cut.png", wait=30)).job(200)
        page = (await api.get("/jobs?status=failed&limit=1")).json
        assert [job["id"] for job in page["jobs"]] == [failed["id"]]

    async def test_the_last_page_has_no_cursor(self, api: Api) -> None:
        cursor, seen = "", set()
        while cursor is not None:
            page = (await api.get(f"/jobs?limit=100&cursor={cursor}")).json
            ids = {job["id"] for job in page["jobs"]}
            assert not ids & seen
            seen |= ids
            cursor = page["next_cursor"]

    @pytest.mark.parametrize(
        "query", ["status=done", "limit=0", "limit=101", "limit=x", "cursor=!!", "cursor=eA"]
    )
    async def test_wrong_pages_are_refused(self, api: Api, query: str) -> None:
        (await api.get(f"/jobs?{query}")).problem(400, "invalid_request")


async def test_metadata_comes_back(api: Api) -> None:
    told = json.dumps({"order": 7, "who": "Zoë"})
    job = (await api.submit(samples.picture(), to="webp", filename="a.png", metadata=told)).job(202)
    assert job["metadata"] == {"order": 7, "who": "Zoë"}
    assert (await api.ended(job["id"]))["metadata"] == {"order": 7, "who": "Zoë"}
