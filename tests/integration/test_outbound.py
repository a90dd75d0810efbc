"""The outbound gate over real connections: what it never reaches, what it brings, and how it fails."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer

from convertd.errors import ConvertdError, FetchFailed, FetchRefused, TooLarge, Unavailable
from convertd.net.outbound import FETCHES_PER_ACCOUNT, Gate, OutboundPolicy
from convertd.net.resolver import PER_ACCOUNT

PUBLIC = "93.184.215.14"
ALICE = "alice"
NOW = 1_700_000_000.0
FAR = "files.example.org"
"""A name that leads to this machine and that the gates of most tests trust on the far side's port."""


class Names(AbstractResolver):
    """Resolves from a table; of several answers to one name each is given once, the last for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def add(self, name: str, *answers: list[str]) -> None:
        self.answers[name] = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        answers = self.answers[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=0, flags=0)
            for one in addresses
        ]

    async def close(self) -> None:
        pass


class Canary:
    """A port on loopback that counts who connects."""

    def __init__(self) -> None:
        self.port = 0
        self._peers: asyncio.Queue[Any] = asyncio.Queue()

    def accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peers.put_nowait(writer.get_extra_info("peername"))
        writer.close()

    async def visitors(self) -> int:
        """Connections so far: the port takes them in order, so all that came before one of our own."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        own = writer.get_extra_info("sockname")
        count = 0
        while await asyncio.wait_for(self._peers.get(), 10) != own:
            count += 1
        writer.close()
        return count


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    bird = Canary()
    server = await asyncio.start_server(bird.accept, "127.0.0.1", 0)
    bird.port = server.sockets[0].getsockname()[1]
    yield bird
    assert await bird.visitors() == 0
    server.close()
    await server.wait_closed()


