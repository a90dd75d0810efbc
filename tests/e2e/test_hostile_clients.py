"""Clients that break off, send too much, too slowly, or lie about names."""

from __future__ import annotations

import asyncio
import gzip
import signal
import socket
from collections.abc import AsyncIterator, Callable
from email.message import Message
from urllib.parse import quote

import pytest
from aiohttp import ClientError, ClientSession, FormData

from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.data_dir import blobs, check_files_and_rows, rows, working_files
from tests.support.server import PATIENCE, ServerProcess

PNG = samples.picture()


async def eventually(api: Api, condition: Callable[[], bool]) -> None:
    """Until the condition holds, looking again with each round trip."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await api.get("/healthz")


async def settled(api: Api, server: ServerProcess) -> None:
    """Until nothing is under way: no half file is left."""
    await eventually(api, lambda: not working_files(server.data_dir))


async def in_chunks(data: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for offset in range(0, len(data), size):
        yield data[offset : offset + size]


class TestBrokenOff:
    @pytest.mark.parametrize(
        "head",
        [
            b"POST /jobs?to=webp&filename=a.png HTTP/1.1\r\nHost: %s\r\nContent-Length: 500000\r\n\r\n",
            b"POST /jobs?to=webp HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n",
            b"POST /jobs?to=webp HTTP/1.1\r\nHost: %s\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 500000\r\n\r\n"
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n',
        ],
        ids=["length", "chunked", "form"],
    )
    async def test_an_upload_leaves_no_file(self, start: Start, session: ClientSession, head: bytes) -> None:
        server = start()
        host = f"127.0.0.1:{server.port}".encode()
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head % host + PNG)
        api = Api(session, server.url)
        await settled(api, server)
        assert blobs(server.data_dir) == {}
        assert rows(server.data_dir, "SELECT count(*) FROM jobs") == [(0,)]
        assert (await api.get("/healthz")).status == 200

    async def test_many_uploads_leave_no_memory_taken(self, start: Start, session: ClientSession) -> None:
        server = start(RETENTION_SWEEP="100ms")
        api = Api(session, server.url)
        head = (
            f"POST /jobs?to=webp HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 4000000\r\n\r\n"
        )

        async def break_off() -> None:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(head.encode() + bytes(3_000_000))
            await writer.drain()
            writer.close()

        for _ in range(20):
            await asyncio.gather(*(break_off() for _ in range(10)))
        await settled(api, server)
        await eventually(api, lambda: server.resident_bytes < 120 * 1024**2)

    async def test_the_files_before_the_broken_one_go_too(self, start: Start, session: ClientSession) -> None:
        server = start()
        api = Api(session, server.url)
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + PNG + b"\r\n"
        head = (
            f"POST /jobs?to=webp HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 5000000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + part * 3 + part[:-2] + bytes(2_000_000))
            await eventually(api, lambda: len(blobs(server.data_dir)) == 3)
        await settled(api, server)
        await eventually(api, lambda: not blobs(server.data_dir))

    async def test_a_long_poll(self, api: Api) -> None:
        job = await api.linger(2)
        await api.progressing(job["id"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await api.job(job["id"], wait=30)
        assert (await api.ended(job["id"]))["status"] == "succeeded"

    async def test_a_download(self, api: Api, server: ServerProcess) -> None:
        big = samples.picture(width=2000, height=1500)
        job = (await api.submit(big, to="bmp", filename="a.png", wait=30)).job(200)
        path = job["outputs"][0]["url"].removeprefix(api.url)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert len(await api.download(job["outputs"][0])) == job["outputs"][0]["bytes"]


class TestTooMuch:
    async def test_a_long_body_is_refused_before_it_is_sent(self, start: Start) -> None:
        server = start(LIMITS_UPLOAD="100kB")
        host = f"127.0.0.1:{server.port}"
        head = f"POST /jobs?to=webp HTTP/1.1\r\nHost: {host}\r\nContent-Length: 200000000\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(head.encode())
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert b'"code":"too_large"' in answer

    async def test_chunks_are_counted(self, start: Start, session: ClientSession) -> None:
        server = start(LIMITS_UPLOAD="100kB")
        api = Api(session, server.url)
        reply = await api.submit(in_chunks(PNG * 10), to="webp", filename="a.png")
        assert "102400" in reply.problem(413, "too_large")["detail"]
        await settled(api, server)
        assert blobs(server.data_dir) == {}
        assert (await api.submit(in_chunks(PNG), to="webp", filename="a.png")).status == 202

    @pytest.mark.parametrize("path", ["/jobs?to=webp&filename=a.png", "/api/jobs", "/v1/convert/media"])
    @pytest.mark.parametrize("body", [gzip.compress(bytes(50_000_000)), b"abc"])
    async def test_a_packed_body_is_not_unpacked(
        self, start: Start, session: ClientSession, path: str, body: bytes
    ) -> None:
        server = start()
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        reply = await Api(session, server.url).request("POST", path, data=body, headers=headers)
        assert reply.status == 400
        assert b"Content-Encoding 'gzip'; send it unpacked" in reply.body
        server.stop()
        assert server.complaints == []

    async def test_the_files_of_a_form_are_counted_together(
        self, start: Start, session: ClientSession
    ) -> None:
        server = start(LIMITS_UPLOAD="100kB", LIMITS_REQUEST="100kB")
        api = Api(session, server.url)
        form = FormData()
        for number in range(20):
            form.add_field("file", PNG, filename=f"{number}.png")
        (await api.submit(form, to="webp")).problem(413, "too_large")
        await settled(api, server)
        assert blobs(server.data_dir) == {}

    async def test_a_form_is_refused_while_its_file_still_comes(self, start: Start) -> None:
        """The bytes of all files are counted as they come; neither file is too large by itself."""
        server = start(LIMITS_UPLOAD="1MB", LIMITS_REQUEST="1MB")
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        head = (
            f"POST /jobs?to=webp HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 8000000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        ).encode()
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            connection.sendall(head + part + bytes(900_000) + b"\r\n" + part + bytes(1_000_000))
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413"), answer
        assert b"limits.request" in answer

    async def test_tasks_are_counted(self, start: Start, session: ClientSession) -> None:
        server = start(LIMITS_TASKS="3")
        form = FormData()
        for number in range(2):
            form.add_field("file", PNG, filename=f"{number}.png")
        reply = await Api(session, server.url).submit(form, to="webp,gif")
        assert "4 tasks" in reply.problem(400, "invalid_request")["detail"]
        assert blobs(server.data_dir) == {}

    async def test_an_oversized_upload_does_not_end_the_connection_of_others(
        self, start: Start, session: ClientSession
    ) -> None:
        server = start(LIMITS_UPLOAD="1MB")
        api = Api(session, server.url)
        big = bytes(20_000_000)

        async def oversized() -> int:
            try:
                return (await api.submit(in_chunks(big), to="webp", filename="a.png")).status
            except ClientError:
                return 413  # the server hung up while the client went on sending

        results = await asyncio.gather(
            *(oversized() for _ in range(5)),
            *(api.submit(PNG, to="webp", filename="a.png", wait=30) for _ in range(5)),
        )
        assert set(results[:5]) == {413}
        assert all(reply.job(200)["status"] == "succeeded" for reply in results[5:])


HOSTILE_NAMES = [
    "../../../../etc/passwd",
    "..\\..\\windows\\system32\\a.png",
    "/etc/passwd",
    "a\r\nSet-Cookie: x=y.png",
    'a".png; filename="evil.exe',
    "a\x00b.png",
    "\u202egnp.exe",
    "é" * 300 + ".png",
    "a" * 5000 + ".png",
    ".",
    "..",
    "",
    "   ",
    "CON.png",
    "<script>alert(1)</script>.png",
    "-rf *.png",
    "%2e%2e%2fa.png",
    "\ud7ff\U0001f600.png",
    "a.png/",
    "~root.png",
    "$(reboot).png",
]


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
async def test_a_hostile_name_is_a_name_and_nothing_else(api: Api, server: ServerProcess, name: str) -> None:
    reply = await api.request(
        "POST", f"/jobs?to=webp&source=png&filename={quote(name)}", data=PNG, headers={"Prefer": "wait=30"}
    )
    job = reply.job(200)
    (output,) = job["outputs"]
    for shown in (job["inputs"][0]["name"], output["name"]):
        assert shown.isprintable()
        assert shown.strip("./")
        assert "/" not in shown
        assert "\\" not in shown
        assert len(shown) <= 300
    download = await api.get(output["url"])
    assert download.status == 200
    assert "Set-Cookie" not in download.headers
    disposition = Message()
    disposition["Content-Disposition"] = download.headers["Content-Disposition"]
    assert disposition.get_content_disposition() == "attachment"
    assert disposition.get_filename()
    assert all(path.name.startswith(("01", job["id"][:2])) for path in blobs(server.data_dir).values())


async def test_a_hostile_name_in_a_form(api: Api) -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="../../a\\"b.png"\r\n\r\n'
        + PNG
        + b'\r\n--x\r\nContent-Disposition: form-data; name="to"\r\n\r\nwebp\r\n--x--\r\n'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Prefer": "wait=30"}
    job = (await api.request("POST", "/jobs", data=body, headers=headers)).job(200)
    assert "/" not in job["inputs"][0]["name"]


async def test_a_path_does_not_write_log_lines(api: Api, server: ServerProcess) -> None:
    before = len(server.log)
    (await api.get("/download/%0aFAKE%1b[31m")).problem(410, "expired")
    written = server.log[before:]
    assert "\x1b" not in written
    assert "\nFAKE" not in written
    assert "FAKE" in written


class TestSlow:
    """Thousands of connections that do nothing cost little, and do not keep others out."""

    async def test_idle_connections_keep_nobody_out(self, api: Api, server: ServerProcess) -> None:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        try:
            for connection in idle[::2]:
                connection.sendall(b"POST /jobs HTTP/1.1\r\nHost: x\r\n")
            reply = await api.submit(PNG, to="webp", filename="a.png", wait=30)
            assert reply.job(200)["status"] == "succeeded"
        finally:
            for connection in idle:
                connection.close()


async def test_a_frozen_server_that_wakes_publishes_once(start: Start, session: ClientSession) -> None:
    server = start(JOBS_LEASE="500ms", JOBS_HEARTBEAT="100ms")
    api = Api(session, server.url)
    job = await api.linger(2)
    await api.progressing(job["id"])
    server.send(signal.SIGSTOP)
    with pytest.raises(TimeoutError):  # longer than the lease
        await asyncio.wait_for(api.get("/healthz"), 1)
    server.send(signal.SIGCONT)
    ended = await api.ended(job["id"])
    assert (ended["status"], len(ended["outputs"])) == ("succeeded", 1)
    await settled(api, server)
    server.stop()
    check_files_and_rows(server.data_dir)


async def test_work_longer_than_its_lease_is_not_taken_for_dead(start: Start, session: ClientSession) -> None:
    server = start(JOBS_LEASE="500ms", JOBS_HEARTBEAT="100ms")
    api = Api(session, server.url)
    job = await api.linger(4)
    ended = await api.ended(job["id"])
    assert (ended["status"], ended["attempts"]) == ("succeeded", 1)
