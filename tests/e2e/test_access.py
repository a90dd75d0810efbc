"""Who may do what: open on loopback without keys, and closed to strangers with them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from aiohttp import ClientSession

from convertd.app import open_keyring
from tests.e2e.conftest import Start
from tests.support import samples
from tests.support.api import Api
from tests.support.origin import Origin
from tests.support.server import ServerProcess, convertd

PNG = samples.picture()


def create_key_by_command(data_dir: Path, name: str, *more: str) -> str:
    ended = convertd("keys", "create", name, "--data-dir", str(data_dir), *more)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()[-1]


def create_key(data_dir: Path, name: str, account: str | None = None) -> str:
    """The same without the half second that the command takes to start."""
    with open_keyring(data_dir) as keyring:
        return keyring.create(name, account=account, now=time.time())


def revoke_key(data_dir: Path, name: str) -> None:
    assert convertd("keys", "revoke", name, "--data-dir", str(data_dir)).returncode == 0


def with_key(session: ClientSession, server: ServerProcess, key: str) -> Api:
    return Api(session, server.url, {"Authorization": f"Bearer {key}"})


class TestOpen:
    """A server on loopback without keys answers this machine's programs, and no web page."""

    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "evil.example"},
            {"Host": "evil.example:{port}"},
            {"Host": "127.0.0.1"},
            {"Host": "127.0.0.1:1"},
            {"Host": "127.0.0.1.evil.example:{port}"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Origin": "http://127.0.0.1:{port}.evil.example"},
            {"Origin": "http://evil.example@127.0.0.1:{port}"},
            {"Origin": ""},
        ],
        ids=str,
    )
    async def test_what_another_page_sends_is_refused(
        self, api: Api, server: ServerProcess, headers: dict[str, str]
    ) -> None:
        sent = {name: value.format(port=server.port) for name, value in headers.items()}
        for method, path in (
            ("POST", "/jobs?to=webp"),
            ("GET", "/jobs"),
            ("GET", "/formats"),
            ("PUT", "/convert"),
        ):
            reply = await api.request(method, path, headers=sent, data=PNG if method != "GET" else None)
            reply.problem(401, "unauthorized")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "localhost:{port}"},
            {"Host": "LOCALHOST:{port}"},
            {"Host": "[::1]:{port}"},
            {"Origin": "http://127.0.0.1:{port}"},
            {"Host": "localhost:{port}", "Origin": "http://localhost:{port}"},
        ],
        ids=str,
    )
    async def test_its_own_names_are_answered(
        self, api: Api, server: ServerProcess, headers: dict[str, str]
    ) -> None:
        sent = {name: value.format(port=server.port) for name, value in headers.items()}
        assert (await api.get("/jobs", headers=sent)).status == 200

    async def test_the_configured_address_is_its_own(self, start: Start, session: ClientSession) -> None:
        server = start(LINKS_BASE_URL="http://localhost:9000")
        api = Api(session, server.url)
        reply = await api.submit(PNG, to="webp", filename="a.png", wait=30)
        assert reply.job(200)["outputs"][0]["url"].startswith("http://localhost:9000/download/")
        assert (await api.get("/jobs", headers={"Host": "localhost:9000"})).status == 200
        (await api.get("/jobs", headers={"Host": "other.example"})).problem(401, "unauthorized")


class TestPublished:
    """A public address means a proxy on this machine that lets others in: never without a key."""

    ADDRESS = "https://convert.example.com"

    def test_it_does_not_start_without_a_key(self, tmp_path: Path) -> None:
        ended = convertd(
            "serve", "--port", "0", "--data-dir", str(tmp_path), env={"CONVERTD_LINKS_BASE_URL": self.ADDRESS}
        )
        assert ended.returncode == 1
        assert "convertd keys create NAME" in ended.stderr
        assert self.ADDRESS in ended.stderr

    async def test_it_stays_closed_when_its_last_key_is_revoked(
        self, start: Start, session: ClientSession, tmp_path: Path
    ) -> None:
        key = create_key(tmp_path / "data", "only")
        server = start(LINKS_BASE_URL=self.ADDRESS)
        assert (await with_key(session, server, key).get("/jobs")).status == 200
        revoke_key(server.data_dir, "only")
        for host in ("convert.example.com", f"127.0.0.1:{server.port}"):
            for headers in ({"Host": host}, {"Host": host, "X-API-Key": key}):
                api = Api(session, server.url, headers)
                (await api.get("/jobs")).problem(401, "unauthorized")
                (await api.submit(PNG, to="webp", filename="a.png")).problem(401, "unauthorized")


