"""Downloads over real connections: the tables of RFC 9110, resumption, hang-ups, and never a page."""

import asyncio
import contextlib
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from aiohttp import ClientPayloadError, hdrs, web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convertd.storage.base import BlobReader
from convertd.storage.local import LocalStore
from convertd.web import downloads
from convertd.web.downloads import send_file
from convertd.web.problems import Problem, problem_response

CONTENT = random.Random(5).randbytes(300_000)
SIZE = len(CONTENT)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{DIGEST}"'
MODIFIED = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
EARLIER = "Tue, 14 Nov 2023 22:13:19 GMT"
LATER = "Tue, 14 Nov 2023 22:13:21 GMT"


class Probe:
    """A reader that says when it was closed, and may hide its file or overstate its size."""

    def __init__(self, reader: BlobReader, *, real_file: bool = True, size: int | None = None) -> None:
        self._reader = reader
        self._real_file = real_file
        self.size = reader.size if size is None else size
        self.closed = asyncio.Event()

    @property
    def file(self) -> BinaryIO | None:
        return self._reader.file if self._real_file else None

    def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        return self._reader.chunks(offset, count)

    def close(self) -> None:
        self._reader.close()
        self.closed.set()


class Shelf:
    """One stored file behind a route; what is served and how may be changed by a test."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.key = "k"
        self.probe: dict[str, Any] = {}
        self.served: dict[str, Any] = {"media_type": "image/webp", "filename": "photo.webp"}
        self.readers: list[Probe] = []
        self.asked = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        probe = Probe(await self.store.open(self.key), **self.probe)
        self.readers.append(probe)
        self.asked.set()
        try:
            return send_file(
                request, reader=probe, sha256=DIGEST, last_modified=MODIFIED + 0.7, **self.served
            )
        except web.HTTPException as exception:  # as the server does
            return problem_response(Problem.of_http(exception))


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    store = LocalStore(tmp_path)
    await store.start()
    async with store.writer() as writer:
        await writer.write(CONTENT)
        await writer.commit("k")
    yield Shelf(store)
    await store.close()


@pytest.fixture
async def client(shelf: Shelf) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    app = web.Application()
    app.router.add_get("/file", shelf.handle)
    async with TestClient(TestServer(app)) as client:
        yield client
    assert all(reader.closed.is_set() for reader in shelf.readers)


Client = TestClient[web.Request, web.Application]
Fetch = Callable[..., Awaitable[tuple[int, dict[str, str], bytes]]]


@pytest.fixture
def fetch(client: Client) -> Fetch:
    async def fetch(
        headers: dict[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        async with client.request(method, "/file", headers=headers) as response:
            return response.status, dict(response.headers), await response.read()

    return fetch


async def test_whole(fetch: Fetch) -> None:
    status, headers, body = await fetch()
    assert status == 200
    assert body == CONTENT
    assert headers[hdrs.CONTENT_LENGTH] == str(SIZE)
    assert headers[hdrs.CONTENT_TYPE] == "image/webp"
    assert headers[hdrs.ETAG] == ETAG
    assert headers[hdrs.LAST_MODIFIED] == DATE
    assert headers[hdrs.ACCEPT_RANGES] == "bytes"
    assert headers[hdrs.CONTENT_DISPOSITION] == 'attachment; filename="photo.webp"'
    assert headers[hdrs.CACHE_CONTROL].startswith("private")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert hdrs.CONTENT_RANGE not in headers
    assert hdrs.TRANSFER_ENCODING not in headers


async def test_head_equals_get_without_body(fetch: Fetch) -> None:
    _, get, _ = await fetch()
    status, head, body = await fetch({"Range": "bytes=0-9"}, method="HEAD")
    assert (status, body) == (200, b"")
    assert {**get, "Date": ""} == {**head, "Date": ""}


RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=0-", 0, SIZE),
    ("bytes=5-9", 5, 10),
    ("BYTES=5-9", 5, 10),
    (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
    (f"bytes={SIZE - 1}-{SIZE + 50}", SIZE - 1, SIZE),
    ("bytes=100-999999999999999999", 100, SIZE),
    ("bytes=-1", SIZE - 1, SIZE),
    (f"bytes=-{SIZE}", 0, SIZE),
    (f"bytes=-{SIZE * 2}", 0, SIZE),
]


@pytest.mark.parametrize("real_file", [True, False])
@pytest.mark.parametrize(("text", "start", "end"), RANGES)
async def test_single_ranges(
    shelf: Shelf, fetch: Fetch, text: str, start: int, end: int, real_file: bool
) -> None:
    shelf.probe["real_file"] = real_file
    status, headers, body = await fetch({"Range": text})
    assert status == 206
    assert body == CONTENT[start:end]
    assert headers[hdrs.CONTENT_RANGE] == f"bytes {start}-{end - 1}/{SIZE}"
    assert headers[hdrs.CONTENT_LENGTH] == str(end - start)
    assert headers[hdrs.ETAG] == ETAG


@pytest.mark.parametrize(
    "text", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 1}", "bytes=-0", "bytes=999999999-"]
)
async def test_ranges_outside(fetch: Fetch, text: str) -> None:
    status, headers, body = await fetch({"Range": text})
    assert status == 416
    assert headers[hdrs.CONTENT_RANGE] == f"bytes */{SIZE}"
    assert headers[hdrs.CONTENT_TYPE] == "application/problem+json"
    assert b'"invalid_request"' in body


@pytest.mark.parametrize(
    "text",
    [
        "bytes=0-1,3-4",
        "bytes=9-5",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "bytes=1",
        "items=0-1",
        "bytes=٣-٤",
        f"bytes={'9' * 5000}-",
        "bytes=0x1-2",
        "bytes=--5",
        "0-5",
        "bytes=1 - 2",
    ],
)
async def test_ranges_that_are_ignored(fetch: Fetch, text: str) -> None:
    status, headers, body = await fetch({"Range": text})
    assert (status, len(body)) == (200, SIZE)
    assert hdrs.CONTENT_RANGE not in headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": ETAG}, 304),
        ({"If-None-Match": f"W/{ETAG}"}, 304),
        ({"If-None-Match": f'"x", {ETAG}'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": DIGEST}, 200),
        ({"If-None-Match": ETAG, "Range": "bytes=0-1"}, 304),
        ({"If-None-Match": '"x"', "If-Modified-Since": LATER}, 200),
        ({"If-Modified-Since": DATE}, 304),
        ({"If-Modified-Since": EARLIER}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
        ({"If-Match": ETAG}, 200),
        ({"If-Match": f'"x", {ETAG}'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": f"W/{ETAG}"}, 412),
        ({"If-Match": ETAG, "If-Unmodified-Since": EARLIER}, 200),
        ({"If-Match": ETAG, "If-None-Match": ETAG}, 304),
        ({"If-Match": '"x"', "If-None-Match": ETAG}, 412),
        ({"If-Unmodified-Since": DATE}, 200),
        ({"If-Unmodified-Since": EARLIER}, 412),
        ({"If-Range": ETAG, "Range": "bytes=1-2"}, 206),
        ({"If-Range": f"W/{ETAG}", "Range": "bytes=1-2"}, 200),
        ({"If-Range": '"x"', "Range": "bytes=1-2"}, 200),
        ({"If-Range": f'{ETAG}, "x"', "Range": "bytes=1-2"}, 200),
        ({"If-Range": '"x"', "Range": f"bytes={SIZE}-"}, 200),
        ({"If-Range": DATE, "Range": "bytes=1-2"}, 206),
        ({"If-Range": LATER, "Range": "bytes=1-2"}, 200),
        ({"If-Range": EARLIER, "Range": "bytes=1-2"}, 200),
        ({"If-Range": "soon", "Range": "bytes=1-2"}, 200),
        ({"If-Range": ETAG}, 200),
    ],
)
async def test_preconditions(fetch: Fetch, headers: dict[str, str], status: int) -> None:
    found, answered, body = await fetch(headers)
    assert found == status
    match status:
        case 200:
            assert body == CONTENT
        case 206:
            assert body == CONTENT[1:3]
        case 304:
            assert body == b""
            assert answered[hdrs.ETAG] == ETAG
            assert hdrs.CONTENT_LENGTH not in answered
            assert hdrs.CONTENT_TYPE not in answered
        case 412:
            assert answered[hdrs.CONTENT_TYPE] == "application/problem+json"
    if status in (304, 412):
        assert (await fetch(headers, method="HEAD"))[0] == status


async def test_empty_file(shelf: Shelf, fetch: Fetch) -> None:
    async with shelf.store.writer() as writer:
        await writer.commit("empty")
    shelf.key = "empty"
    status, headers, body = await fetch()
    assert (status, headers[hdrs.CONTENT_LENGTH], body) == (200, "0", b"")
    assert (await fetch({"Range": "bytes=0-"}))[0] == 416
    assert (await fetch({"Range": "bytes=-5"}))[0] == 200


@pytest.mark.parametrize(
    ("given", "served"),
    [
        ("text/html", "application/octet-stream"),
        ("TEXT/HTML; charset=utf-8", "application/octet-stream"),
        ("application/xhtml+xml", "application/octet-stream"),
        ("nonsense", "application/octet-stream"),
        ("image/png\r\nX-Evil: 1", "application/octet-stream"),
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("application/vnd.oasis.opendocument.text", "application/vnd.oasis.opendocument.text"),
    ],
)
async def test_never_a_page(shelf: Shelf, fetch: Fetch, given: str, served: str) -> None:
    shelf.served["media_type"] = given
    _, headers, _ = await fetch()
    assert headers[hdrs.CONTENT_TYPE] == served
    assert "X-Evil" not in headers


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.text(max_size=320), min_size=1, max_size=5))
def test_any_file_name_arrives_as_one_attachment(tmp_path: Path, names: list[str]) -> None:
    async def check() -> None:
        store = LocalStore(tmp_path)
        await store.start()
        async with store.writer() as writer:
            await writer.write(CONTENT)
            await writer.commit("k")
        shelf = Shelf(store)
        app = web.Application()
        app.router.add_get("/file", shelf.handle)
        async with TestClient(TestServer(app)) as client:
            for shelf.served["filename"] in names:
                response = await client.get("/file", headers={"Range": "bytes=0-0"})
                assert await response.read() == CONTENT[:1]
                assert response.content_disposition is not None
                assert response.content_disposition.type == "attachment"
                assert len(response.headers.getall(hdrs.CONTENT_DISPOSITION)) == 1
        await store.close()

    asyncio.run(check())


async def test_cut_and_resumed_downloads_equal_the_digest(client: Client, shelf: Shelf) -> None:
    chance = random.Random(1)
    for _ in range(100):
        held = bytearray()
        while len(held) < SIZE:
            headers = {"Range": f"bytes={len(held)}-", "If-Range": ETAG} if held else {}
            async with client.get("/file", headers=headers) as response:
                assert response.status == (206 if held else 200)
                stop = chance.randint(1, SIZE)
                with contextlib.suppress(ClientPayloadError):
                    held += await response.content.read(stop)
                response.close()
        assert hashlib.sha256(held).hexdigest() == DIGEST
    await asyncio.gather(*(reader.closed.wait() for reader in shelf.readers))


async def raw_request(client: Client, receive_buffer: int | None = None) -> socket.socket:
    peer = socket.socket()
    if receive_buffer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(peer, (client.host, client.port))
    await loop.sock_sendall(peer, b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
    return peer


async def store_large(shelf: Shelf, megabytes: int) -> None:
    async with shelf.store.scratch() as scratch:
        with (scratch / "out").open("wb") as file:
            file.truncate(megabytes * 1024**2)
        await shelf.store.adopt(scratch / "out", "large")
    shelf.key = "large"


@pytest.mark.parametrize("real_file", [True, False])
async def test_a_client_that_hangs_up_is_no_error(
    client: Client, shelf: Shelf, caplog: pytest.LogCaptureFixture, real_file: bool
) -> None:
    await store_large(shelf, 32)
    shelf.probe["real_file"] = real_file
    peer = await raw_request(client, receive_buffer=4096)
    assert (await asyncio.get_running_loop().sock_recv(peer, 4096)).startswith(b"HTTP/1.1 200")
    peer.close()
    async with asyncio.timeout(10):
        await shelf.readers[0].closed.wait()
    assert caplog.records == []


@pytest.mark.parametrize("real_file", [True, False])
async def test_a_client_that_stalls_is_cut(
    client: Client,
    shelf: Shelf,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    real_file: bool,
) -> None:
    await store_large(shelf, 32)
    monkeypatch.setattr(downloads, "PIECE_SECONDS", 0.05)
    shelf.probe["real_file"] = real_file
    peer = await raw_request(client, receive_buffer=4096)
    async with asyncio.timeout(10):
        await shelf.asked.wait()
        await shelf.readers[0].closed.wait()
    peer.close()
    assert caplog.records == []


async def test_a_file_shorter_than_recorded_breaks_the_connection(client: Client, shelf: Shelf) -> None:
    shelf.probe["size"] = SIZE + 1
    async with client.get("/file") as response:
        with pytest.raises(ClientPayloadError):
            await response.read()


async def test_without_sendfile_it_streams(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    async def absent(*_: Any, **__: Any) -> int:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "sendfile", absent)
    status, _, body = await fetch({"Range": "bytes=7-"})
    assert (status, body) == (206, CONTENT[7:])


async def test_large_files_go_out_in_pieces(shelf: Shelf, client: Client) -> None:
    await store_large(shelf, 20)
    received = 0
    async with client.get("/file", headers={"Range": "bytes=1-"}) as response:
        async for chunk in response.content.iter_any():
            assert not any(chunk)
            received += len(chunk)
    assert received == 20 * 1024**2 - 1


async def test_one_connection_serves_many(client: Client, shelf: Shelf) -> None:
    peer = await raw_request(client)
    loop = asyncio.get_running_loop()
    for _ in range(3):
        received = b""
        while b"\r\n\r\n" not in received or len(received.split(b"\r\n\r\n", 1)[1]) < SIZE:
            received += await loop.sock_recv(peer, 1 << 20)
        assert received.split(b"\r\n\r\n", 1)[1] == CONTENT
        await loop.sock_sendall(peer, b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
    peer.close()
    await asyncio.gather(*(reader.closed.wait() for reader in shelf.readers))
