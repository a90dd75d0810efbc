"""Who may ask: keys, the open mode, and what a web page elsewhere must not do with it."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from convertd.errors import Unauthorized
from convertd.web.auth import LOCAL_ACCOUNT, Authenticator, is_loopback, is_private, own_hosts

HOME = "127.0.0.1:8080"


class FakeKeys:
    """Keys by the account that they open."""

    def __init__(self, **keys: str) -> None:
        self.keys = keys

    def account_of(self, key: str) -> str | None:
        return self.keys.get(key)

    def is_empty(self) -> bool:
        return not self.keys


def authenticator(*, loopback: bool = True, base_url: str = "", **keys: str) -> Authenticator:
    made = Authenticator(FakeKeys(**keys), loopback=loopback)
    made.own_hosts = own_hosts("127.0.0.1", 8080, base_url)
    return made


def account(auth: Authenticator, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return auth.account(make_mocked_request("GET", "/jobs", headers=named))


# Keys


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret"},
        {"Authorization": "bearer   secret "},
        {"X_API_Key": "secret"},
        {"Authorization": "Basic abc", "X_API_Key": "secret"},
        {"Authorization": "Bearer wrong", "X_API_Key": "secret"},
    ],
)
def test_a_key_opens_its_account(headers: dict[str, str]) -> None:
    assert account(authenticator(secret="anna"), **headers) == "anna"
    assert account(authenticator(secret="anna", loopback=False), **headers) == "anna"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "secret"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic secret"},
        {"X_API_Key": ""},
        {"X_API_Key": "Secret"},
        {"Authorization": "Bearer wrong", "X_API_Key": "also wrong"},
    ],
)
def test_anything_else_is_refused_once_there_is_a_key(headers: dict[str, str]) -> None:
    for loopback in (True, False):
        with pytest.raises(Unauthorized):
            account(authenticator(loopback=loopback, secret="anna"), **headers)


def test_the_refusal_says_what_to_send_but_not_what_was_sent() -> None:
    auth = authenticator(secret="anna")
    with pytest.raises(Unauthorized, match="Authorization: Bearer KEY"):
        account(auth)
    with pytest.raises(Unauthorized, match="not known or was revoked") as caught:
        account(auth, X_API_Key="wrong")
    assert "wrong" not in caught.value.message


# The open mode


def test_while_there_is_no_key_this_machine_needs_none() -> None:
    assert account(authenticator()) == LOCAL_ACCOUNT
    assert account(authenticator(), X_API_Key="left over") == LOCAL_ACCOUNT


def test_without_a_key_no_other_machine_gets_in() -> None:
    with pytest.raises(Unauthorized):
        account(authenticator(loopback=False))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_addresses_of_this_machine_alone(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "0.0.0.0", "::", "192.168.0.1", "example.com", "localhost.example.com", "127.0.0.1.nip.io"]
)
def test_addresses_that_others_reach(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("base_url", ["", "http://localhost", "http://127.0.0.1:9000/x", "https://[::1]:8"])
def test_a_server_for_this_machine_alone(base_url: str) -> None:
    assert is_private("127.0.0.1", base_url)
    assert not is_private("0.0.0.0", base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        "https://convert.example.com",
        "http://192.168.0.7",
        "http://localhost@evil.example",
        "http://0.0.0.0:80",
    ],
)
def test_a_public_address_means_a_proxy_that_lets_others_in(base_url: str) -> None:
    assert not is_private("127.0.0.1", base_url)
    assert not is_private("localhost", base_url)


# Host and Origin


def check(auth: Authenticator, **headers: str) -> None:
    auth.check_origin(make_mocked_request("POST", "/jobs", headers=headers))


@pytest.mark.parametrize("host", [HOME, "localhost:8080", "LocalHost:8080", "[::1]:8080"])
def test_the_servers_own_names_are_answered(host: str) -> None:
    check(authenticator(), Host=host)
    check(authenticator(), Host=host, Origin=f"http://{host}")


def test_the_declared_address_is_an_own_name() -> None:
    auth = authenticator(base_url="http://localhost:9000/")
    check(auth, Host="localhost:9000", Origin="http://localhost:9000")


def test_on_port_80_the_port_may_be_left_out() -> None:
    auth = authenticator()
    auth.own_hosts = own_hosts("127.0.0.1", 80, "")
    check(auth, Host="localhost", Origin="http://localhost")
    with pytest.raises(Unauthorized):
        check(authenticator(), Host="localhost")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.com:8080"},
        {"Host": "127.0.0.1.evil.example.com:8080"},
        {"Host": "127.0.0.1:9090"},
        {"Host": ""},
        {"Host": HOME, "Origin": "http://evil.example.com"},
        {"Host": HOME, "Origin": "http://127.0.0.1:9090"},
        {"Host": HOME, "Origin": "http://localhost:8080"},
        {"Host": HOME, "Origin": "null"},
        {"Host": HOME, "Origin": ""},
        {"Host": HOME, "Origin": "http://["},
        {"Host": HOME, "Origin": "http://[::1"},
        {"Host": HOME, "Origin": f"http://{HOME}@evil.example.com"},
        {"Host": "evil.example.com", "Origin": "http://evil.example.com"},
    ],
)
def test_what_a_page_elsewhere_sends_is_refused_while_open(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized, match="convertd keys create"):
        check(authenticator(), **headers)


def test_with_keys_any_name_is_answered() -> None:
    """A page elsewhere does not have the key."""
    check(authenticator(secret="anna"), Host="files.example.com", Origin="http://evil.example.com")
    check(authenticator(secret="anna"), Host=HOME, Origin="http://[")
    check(authenticator(loopback=False), Host="files.example.com")


# What browsers say of the page that made them ask


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "anything"])
def test_another_sites_page_asks_in_vain_while_the_server_is_open(site: str) -> None:
    with pytest.raises(Unauthorized, match="no other web"):
        account(authenticator(), Sec_Fetch_Site=site)
    assert account(authenticator(secret="anna"), Sec_Fetch_Site=site, X_API_Key="secret") == "anna"


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_servers_own_page_and_a_typed_address_are_answered(site: str) -> None:
    assert account(authenticator(), Sec_Fetch_Site=site) == LOCAL_ACCOUNT