class TestKeys:
    async def test_a_key_made_while_it_runs_closes_it(self, start: Start, session: ClientSession) -> None:
        server = start()
        api = Api(session, server.url)
        assert (await api.get("/jobs")).status == 200
        key = create_key_by_command(server.data_dir, "laptop")
        reply = await api.get("/jobs")
        assert "Authorization" in reply.problem(401, "unauthorized")["detail"]
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
        (await api.submit(PNG, to="webp", filename="a.png")).problem(401, "unauthorized")
        assert (await with_key(session, server, key).get("/jobs")).status == 200
        assert (await Api(session, server.url, {"X-API-Key": key}).get("/jobs")).status == 200

    async def test_without_the_key_nothing_is_stored(self, start: Start, session: ClientSession) -> None:
        server = start()
        create_key(server.data_dir, "laptop")
        (await Api(session, server.url).submit(PNG, to="webp", filename="a.png")).problem(401, "unauthorized")
        assert list((server.data_dir / "files").glob("blobs/*/*")) == []

    @pytest.mark.parametrize("wrong", ["", "cvd_", "cvd_" + "A" * 43, "é", "cvd_x' OR 1=1 --"])
    async def test_a_wrong_key(self, start: Start, session: ClientSession, wrong: str) -> None:
        server = start()
        create_key(server.data_dir, "laptop")
        for headers in ({"Authorization": f"Bearer {wrong}"}, {"X-API-Key": wrong}):
            (await Api(session, server.url, headers).get("/jobs")).problem(401, "unauthorized")

    async def test_a_revoked_key_ends_at_once(self, start: Start, session: ClientSession) -> None:
        server = start()
        old, new = create_key(server.data_dir, "old"), create_key(server.data_dir, "new")
        revoke_key(server.data_dir, "old")
        (await with_key(session, server, old).get("/jobs")).problem(401, "unauthorized")
        assert (await with_key(session, server, new).get("/jobs")).status == 200

    async def test_with_a_key_the_host_is_free(self, start: Start, session: ClientSession) -> None:
        server = start()
        key = create_key(server.data_dir, "proxy")
        headers = {"Host": "convert.example", "Origin": "https://convert.example"}
        assert (await with_key(session, server, key).get("/jobs", headers=headers)).status == 200

    async def test_what_is_public_needs_no_key(self, start: Start, session: ClientSession) -> None:
        server = start()
        key = create_key(server.data_dir, "laptop")
        job = (await with_key(session, server, key).submit(PNG, to="webp", filename="a.png", wait=30)).job(
            200
        )
        stranger = Api(session, server.url)
        assert len(await stranger.download(job["outputs"][0])) > 0
        for path in ("/healthz", "/readyz", "/openapi.json"):
            assert (await stranger.get(path)).status == 200
        for path in ("/version", "/formats"):
            (await stranger.get(path)).problem(401, "unauthorized")
            assert (await with_key(session, server, key).get(path)).status == 200

    async def test_another_address_needs_one(self, tmp_path: Path, session: ClientSession) -> None:
        key = create_key(tmp_path / "data", "lan")
        server = ServerProcess(tmp_path / "data", "--host", "0.0.0.0")
        try:
            server.start()
            server.url = f"http://127.0.0.1:{server.port}"
            (await Api(session, server.url).get("/jobs")).problem(401, "unauthorized")
            assert (await with_key(session, server, key).get("/jobs")).status == 200
            revoke_key(server.data_dir, "lan")  # the last one: still not open, since others can reach it
            (await Api(session, server.url).get("/jobs")).problem(401, "unauthorized")
        finally:
            server.dispose()

    def test_they_are_listed_but_not_shown(self, tmp_path: Path) -> None:
        key = create_key_by_command(tmp_path / "data", "laptop")
        create_key_by_command(tmp_path / "data", "phone", "--account", "me")
        revoke_key(tmp_path / "data", "phone")
        listed = convertd("keys", "list", "--data-dir", str(tmp_path / "data")).stdout
        laptop, phone = listed.splitlines()
        assert "valid" in laptop
        assert "revoked" in phone
        assert key not in listed
        stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("convertd.sqlite3*"))
        assert key.encode() not in stored

    def test_a_name_serves_once(self, tmp_path: Path) -> None:
        create_key(tmp_path / "data", "laptop")
        again = convertd("keys", "create", "laptop", "--data-dir", str(tmp_path / "data"))
        assert again.returncode == 1
        assert "another name" in again.stderr
        unknown = convertd("keys", "revoke", "nobody", "--data-dir", str(tmp_path / "data"))
        assert unknown.returncode == 1
        assert "keys list" in unknown.stderr


