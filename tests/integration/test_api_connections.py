"""Connections that are too slow, against the whole server in this process with short patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from convertd import app
from convertd.config import load
from convertd.web import connections, server, uploads


@pytest.fixture
async def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(server, "KEEPALIVE_SECONDS", 0.2)
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 0.2)
    environ = {"CONVERTD_LIMITS_UPLOAD_TIME": "1s"}
    config = load(None, environ, {"port": "0", "data_dir": str(tmp_path / "data")})
    async with app.running(config) as started:
        found = urlsplit(started.address).port
        assert found is not None
        yield found


async def answer(port: int, *pieces: bytes) -> bytes:
    """What comes back until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            received = b""
            for number, piece in enumerate(pieces):
                writer.write(piece)
                if number < len(pieces) - 1:
                    received += await reader.readuntil(b"}")
            try:
                return received + await reader.read()
            except ConnectionResetError:
                return received
    finally:
        writer.close()


@pytest.mark.parametrize("begun", [b"", b"POST /jo", b"POST /jobs HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_head_that_never_ends_is_cut_off(port: int, begun: bytes) -> None:
    assert await answer(port, begun) == b""


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nX-Slow: "])
async def test_the_pause_between_requests_is_bounded(port: int, begun: bytes) -> None:
    first = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    assert (await answer(port, first, begun)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 1000\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        "Content-Length: 1000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\nContent-Dis",
        "Content-Length: 1000\r\nContent-Type: application/json\r\n\r\n{",
    ],
    ids=["length", "chunks", "form", "json"],
)
async def test_a_body_that_stands_still_is_cut_off(port: int, tmp_path: Path, head: str) -> None:
    query = "" if "Content-Type" in head else "?to=webp&filename=a.png"
    sent = f"POST /jobs{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{head}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent.encode())
    async with asyncio.timeout(10):
        got = await reader.readuntil(b"}")
    writer.close()
    assert got.startswith(b"HTTP/1.1 504"), got
    assert b'"code":"timeout"' in got
    assert list((tmp_path / "data" / "files" / "blobs").glob("*/*")) == []


async def test_a_body_that_trickles_is_cut_off(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never stands still for long, but does not end within its whole time either."""
    monkeypatch.setattr(uploads, "IDLE_SECONDS", 60.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /jobs?to=webp&filename=a.png HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    writer.write(f"{head}Connection: close\r\nContent-Length: 100000\r\n\r\n".encode())
    answered = asyncio.create_task(reader.readuntil(b"}"))
    async with asyncio.timeout(10):
        while not (await asyncio.wait([answered], timeout=0.05))[0]:
            writer.write(b"x")
    writer.close()
    assert answered.result().startswith(b"HTTP/1.1 504"), answered.result()
    assert b"limits.upload_time" in answered.result()
    assert list((tmp_path / "data" / "files" / "blobs").glob("*/*")) == []


async def test_what_is_no_request_is_answered_as_a_problem(port: int) -> None:
    reply = await answer(port, b"NO REQUEST\r\n\r\n")
    assert b" 400 " in reply.splitlines()[0]
    assert b"Content-Type: application/problem+json" in reply
    assert b'"code":"invalid_request"' in reply


@pytest.mark.parametrize(
    "host", [b"\xff", b"a b", b"h/path?", b"user@h", b"[::1", b'a"b', b"h:1:2", b"h" * 256]
)
async def test_no_link_can_be_made_of_a_host_that_is_none(port: int, host: bytes) -> None:
    reply = await answer(port, b"GET /jobs HTTP/1.1\r\nConnection: close\r\nHost: %s\r\n\r\n" % host)
    assert b" 400 " in reply.splitlines()[0]
    assert b"The Host header" in reply


@pytest.mark.parametrize("host", [b"h", b"a_b.example:80", b"[::1]:8080", b"127.0.0.1", b""])
async def test_any_host_that_is_one_will_do_where_no_key_is_needed(port: int, host: bytes) -> None:
    reply = await answer(port, b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: %s\r\n\r\n" % host)
    assert b"The Host header" not in reply
