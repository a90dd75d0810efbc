"""Which addresses are public, what a URL's host spells, and what an operator may list."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from convertd.config import ConfigError, load
from convertd.errors import FetchFailed, FetchRefused, InvalidRequest
from convertd.net.addresses import literal, public
from convertd.net.answers import beginning, file_name, retry_after
from convertd.net.outbound import Gate, OutboundPolicy
from convertd.net.request import next_target
from convertd.net.rules import AddressPolicy, parse_rule
from convertd.net.targets import parse_target

NOT_PUBLIC = {
    "unspecified": ["0.0.0.0", "0.1.2.3", "::"],
    "loopback": ["127.0.0.1", "127.255.255.254", "::1"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"],
    "unique local": ["fc00::1", "fd12:3456::1"],
    "link-local": ["169.254.1.1", "fe80::1", "febf::1", "fe80::1%eth0"],
    "carrier": ["100.64.0.1", "100.127.255.255"],
    "metadata": [
        *("169.254.169.254", "169.254.170.2", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
        *("fd00:ec2::254", "fd20:ce::254"),
    ],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.255", "192.0.0.1", "4000::1", "5f00::1", "e000::1"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"],
    "benchmarks": ["198.18.0.1", "198.19.255.255", "2001:2::1"],
    "relays": ["192.88.99.1"],
    "site-local": ["fec0::1", "feff::1"],
    "compatible": ["::127.0.0.1", "::8.8.8.8"],
    "mapped": ["::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:169.254.169.254", "::ffff:100.64.0.1"],
    "translated": ["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    "NAT64": ["64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::100.64.0.1"],
    "local NAT64": ["64:ff9b:1::1", "64:ff9b:1::8.8.8.8"],
    "6to4": ["2002:7f00:1::", "2002:a9fe:a9fe::1", "2002:808:808::1"],
    "Teredo": ["2001::1", "2001:0:4136:e378:8000:63bf:80ff:fffe"],
    "ISATAP": ["2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1"],
    "discard": ["100::1"],
}
PUBLIC = [
    *(
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "223.255.255.255",
    ),
    *("2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700::5efe:8.8.8.8"),
]
LOOPBACK_SPELLINGS = [
    *(
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0X7F.0.0.1",
        "0x7F.0x0.0x0.0x1",
    ),
    *("0177.0.0.1", "017700000001", "0177.1", "00000177.1", "127.0.0.1.", "127.1.", "127.255.255.254"),
    *("１２７.０.０.１", "127。0。0。1", "①②⑦.0.0.1", "127．0．0．1"),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]"),
    *("[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]"),
    *("localhost", "LOCALHOST", "localhost.", "a.localhost", "ⓛocalhost", "ｌｏｃａｌｈｏｓｔ"),
    *("0", "0.0.0.0", "00", "0x0", "[::]"),
]


@pytest.mark.parametrize("address", [one for family in NOT_PUBLIC.values() for one in family])
def test_what_is_not_public(address: str) -> None:
    assert not public(address)
    assert not AddressPolicy(()).admits(address, host="example.org", port=80)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public(address: str) -> None:
    assert public(address)
    assert AddressPolicy(()).admits(address, host="example.org", port=80)


@pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
@pytest.mark.parametrize("scheme", ["http", "HTTPS"])
def test_this_machine_in_every_spelling(host: str, scheme: str) -> None:
    with pytest.raises(FetchRefused) as caught:
        Gate(OutboundPolicy()).target(f"{scheme}://{host}:8080/x", field="source_url")
    assert caught.value.field == "source_url"
    assert "outbound.allow" in caught.value.message
    assert "operator may list" in caught.value.message


@pytest.mark.parametrize("host", ["169.254.169.254", "0xa9fea9fe", "2852039166", "[fd00:ec2::254]", "10.1"])
def test_other_forbidden_literals(host: str) -> None:
    with pytest.raises(FetchRefused):
        Gate(OutboundPolicy()).target(f"http://{host}", field="f")


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        *(
            ("8.8.8.8", "8.8.8.8"),
            ("134744072", "8.8.8.8"),
            ("0x8.8.2056", "8.8.8.8"),
            ("8.8.8.8.", "8.8.8.8"),
        ),
        *(("[::ffff:8.8.8.8]", "8.8.8.8"), ("[2606:4700:0::1]", "[2606:4700::1]")),
    ],
)
def test_a_public_literal_is_asked_for_in_its_usual_form(host: str, plain: str) -> None:
    target = parse_target(f"http://{host}:81/a%2Fb?c=%20", field=None)
    assert str(target.url) == f"http://{plain}:81/a%2Fb?c=%20"
    assert target.address is not None


@pytest.mark.parametrize(
    "host", ["example.org", "1.example.org", "127.0.0.1.example.org", "0x7f.example", "x0"]
)
def test_names_are_no_literals(host: str) -> None:
    assert literal(host) is None
    Gate(OutboundPolicy()).target(f"https://{host}/", field="f")


@pytest.mark.parametrize(
    "url", ["https://bücher.example/ü ü.pdf?x=[1]", " http://my_app:9/x\n"[:-1], "http://h:/"]
)
def test_urls_that_are_taken(url: str) -> None:
    Gate(OutboundPolicy()).target(url, field="f")


@pytest.mark.parametrize(
    "url",
    [
        *("", "x", "/etc/passwd", "//example.org/", "http:", "http://", "http:///x", "http:example.org"),
        *(
            "file:///etc/passwd",
            "ftp://example.org/",
            "gopher://example.org",
            "data:text/plain,x",
            "javascript:1",
        ),
        *("http://user@example.org", "http://user:word@example.org", "http://:word@example.org"),
        *(
            "http://example.org:0",
            "http://example.org:65536",
            "http://example.org:-1",
            "http://example.org:x",
        ),
        *("http://exa mple.org", "http://example..org", "http://.example.org", "http://-x.org", "http://."),
        *(
            "http://127%2e0%2e0%2e1",
            "http://a%00b",
            "http://1.2.3.256",
            "http://1.2.3.4.5",
            "http://08.1",
            "http://0xg.1",
        ),
        *(
            "http://[::1",
            "http://[::1]x",
            "http://[127.0.0.1]",
            "http://[::1%25eth0]",
            "http://[fe80::1%eth0]",
            "http://[xn--]\xad.@",
        ),
        *(
            "http://example.org\\@127.0.0.1/",
            "http://example.org/\r\nHost: x",
            "http://exam\tple.org",
            "http://\ud800",
        ),
        *(f"http://{'a' * 64}.org", f"http://{'a.' * 127}org", f"http://example.org/{'a' * 8192}"),
    ],
)
def test_urls_that_are_malformed(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Gate(OutboundPolicy(allow=("0.0.0.0/0", "::/0"))).target(url, field="callback_url")
    assert caught.value.field == "callback_url"


@pytest.mark.parametrize(
    ("entry", "url", "open_"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9000", True),
        ("127.0.0.1:9000", "http://0x7f.1:9000", True),
        ("127.0.0.1:9000", "http://[::ffff:127.0.0.1]:9000", True),
        ("127.0.0.1:9000", "http://localhost:9000", True),
        ("127.0.0.1:9000", "http://127.0.0.1:9001", False),
        ("127.0.0.1:80", "http://127.0.0.1", True),
        ("127.0.0.1:80", "https://127.0.0.1", False),
        ("127.0.0.1", "https://127.0.0.1:9001", True),
        ("127.0.0.1", "http://127.0.0.2", False),
        ("[::1]:9000", "http://[::1]:9000", True),
        ("[::1]:9000", "http://[::1]:9001", False),
        ("::1", "http://[::1]:9001", True),
        ("[::ffff:10.0.0.1]:80", "http://10.0.0.1", True),
        ("localhost:9000", "http://LocalHost.:9000", True),
        ("localhost:9000", "http://localhost:9001", False),
        ("localhost:9000", "http://127.0.0.1:9000", True),
        ("localhost:9000", "http://[::1]:9000", True),
        ("localhost:9000", "http://127.0.0.1:9001", False),
        ("localhost", "http://10.0.0.1", False),
        ("localhost", "http://a.localhost", True),
        ("10.0.0.0/8", "http://10.255.0.1", True),
        ("10.0.0.0/8", "http://11.0.0.1", True),
        ("10.0.0.0/8", "http://192.168.0.1", False),
        ("0.0.0.0/0", "http://[64:ff9b::7f00:1]", False),
        ("64:ff9b:1::/48", "http://[64:ff9b:1::1]", True),
    ],
)
def test_what_the_operator_lists_is_open_and_no_more(entry: str, url: str, open_: bool) -> None:
    gate = Gate(OutboundPolicy(allow=(entry,)))
    if open_:
        gate.target(url, field="f")
    else:
        with pytest.raises(FetchRefused):
            gate.target(url, field="f")


def test_a_listed_name_opens_its_addresses_for_that_name_alone() -> None:
    policy = AddressPolicy(("Receiver.LAN.:9000", "bücher.example"))
    assert policy.admits("10.0.0.1", host="receiver.lan", port=9000)
    assert policy.admits("10.0.0.1", host="xn--bcher-kva.example", port=1)
    assert not policy.admits("10.0.0.1", host="receiver.lan", port=9001)
    assert not policy.admits("10.0.0.1", host="other.lan", port=9000)
    assert not policy.admits("10.0.0.1", host="x.receiver.lan", port=9000)


@pytest.mark.parametrize(
    "entry",
    [
        *(
            "",
            " ",
            "http://receiver.lan",
            "receiver.lan/x",
            "receiver lan",
            "*.lan",
            "a..b",
            ":9000",
            "user@host",
        ),
        *(
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::1/129",
            "10.0.0.0/8:80",
            "1.2.3.256",
            "host:0",
            "host:65536",
            "host:x",
        ),
        *("[::1", "[::1]x", "[::1]:0", "[127.0.0.1]", "::1::", "fe80::1%eth0", "[host]:80", "host:8:0"),
    ],
)
def test_a_wrong_entry_is_a_fault_of_the_settings(entry: str) -> None:
    with pytest.raises(ValueError):
        parse_rule(entry)
    with pytest.raises(ConfigError) as caught:
        load(None, {}, {"outbound.allow": ["localhost:9000", entry]})
    (fault,) = caught.value.faults
    assert fault.startswith(f"outbound.allow (--outbound-allow): {entry!r} is not allowed; give host names")


def test_the_setting_takes_a_list_from_the_environment() -> None:
    settings = load(None, {"CONVERTD_OUTBOUND_ALLOW": "localhost:9000, [::1]:9000,10.0.0.0/8"}, {})
    assert settings.outbound.allow == ("localhost:9000", "[::1]:9000", "10.0.0.0/8")
    assert settings.outbound.fetch_time == 300.0


@pytest.mark.parametrize(
    ("before", "location", "after"),
    [
        ("http://a.example/x", "https://b.example/y", "https://b.example/y"),
        ("https://a.example/x/y", "z?q=1", "https://a.example/x/z?q=1"),
        ("https://a.example/x", "//b.example/y z", "https://b.example/y%20z"),
    ],
)
def test_where_a_redirect_leads(before: str, location: str, after: str) -> None:
    assert str(next_target(parse_target(before, field=None), location, "f").url) == after


def test_a_redirect_does_not_lead_out_of_tls() -> None:
    before = parse_target("https://a.example/x", field=None)
    with pytest.raises(FetchRefused, match="from https to http"):
        next_target(before, "http://a.example/x", "f")
    with pytest.raises(FetchFailed):
        next_target(before, "file:///etc/passwd", "f")


def test_a_file_name_in_latin_1_is_read() -> None:
    header = b'attachment; filename="\xfc.png"'.decode("utf-8", "surrogateescape")
    assert file_name(header, URL("http://h/")) == "ü.png"


@pytest.mark.parametrize(
    "parameter",
    [
        *("filename*=idna''%ff", "filename*=undefined''a", "filename*=punycode''%ff", "filename*=\0''a"),
        f"filename*{'0' * 5000}*=a",
    ],
)
def test_a_file_name_that_cannot_be_read_is_passed_over(parameter: str) -> None:
    assert file_name(f"attachment; {parameter}", URL("http://h/a/real.png")) == "real.png"


BYTES = st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@given(st.one_of(BYTES, BYTES.map("attachment; filename*={}".format), BYTES.map('x; filename="{}"'.format)))
def test_any_header_makes_a_name(header: str) -> None:
    name = file_name(header, URL("http://h/"))
    assert 0 < len(name) <= 255
    assert name.isprintable()
    assert not {"/", "\\"} & set(name)


@given(BYTES)
def test_any_header_makes_a_wait_or_none(header: str) -> None:
    seconds = retry_after(header, now=0.0)
    assert seconds is None or seconds >= 0


@given(st.binary())
def test_any_body_makes_a_printable_beginning(body: bytes) -> None:
    text = beginning(body, length=10)
    assert len(text) <= 10
    assert text.isprintable()


@given(st.text() | st.text(alphabet="0123456789abcdefx.:[]@/\\%").map("http://{}".format))
def test_any_text_is_taken_or_refused(url: str) -> None:
    with contextlib.suppress(InvalidRequest, FetchRefused):
        Gate(OutboundPolicy()).target(url, field="f")


@given(st.text() | st.text(alphabet="0123456789ax.:[]/"))
def test_any_entry_is_a_rule_or_a_fault(entry: str) -> None:
    try:
        rule = parse_rule(entry)
    except ValueError:
        return
    assert (rule.name is None) != (rule.network is None)
