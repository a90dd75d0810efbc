"""Wrong requests: each has an error of its own that says what to change."""

from __future__ import annotations

import base64
import gzip
import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiohttp import FormData

from tests.support import samples
from tests.support.api import Api, Reply
from tests.support.data_dir import blobs
from tests.support.server import PATIENCE, ServerProcess

PNG = samples.picture()


async def raw(api: Api, body: bytes = PNG, **query: Any) -> dict[str, Any]:
    """The problem that a raw body gets."""
    return (await api.submit(body, **query)).any_problem()


async def send_part(api: Api, disposition: str, content: bytes, head: str = "X-None: 1") -> Reply:
    """The answer to a form of one part, as no client library would write it."""
    heads = f"Content-Disposition: form-data; {disposition}\r\n{head}\r\n\r\n"
    boundary = "a-boundary-as-long-as-those-of-curl-are"
    body = f"--{boundary}\r\n{heads}".encode() + content + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return await api.request("POST", "/jobs?to=webp", data=body, headers=headers)


@pytest.mark.parametrize(
    ("query", "code", "field", "says"),
    [
        ({"to": "webp", "quality": "101"}, "invalid_request", "quality", "from 1 to 100"),
        ({"to": "webp", "quality": "best"}, "invalid_request", "quality", "from 1 to 100"),
        ({"to": "webp", "sparkle": "3"}, "invalid_request", "sparkle", "no field or option"),
        ({"to": "webp", "video_bitrate": "3"}, "invalid_request", "video_bitrate", "allowed here"),
        ({"to": "webp", "file": "a.png"}, "invalid_request", "file", "itself"),
        ({"tto": "webp"}, "invalid_request", "tto", "did you mean 'to'"),
        ({"to": "webp", "options": '{"qualitty": 3}'}, "invalid_request", "qualitty", "'quality'"),
        ({"to": "webp", "options": "{"}, "invalid_request", "options", "JSON object"),
        ({"to": "webp", "options": "[1]"}, "invalid_request", "options", "JSON object"),
        ({"to": "webp", "metadata": "7"}, "invalid_request", "metadata", "JSON object"),
        ({"to": "webp", "min_fidelity": "perfect"}, "invalid_request", "min_fidelity", "exact"),
        ({"to": "webp", "operation": "explode"}, "invalid_request", "operation", "convert"),
        ({"to": "webp", "source": "zzz"}, "invalid_request", "source", "zzz"),
        (
            {"to": "webp", "callback_url": "ftp://a.example/"},
            "invalid_request",
            "callback_url",
            "http:// or https://",
        ),
        ({"to": "webp", "archive": "perhaps"}, "invalid_request", "archive", "true or false"),
        ({"to": "nonsense"}, "invalid_request", "to", "nonsense"),
        ({}, "invalid_request", "to", "missing"),
        ({"to": "mp3"}, "unsupported_format", None, "mp3"),
        ({"to": "docx"}, "unsupported_format", None, "docx"),
    ],
)
async def test_a_wrong_parameter(
    api: Api, query: dict[str, str], code: str, field: str | None, says: str
) -> None:
    problem = await raw(api, filename="a.png", **query)
    assert problem["code"] == code, problem
    assert says in problem["detail"]
    if field is not None:
        assert problem["field"] == field


@pytest.mark.parametrize(
    ("body", "name", "status", "code", "says"),
    [
        (b"", "a.png", 422, "file_invalid", "empty"),
        (b"Hello, I am text.\n" * 50, "x.png", 415, "unsupported_format", "png"),
        (b"\x00\x01\x02\x03" * 100, "x.png", 415, "unsupported_format", "png"),
        (b"\x00\x01\x02\x03" * 100, "", 415, "unsupported_format", "no format"),
        (PNG, "x.mp3", 415, "unsupported_format", "mp3"),
        (PNG, "x.pdf", 415, "unsupported_format", "png"),
    ],
)
async def test_a_file_that_is_not_what_it_says(
    api: Api, body: bytes, name: str, status: int, code: str, says: str
) -> None:
    reply = await api.submit(body, to="webp", filename=name)
    assert says in reply.problem(status, code)["detail"]