class Far:
    """The far side: a server whose answers a test chooses by path."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}
        self.requests: list[web.Request] = []
        self.port = 0

    def url(self, path: str) -> str:
        return f"http://{FAR}:{self.port}{path}"

    def answer(self, path: str, **response: Any) -> str:
        async def handler(_: web.Request) -> web.StreamResponse:
            return web.Response(**response)

        self.handlers[path] = handler
        return self.url(path)

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        return self.answer(path, status=status, headers={"Location": location})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return await self.handlers[request.path](request)


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    side = Far()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", side.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        assert server.port is not None
        side.port = server.port
        yield side


@pytest.fixture
def names() -> Names:
    table = Names()
    table.add(FAR, ["127.0.0.1"])
    return table


@pytest.fixture
def gate(far: Far, names: Names) -> Gate:
    return gate_to(names, f"{FAR}:{far.port}")


def gate_to(names: AbstractResolver | None, *allow: str, **policy: float) -> Gate:
    """A gate that lets out to ``allow``."""
    return Gate(OutboundPolicy(allow=allow, **policy), resolver=names, now=lambda: NOW)


async def fetched(gate: Gate, url: str, max_bytes: int = 1_000_000) -> bytes:
    async with gate.fetch(url, account=ALICE, field="source_url", max_bytes=max_bytes) as file:
        return b"".join([chunk async for chunk in file.chunks()])


async def posted(gate: Gate, url: str) -> None:
    await gate.post(url, account=ALICE, headers={}, body=b"{}", timeout=10)


ASKING = [fetched, posted]
Ask = Callable[[Gate, str], Awaitable[Any]]


# What is never reached


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.1", "127.1", "0", "127.0.0.1."),
        *("[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::]", "①②⑦.0.0.1"),
    ],
)
async def test_no_spelling_reaches_loopback(canary: Canary, ask: Ask, host: str) -> None:
    gate = gate_to(None)
    with pytest.raises(FetchRefused, match=r"outbound\.allow"):
        await ask(gate, f"http://{host}:{canary.port}/")


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::1%lo", "not an address"]
)
async def test_no_name_leads_to_loopback(canary: Canary, names: Names, ask: Ask, address: str) -> None:
    names.add("evil.example", [address])
    gate = gate_to(names)
    with pytest.raises(FetchRefused, match=r"evil\.example is not on the public internet") as caught:
        await ask(gate, f"http://evil.example:{canary.port}/")
    assert address not in caught.value.message
    assert address in (caught.value.detail or "")


@pytest.mark.parametrize("ask", ASKING)
async def test_a_name_that_changes_between_check_and_use(canary: Canary, names: Names, ask: Ask) -> None:
    names.add("evil.example", [PUBLIC], ["127.0.0.1"])
    url = f"http://evil.example:{canary.port}/"
    gate = gate_to(names)
    await gate.resolve_check(url, account=ALICE, field="callback_url")
    with pytest.raises(FetchRefused):
        await ask(gate, url)
    assert names.asked == ["evil.example", "evil.example"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:7f00:1]", "0x7f.1", "inner.example"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_leads_to_loopback(
    canary: Canary, far: Far, gate: Gate, names: Names, host: str, status: int
) -> None:
    names.add("inner.example", ["127.0.0.1"])
    url = far.redirect("/file", f"http://{host}:{canary.port}/", status)
    with pytest.raises(FetchRefused):
        await fetched(gate, url)


async def test_a_trusted_name_that_redirects_elsewhere_lends_no_trust(
    canary: Canary, far: Far, gate: Gate
) -> None:
    """Not to another port of its own either."""
    with pytest.raises(FetchRefused):
        await fetched(gate, far.redirect("/file", f"http://{FAR}:{canary.port}/"))


async def test_forbidden_addresses_of_a_name_are_passed_over(canary: Canary, far: Far, names: Names) -> None:
    names.add("mixed.example", ["10.0.0.1", "127.0.0.2", "127.0.0.1"])
    far.answer("/file", body=b"content")
    gate = gate_to(names, "127.0.0.1")
    await gate.resolve_check(f"http://mixed.example:{far.port}/file", account=ALICE, field="f")
    assert await fetched(gate, f"http://mixed.example:{far.port}/file") == b"content"


async def test_the_system_resolver_finds_localhost(far: Far) -> None:
    far.answer("/file", body=b"content")
    gate = gate_to(None, f"127.0.0.1:{far.port}")
    assert await fetched(gate, f"http://localhost:{far.port}/file") == b"content"
    with pytest.raises(FetchFailed, match="was not found"):
        await fetched(gate, "http://convertd-test.invalid/")


async def test_names_without_an_answer_delay_no_other_account(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor do they hold a thread for each request: what is past the account's share waits, and gives up."""
    far.answer("/file", body=b"content")
    answered, look_up = threading.Event(), socket.getaddrinfo
    asked: list[str] = []

    def getaddrinfo(host: str, *given: Any, **named: Any) -> Any:
        if host.startswith("silent"):
            asked.append(host)
            answered.wait(30)
            raise OSError
        return look_up("127.0.0.1", *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    gate = gate_to(None, f"quick.example:{far.port}", connect_seconds=0.2)
    silent = [
        gate.resolve_check(f"http://silent-{number}.example", account="mallory", field="f")
        for number in range(200)
    ]
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(*silent)  # a name that cannot be found now is no error
            assert len(asked) == PER_ACCOUNT
            assert await fetched(gate, f"http://quick.example:{far.port}/file") == b"content"
            answered.set()
            while not await found(gate, "mallory", f"http://quick.example:{far.port}/file"):
                pass  # until the threads have ended
    finally:
        answered.set()


async def found(gate: Gate, account: str, url: str) -> bool:
    """Whether the account gets the file."""
    try:
        async with gate.fetch(url, account=account, field="f", max_bytes=100):
            return True
    except FetchFailed:
        return False


async def test_a_host_without_threads_is_one_without_names(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    far.answer("/file", body=b"content")
    gate = gate_to(None, f"localhost:{far.port}")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        for _ in range(PER_ACCOUNT + 1):
            with pytest.raises(FetchFailed, match="was not found"):
                await fetched(gate, far.url("/file").replace(FAR, "localhost"))
    assert await fetched(gate, far.url("/file").replace(FAR, "localhost")) == b"content"


def test_a_process_does_not_wait_for_a_name_at_its_end() -> None:
    program = """
import asyncio, socket, threading
from convertd.net.outbound import FETCHES_PER_ACCOUNT, Gate, OutboundPolicy

socket.getaddrinfo = lambda *_, **__: threading.Event().wait()
gate = Gate(OutboundPolicy(connect_seconds=0.01))
asyncio.run(gate.resolve_check("http://silent.example", account="a", field="f"))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


async def test_an_account_fetches_so_many_files_at_a_time(far: Far, names: Names) -> None:
    arrived: asyncio.Queue[None] = asyncio.Queue()
    go = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        arrived.put_nowait(None)
        await go.wait()
        return web.Response(body=b"content")

    far.handlers["/slow"] = slow
    far.answer("/file", body=b"content")
    gate = gate_to(names, f"{FAR}:{far.port}", turn_seconds=0.05)
    busy = [asyncio.create_task(fetched(gate, far.url("/slow"))) for _ in range(FETCHES_PER_ACCOUNT)]
    for _ in busy:
        await arrived.get()
    with pytest.raises(Unavailable) as refused:
        await fetched(gate, far.url("/file"))
    assert refused.value.retry_after is not None
    async with gate.fetch(far.url("/file"), account="bob", field="f", max_bytes=100) as file:
        assert [chunk async for chunk in file.chunks()] == [b"content"]
    go.set()
    assert set(await asyncio.gather(*busy)) == {b"content"}
    assert await fetched(gate, far.url("/file")) == b"content"


# The check at submit


async def test_a_name_with_forbidden_addresses_alone_is_refused_at_submit(names: Names) -> None:
    names.add("inner.example", ["10.0.0.1", "fd00::1"])
    names.add("mixed.example", ["10.0.0.1", PUBLIC])
    gate = gate_to(names)
    with pytest.raises(FetchRefused) as caught:
        await gate.resolve_check("https://inner.example/x", account=ALICE, field="callback_url")
    assert caught.value.field == "callback_url"
    await gate.resolve_check("https://mixed.example/x", account=ALICE, field="callback_url")
    await gate.resolve_check("https://unknown.example/x", account=ALICE, field="callback_url")


async def test_the_operators_word_goes_before_the_addresses(names: Names, far: Far) -> None:
    names.add("inner.example", ["10.0.0.1"])
    gate = gate_to(names, "inner.example:443")
    await gate.resolve_check("https://inner.example/x", account=ALICE, field="f")
    with pytest.raises(FetchRefused):
        await gate.resolve_check("http://inner.example/x", account=ALICE, field="f")


@pytest.mark.parametrize("ask", ASKING)
async def test_a_listed_port_is_open_and_no_other(canary: Canary, far: Far, ask: Ask) -> None:
    far.answer("/file", body=b"content")
    for host in ("127.0.0.1", "localhost"):
        gate = gate_to(None, f"{host}:{far.port}")
        await ask(gate, f"http://{host}:{far.port}/file")
        with pytest.raises(FetchRefused):
            await ask(gate, f"http://{host}:{canary.port}/file")
    assert len(far.requests) == 2


# Fetching


@pytest.mark.parametrize(
    ("disposition", "path", "name"),
    [
        (None, "/a/report%20%C3%BC.pdf", "report ü.pdf"),
        (None, "/a/b.tar.gz/?x=y.png", "b.tar.gz"),
        (None, "/..%2F..%2Fetc%2Fpasswd", "passwd"),
        (None, "/", "download"),
        (None, "/..%2F", "download"),
        ('attachment; filename="x.png"', "/a", "x.png"),
        ("attachment; filename=x.png", "/a", "x.png"),
        ("attachment; filename*=UTF-8''%e2%82%ac.png; filename=\"eur.png\"", "/a", "€.png"),
        ("attachment; filename=\"eur.png\"; filename*=utf-8''%e2%82%ac.png", "/a", "€.png"),
        ('attachment; filename="../../etc/x.png"', "/a", "x.png"),
        ('attachment; filename="C:\\\\dir\\\\x.png"', "/a", "x.png"),
        ("attachment; filename*=UTF-8''a%00%0d%0a%e2%80%aeb.png", "/a", "ab.png"),
        ("attachment; filename*=nonsense''%ff.png", "/a", "ÿ.png"),
        ('attachment; filename="ü.png"', "/a", "ü.png"),
        ('attachment; filename=""', "/a.png", "a.png"),
        ('attachment; filename="unclosed', "/a.png", "unclosed"),
        ("attachment", "/a.png", "a.png"),
        (";;=;", "/a.png", "a.png"),
    ],
)
async def test_the_name_of_the_file(
    far: Far, gate: Gate, disposition: str | None, path: str, name: str
) -> None:
    headers = {} if disposition is None else {"Content-Disposition": disposition}

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x", headers=headers, content_type="image/png")

    far.handlers = AnyPath(handle)
    async with gate.fetch(far.url(path), account=ALICE, field="f", max_bytes=1) as file:
        assert (file.name, file.media_type, file.length) == (name, "image/png", 1)


class AnyPath(dict[str, Any]):
    """One handler for all paths."""

    def __init__(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        super().__init__()
        self._handler = handler

    def __missing__(self, _: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        return self._handler


async def test_redirects_are_followed_to_the_file(far: Far, gate: Gate) -> None:
    far.answer("/5.png", body=b"content")
    for number, location in enumerate(["/1", "2", "./3", far.url("/4"), "5.png#part"]):
        far.redirect(f"/{number}", location)
    async with gate.fetch(far.url("/0"), account=ALICE, field="f", max_bytes=100) as file:
        assert file.name == "5.png"
        assert [chunk async for chunk in file.chunks()] == [b"content"]
    with pytest.raises(FetchFailed, match="more than 5 redirects"):
        await fetched(gate, far.redirect("/first", "/0"))


async def test_nothing_of_this_machine_goes_along(
    far: Far, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    far.answer("/file", body=b"x", headers={"Set-Cookie": "a=b"})
    await fetched(gate, far.redirect("/first", "/file"))
    await fetched(gate, far.url("/file"))
    for request in far.requests:
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.headers["User-Agent"].startswith("convertd/")
        assert {"Cookie", "Authorization", "Referer"}.isdisjoint(request.headers)


async def test_a_large_file_comes_in_small_pieces(far: Far, gate: Gate) -> None:
    far.answer("/file", body=bytes(5_000_000))
    sizes = []
    async with gate.fetch(far.url("/file"), account=ALICE, field="f", max_bytes=5_000_000) as file:
        async for chunk in file.chunks():
            sizes.append(len(chunk))
    assert sum(sizes) == 5_000_000
    assert max(sizes) <= 1_000_000


@pytest.mark.parametrize("status", [201, 204, 206, 304, 401, 404, 500])
async def test_any_other_status_fails(far: Far, gate: Gate, status: int) -> None:
    with pytest.raises(FetchFailed, match=f"status {status}") as caught:
        await fetched(gate, far.answer("/file", status=status))
    assert caught.value.field == "source_url"


@pytest.mark.parametrize(
    "location", ["ftp://example.org/", "http://u:p@example.org/", "http://[", "http:\\\\x"]
)
async def test_a_redirect_to_what_is_no_address_fails(far: Far, gate: Gate, location: str) -> None:
    with pytest.raises(FetchFailed, match="redirects to an address that cannot be used"):
        await fetched(gate, far.redirect("/file", location))


async def test_an_announced_size_is_refused_at_once(far: Far, gate: Gate) -> None:
    url = far.answer("/file", body=bytes(101))
    with pytest.raises(TooLarge):
        async with gate.fetch(url, account=ALICE, field="f", max_bytes=100):
            pytest.fail("it was let through")
    assert len(await fetched(gate, url, max_bytes=101)) == 101


async def test_a_size_that_was_not_announced_is_cut_off(far: Far, gate: Gate) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(1000))

    far.handlers["/file"] = endless
    with pytest.raises(TooLarge):
        await fetched(gate, far.url("/file"), max_bytes=10_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_a_compressed_transfer_is_not_taken(far: Far, gate: Gate, encoding: str) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    url = far.answer("/file", body=bomb, headers={"Content-Encoding": encoding})
    with pytest.raises(FetchFailed, match="compressed"):
        await fetched(gate, url)


async def test_a_compressed_file_comes_as_it_is(far: Far, gate: Gate) -> None:
    content = gzip.compress(b"x")
    url = far.answer("/a.gz", body=content, content_type="application/gzip")
    assert await fetched(gate, url) == content


# Far sides that fail


class Raw:
    """A far side that writes bytes as a test gives them, then holds or closes the connection."""

    def __init__(self, reply: bytes, *, hold: bool = False) -> None:
        self.reply = reply
        self.hold = hold
        self.over = asyncio.Event()
        self.url = ""

    async def __aenter__(self) -> Raw:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/file"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.over.set()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.reply)
        await writer.drain()
        if self.hold:
            await self.over.wait()
        writer.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (HEAD + b"short", "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", "broke off"),
        (b"", "broke off"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "not HTTP"),
    ],
)
async def test_broken_answers(reply: bytes, words: str) -> None:
    gate = gate_to(None, "127.0.0.1")
    async with Raw(reply) as raw:
        with pytest.raises(FetchFailed, match=words) as caught:
            await fetched(gate, raw.url)
    assert "127.0.0.1" in caught.value.message
    assert caught.value.field == "source_url"


@pytest.mark.parametrize("reply", [b"", HEAD, HEAD + b"half"])
async def test_a_far_side_that_falls_silent(reply: bytes) -> None:
    gate = gate_to(None, "127.0.0.1", idle_seconds=0.05)
    async with Raw(reply, hold=True) as raw:
        with pytest.raises(FetchFailed, match="did not answer in time"):
            await fetched(gate, raw.url)


@pytest.mark.parametrize("reply", [b"", HEAD + b"half"])
async def test_the_time_for_a_whole_file(reply: bytes) -> None:
    gate = gate_to(None, "127.0.0.1", fetch_seconds=0.05)
    async with Raw(reply, hold=True) as raw:
        with pytest.raises(FetchFailed, match=r"longer than 0\.05 seconds \(outbound\.fetch_time\)"):
            await fetched(gate, raw.url)


async def test_the_callers_own_errors_stay_its_own(far: Far, gate: Gate) -> None:
    url = far.answer("/file", body=b"x")
    for own in (TimeoutError("disk"), OSError("disk"), KeyError("x")):
        with pytest.raises(type(own), match=str(own.args[0])):
            async with gate.fetch(url, account=ALICE, field="f", max_bytes=1):
                raise own


async def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        gate = gate_to(None, "127.0.0.1")
        with pytest.raises(FetchFailed, match="did not accept the connection"):
            await fetched(gate, f"http://127.0.0.1:{bound.getsockname()[1]}/")


async def test_no_tls_where_it_is_asked_for(far: Far, gate: Gate) -> None:
    with pytest.raises(FetchFailed, match="over TLS"):
        await fetched(gate, far.url("/").replace("http:", "https:"))


# Posting


async def test_an_answer(far: Far, gate: Gate) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        assert await request.read() == b'{"a": 1}'
        return web.Response(status=202, text="taken\x00 \x1b[31m\n" + "x" * 2000)

    far.handlers["/hook"] = echo
    answer = await gate.post(
        far.url("/hook"),
        account=ALICE,
        headers={"webhook-id": "m", "user-agent": "Other"},
        body=b'{"a": 1}',
        timeout=10,
    )
    assert (answer.status, answer.retry_after) == (202, None)
    assert answer.body == ("taken [31m " + "x" * 2000)[:1000]
    (request,) = far.requests
    assert (request.method, request.headers["webhook-id"]) == ("POST", "m")
    assert request.headers.getall("User-Agent") == ["Other"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_only_a_status(far: Far, gate: Gate, canary: Canary, status: int) -> None:
    url = far.redirect("/hook", f"http://127.0.0.1:{canary.port}/", status)
    assert (await gate.post(url, account=ALICE, headers={}, body=b"", timeout=10)).status == status
    assert len(far.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        *(("120", 120.0), (" 0 ", 0.0), (formatdate(NOW + 90, usegmt=True), 90.0)),
        *(
            (formatdate(NOW - 90, usegmt=True), 0.0),
            ("-1", None),
            ("soon", None),
            ("", None),
            ("9" * 12, 999_999_999_999.0),
            ("9" * 101, None),
        ),
    ],
)
async def test_retry_after(far: Far, gate: Gate, header: str, seconds: float | None) -> None:
    url = far.answer("/hook", status=503, headers={"Retry-After": header})
    assert (await gate.post(url, account=ALICE, headers={}, body=b"", timeout=10)).retry_after == seconds


async def test_an_endless_answer_is_read_to_64_kb(far: Far, gate: Gate) -> None:
    written = 0
    gone = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 10_000)
                written += 10_000
        finally:
            gone.set()

    far.handlers["/hook"] = endless
    answer = await gate.post(far.url("/hook"), account=ALICE, headers={}, body=b"", timeout=10)
    assert answer.body == "x" * 1000
    await asyncio.wait_for(gone.wait(), 10)
    assert written < 20_000_000  # what the sockets' buffers hold


async def test_an_answer_counts_from_its_status_on() -> None:
    gate = gate_to(None, "127.0.0.1")
    async with Raw(HEAD + b"half", hold=True) as raw:
        answer = await gate.post(raw.url, account=ALICE, headers={}, body=b"", timeout=0.05)
    assert (answer.status, answer.body) == (200, "half")
    async with Raw(HEAD + b"half") as raw:
        answer = await gate.post(raw.url, account=ALICE, headers={}, body=b"", timeout=10)
    assert (answer.status, answer.body) == (200, "half")


async def test_the_rest_of_an_answer_is_not_waited_for_long() -> None:
    async with Raw(HEAD + b"half", hold=True) as raw:
        gate = gate_to(None, "127.0.0.1", answer_seconds=0.05)
        answer = await gate.post(raw.url, account=ALICE, headers={}, body=b"", timeout=60)
    assert (answer.status, answer.body) == (200, "half")


async def test_an_answer_may_take_as_long_as_its_caller_waits(far: Far) -> None:
    async def thoughtful(request: web.Request) -> web.Response:
        await asyncio.sleep(0.1)
        return web.Response()

    far.handlers["/hook"] = thoughtful
    gate = gate_to(None, "127.0.0.1", idle_seconds=0.02)
    url = f"http://127.0.0.1:{far.port}/hook"
    assert (await gate.post(url, account=ALICE, headers={}, body=b"", timeout=10)).status == 200


@pytest.mark.parametrize(("hold", "words"), [(True, "did not answer in time"), (False, "broke off")])
async def test_no_answer(hold: bool, words: str) -> None:
    gate = gate_to(None, "127.0.0.1")
    async with Raw(b"", hold=hold) as raw:
        with pytest.raises(FetchFailed, match=words):
            await gate.post(raw.url, account=ALICE, headers={}, body=b"x", timeout=0.05 if hold else 10)


async def test_a_name_that_is_not_there(names: Names) -> None:
    gate = gate_to(names)
    with pytest.raises(ConvertdError, match=r"gone\.example was not found"):
        await posted(gate, "http://gone.example/")