async def test_accounts_do_not_see_each_other(start: Start, session: ClientSession) -> None:
    server = start()
    ann = with_key(session, server, create_key(server.data_dir, "ann"))
    bob = with_key(session, server, create_key(server.data_dir, "bob"))
    second = with_key(session, server, create_key(server.data_dir, "ann-2", "ann"))
    job = (await ann.submit(PNG, to="webp", filename="a.png", key="k", wait=30)).job(200)

    (await bob.get(f"/jobs/{job['id']}")).problem(404, "not_found")
    (await bob.get(f"/jobs/{job['id']}", headers={"Prefer": "wait=5"})).problem(404, "not_found")
    (await bob.request("DELETE", f"/jobs/{job['id']}")).problem(404, "not_found")
    (await bob.request("POST", f"/jobs/{job['id']}/retry")).problem(404, "not_found")
    assert (await bob.get("/jobs")).json == {"jobs": [], "next_cursor": None}

    other = (await bob.submit(PNG, to="webp", filename="a.png", key="k")).job(202)
    assert other["id"] != job["id"]
    assert (await second.get(f"/jobs/{job['id']}")).job(200)["id"] == job["id"]
    replay = await second.submit(PNG, to="webp", filename="a.png", key="k")
    assert replay.job(202)["id"] == job["id"]


class TestRate:
    async def test_requests_for_work_are_counted_by_account(
        self, start: Start, session: ClientSession, tmp_path: Path
    ) -> None:
        data_dir = tmp_path / "data"
        first, second = (create_key(data_dir, name, account=name) for name in ("anna", "ben"))
        server = start(data_dir=data_dir, LIMITS_RATE="2")
        anna, ben = with_key(session, server, first), with_key(session, server, second)
        # A minute may end among these: then two more are let through, and never five.
        replies = [await anna.submit(PNG, to="webp") for _ in range(5)]
        refused = [reply for reply in replies if reply.status != 202]
        assert 1 <= len(refused) <= 3
        problem = refused[0].problem(429, "rate_limited")
        assert "limits.rate" in problem["detail"]
        assert 1 <= int(refused[0].headers["Retry-After"]) <= 60
        (await ben.submit(PNG, to="webp")).job(202)
        for _ in range(4):
            assert (await anna.get("/jobs")).status == 200


class TestOtherPages:
    async def test_a_picture_of_another_page_makes_the_server_do_nothing(
        self, start: Start, session: ClientSession
    ) -> None:
        with Origin() as origin:
            url = origin.url("a.png", PNG)
            api = Api(session, start(OUTBOUND_ALLOW=origin.place).url)
            page = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
            path = "/v1/convert/media"
            params = {"url": url, "target_format": "jpg"}
            assert (await api.get(path, params=params, headers=page)).status == 401
            assert (await api.request("HEAD", path, params=params)).status == 405
            assert (await api.get("/jobs")).json["jobs"] == []
            assert (await api.get(path, params=params, headers={"Sec-Fetch-Site": "none"})).status == 200

    async def test_a_link_on_another_page_leads_to_a_download(self, api: Api) -> None:
        job = (await api.submit(PNG, to="webp", wait=20)).job(200)
        reply = await api.get(job["outputs"][0]["url"], headers={"Sec-Fetch-Site": "cross-site"})
        assert reply.status == 200