async def test_a_text_named_as_a_picture_says_both(api: Api) -> None:
    detail = (await raw(api, b"Hello, I am text.\n", to="webp", filename="x.png"))["detail"]
    assert "png" in detail
    assert "text" in detail


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/jobs/01ARZ3NDEKTSV4RRFFQ69G5FAV", 404, "not_found"),
        ("GET", "/jobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, "not_found"),
        ("GET", "/jobs/' OR 1=1 --", 404, "not_found"),
        ("GET", "/jobs/%00", 404, "not_found"),
        ("DELETE", "/jobs/nothing", 404, "not_found"),
        ("POST", "/jobs/nothing/retry", 404, "not_found"),
        ("PATCH", "/jobs", 405, "invalid_request"),
        ("DELETE", "/formats", 405, "invalid_request"),
        ("GET", "/convert", 405, "invalid_request"),
        ("GET", "/download/abc", 410, "expired"),
        ("GET", "/download/" + "A" * 5000, 410, "expired"),
        ("GET", "/formats?source=zzz", 400, "invalid_request"),
        ("GET", "/formats?sauce=png", 400, "invalid_request"),
        ("GET", "/jobs?foo=1", 400, "invalid_request"),
        ("GET", "/jobs/nothing?wait=5", 400, "invalid_request"),
        ("DELETE", "/jobs/nothing?now=1", 400, "invalid_request"),
        ("POST", "/jobs/nothing/retry?to=webp", 400, "invalid_request"),
        ("GET", "/version?x", 400, "invalid_request"),
        ("GET", "/openapi.json?x=", 400, "invalid_request"),
    ],
)
async def test_a_wrong_address(api: Api, method: str, path: str, status: int, code: str) -> None:
    reply = await api.request(method, path)
    reply.problem(status, code)
    if status == 405:
        assert reply.headers["Allow"]


async def test_an_unknown_expectation(api: Api) -> None:
    reply = await api.request("POST", "/jobs?to=webp", data=PNG, headers={"Expect": "a-miracle"})
    reply.problem(417, "invalid_request")


class TestForms:
    async def test_without_a_file(self, api: Api) -> None:
        form = FormData()
        form.add_field("to", "webp")
        form.add_field("note", "x", content_type="text/plain")
        problem = (await api.submit(form)).problem(400, "invalid_request")
        assert problem["field"] in ("file", "note")

    async def test_with_a_broken_boundary(self, api: Api) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
        reply = await api.request("POST", "/jobs", data=b"no boundary anywhere", headers=headers)
        reply.problem(400, "invalid_request")

    async def test_without_a_boundary(self, api: Api) -> None:
        headers = {"Content-Type": "multipart/form-data"}
        (await api.request("POST", "/jobs", data=b"x", headers=headers)).problem(400, "invalid_request")

    async def test_cut_short(self, api: Api) -> None:
        body = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + PNG[:500]
        headers = {"Content-Type": "multipart/form-data; boundary=xyz"}
        (await api.request("POST", "/jobs", data=body, headers=headers)).problem(400, "invalid_request")

    async def test_with_a_form_inside_a_form(self, api: Api) -> None:
        body = b"--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--a--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=a"}
        (await api.request("POST", "/jobs", data=body, headers=headers)).problem(400, "invalid_request")

    async def test_with_too_many_fields(self, api: Api) -> None:
        form = FormData({f"field{number}": "x" for number in range(1100)}, default_to_multipart=True)
        (await api.submit(form)).problem(400, "invalid_request")

    async def test_with_too_many_files(self, api: Api) -> None:
        form = FormData()
        for number in range(101):
            form.add_field("file", PNG, filename=f"{number}.png")
        problem = (await api.submit(form, to="webp")).problem(400, "invalid_request")
        assert "100 files" in problem["detail"]

    async def test_with_a_field_as_long_as_a_file(self, api: Api) -> None:
        form = FormData({"to": "w" * 100_000}, default_to_multipart=True)
        problem = (await api.submit(form)).problem(400, "invalid_request")
        assert problem["field"] == "to"

    async def test_with_a_field_that_is_no_text(self, api: Api) -> None:
        form = FormData()
        form.add_field("to", b"\xff\xfe", content_type="application/octet-stream")
        (await api.submit(form)).problem(400, "invalid_request")

    async def test_with_many_long_fields(self, api: Api) -> None:
        form = FormData({f"field{number}": "x" * 60_000 for number in range(20)}, default_to_multipart=True)
        problem = (await api.submit(form)).problem(413, "too_large")
        assert "1048576 bytes" in problem["detail"]
        assert "text fields" in problem["detail"]

    @pytest.mark.parametrize(
        "head",
        [
            "Content-Transfer-Encoding: xyz",
            "Content-Transfer-Encoding: quoted-printable",
            "Content-Encoding: br",
            "X-Long: " + "y" * 9000,
            "\r\n".join(["X: y"] * 100_000),
        ],
        ids=["transfer", "quoted", "packed", "long", "many"],
    )
    @pytest.mark.parametrize("name", ["file", "to"])
    async def test_with_a_part_that_cannot_be_read(self, api: Api, head: str, name: str) -> None:
        (await send_part(api, f'name="{name}"', b"\x00png", head)).problem(400, "invalid_request")

    async def test_with_a_strange_character_set(self, api: Api) -> None:
        (await send_part(api, 'name="_charset_"', b"x" * 100)).problem(400, "invalid_request")

    async def test_with_a_packed_part(self, api: Api, server: ServerProcess) -> None:
        stored = blobs(server.data_dir)
        bomb = gzip.compress(bytes(50_000_000))
        reply = await send_part(api, 'name="file"; filename="a.png"', bomb, "Content-Encoding: gzip")
        assert "unpacked" in reply.problem(400, "invalid_request")["detail"]
        assert blobs(server.data_dir) == stored

    async def test_base64_is_read_whole(self, api: Api) -> None:
        """Also where a chunk of it holds nothing but line ends."""
        text = base64.encodebytes(PNG)
        text = text[:770] + b"\r\n" * 400_000 + text[770:]
        head = "Content-Transfer-Encoding: base64"
        reply = await send_part(api, 'name="file"; filename="a.png"', text, head)
        assert reply.job(202)["inputs"][0]["sha256"] == hashlib.sha256(PNG).hexdigest()
        (await send_part(api, 'name="file"; filename="a.png"', b"abc", head)).problem(400, "invalid_request")

    @pytest.mark.parametrize("name", ["fil", "files", "to", ""])
    async def test_with_a_file_under_another_name(self, api: Api, name: str) -> None:
        reply = await send_part(api, f'name="{name}"; filename="a.png"', PNG)
        problem = reply.problem(400, "invalid_request")
        assert "'file'" in problem["detail"]
        assert problem.get("field", "") == name

    @pytest.mark.parametrize("name", ["file[]", "file[0]"])
    async def test_with_an_index_as_php_sends_it(self, api: Api, name: str) -> None:
        (await send_part(api, f'name="{name}"; filename="a.png"', PNG)).job(202)

    @pytest.mark.parametrize("path", ["photo.png", "/home/me/fotos/Süden 1.png"])
    async def test_with_a_path_in_place_of_the_file(self, api: Api, path: str) -> None:
        problem = (await send_part(api, 'name="file"', path.encode())).problem(400, "invalid_request")
        assert "file name" in problem["detail"]
        assert "'@'" in problem["detail"]

    async def test_a_file_without_a_name_is_a_file(self, api: Api) -> None:
        (await send_part(api, 'name="file"', PNG)).job(202)

    async def test_with_an_empty_file_among_good_ones(self, api: Api) -> None:
        form = FormData()
        form.add_field("file", PNG, filename="good.png")
        form.add_field("file", b"", filename="empty.png")
        problem = (await api.submit(form, to="webp")).problem(422, "file_invalid")
        assert "empty.png" in problem["detail"]

    async def test_url_encoded(self, api: Api) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = await api.request("POST", "/jobs", data=b"to=webp&file=x", headers=headers)
        assert "-F" in reply.problem(400, "invalid_request")["detail"]


class TestJson:
    @pytest.mark.parametrize(
        "body", [b"{", b"[]", b"7", b'{"to": 7}', b'{"to":"webp"}', b"\xff", b'{"to":[[]]}', b"[" * 100_000]
    )
    async def test_wrong(self, api: Api, body: bytes) -> None:
        reply = await api.request("POST", "/jobs", data=body, headers={"Content-Type": "application/json"})
        reply.problem(400, "invalid_request")

    async def test_too_long(self, api: Api) -> None:
        body = b'{"to": "' + b"w" * 2_000_000 + b'"}'
        reply = await api.request("POST", "/jobs", data=body, headers={"Content-Type": "application/json"})
        reply.problem(413, "too_large")


class TestRawConnections:
    """What no client library would send."""

    @contextmanager
    def connected(self, server: ServerProcess) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
            yield connection

    def exchange(self, server: ServerProcess, *pieces: bytes) -> bytes:
        """Everything that the server answers until it closes."""
        with self.connected(server) as connection:
            for piece in pieces:
                connection.sendall(piece)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        return answer

    def test_an_address_that_is_sent_whole_counts_as_its_path(self, server: ServerProcess) -> None:
        host = f"Host: 127.0.0.1:{server.port}\r\nContent-Type: image/png\r\nConnection: close\r\n"
        head = f"POST http://evil.example/jobs?to=webp HTTP/1.1\r\n{host}Content-Length: {len(PNG)}\r\n\r\n"
        answer = self.exchange(server, head.encode() + PNG)
        assert answer.startswith(b"HTTP/1.1 202 ")
        assert b"evil.example" not in answer

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"NONSENSE\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
            b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
            b"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ],
        ids=[
            "method",
            "version",
            "header",
            "long-header",
            "long-path",
            "many-headers",
            "length",
            "smuggling",
            "tls",
        ],
    )
    def test_broken_http_gets_a_problem_document(self, server: ServerProcess, request_bytes: bytes) -> None:
        answer = self.exchange(server, request_bytes)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:500]
        assert b"application/problem+json" in head, answer[:500]
        assert b'"code":"invalid_request"' in body
        assert b"Server: convertd" in head

    def test_broken_chunks(self, server: ServerProcess) -> None:
        host = f"Host: 127.0.0.1:{server.port}\r\n".encode()
        head = b"POST /jobs?to=webp HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n"
        answer = self.exchange(server, head + b"5\r\nhello\r\nZZ\r\n")
        assert b" 400 " in answer.split(b"\r\n")[0], answer[:300]
        assert b"application/problem+json" in answer
