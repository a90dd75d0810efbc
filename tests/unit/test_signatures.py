"""Signatures of callbacks, and the client that verifies them."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from convertd.client import VerificationError, verify
from convertd.model.signatures import (
    hashed_key,
    new_secret,
    standard_key,
    standard_signature,
    timestamped_hex,
)

T = 1735689600
BODY = b'{"a":1}'
PLAIN = "adbd71585261f04cbad1b5f73357a8c01aa79a70f2dc3b5912f49342bee9c6dd"
HASHED = "54f55bab543d680946d3eebe742e9369742cd30bdc8aa9cec304e5787b360e0a"


def standard(*secrets: str, body: bytes = BODY, message_id: str = "msg_1") -> dict[str, str]:
    signatures = [standard_signature(secret, message_id, T, body) for secret in secrets]
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": str(T),
        "Webhook-Signature": " ".join(signatures),
    }


def hosted(secret: str, *, hashed: bool = False, body: bytes = BODY) -> dict[str, str]:
    key = hashed_key(secret) if hashed else secret.encode()
    return {"Some-Signature": f"t={T},v1={timestamped_hex(key, T, body)}"}


def refused(*arguments: Any, **more: Any) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(*arguments, **{"now": T} | more)
    return str(caught.value)


def test_the_vectors_of_the_hosted_forms() -> None:
    assert timestamped_hex(b"whsec_test", T, BODY) == PLAIN
    assert timestamped_hex(hashed_key("whsec_test"), T, BODY) == HASHED


def test_a_secret_is_base64_after_its_prefix_and_utf_8_otherwise() -> None:
    assert standard_key("whsec_" + base64.b64encode(b"key").decode()) == b"key"
    for plain in ("key", "whsec_", "whsec_no base64!", "whsec_é", "Schlüssel"):
        assert standard_key(plain) == plain.encode()


def test_new_secrets_are_long_and_differ() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert len(standard_key(one)) == 32


@pytest.mark.parametrize(
    "secret",
    [
        "whsec_5089CAgYKaGQdTZ7Ne2fN3c3NGeYI7Ua0PUmTeK/Tf8=",
        *("whsec_dGVzdA==", "plain", "whsec_?", "whsec_é", "Schlüssel"),
    ],
)
def test_the_client_believes_what_is_signed_with_any_secret(secret: str) -> None:
    assert verify(BODY, standard(secret), secret, now=T) == {"a": 1}
    assert verify(BODY, hosted(secret), secret, now=T) == {"a": 1}
    assert verify(BODY.decode(), hosted(secret, hashed=True), secret, hashed_secret=True, now=T) == {"a": 1}


def test_the_library_and_the_client_agree() -> None:
    secret, body = new_secret(), json.dumps({"type": "job.succeeded", "name": "Größe"}).encode()
    headers = {"webhook-id": "msg_2", "webhook-timestamp": str(T)}
    signature = Webhook(secret).sign("msg_2", datetime.fromtimestamp(T, UTC), body.decode())
    assert signature == standard_signature(secret, "msg_2", T, body)
    assert verify(body, headers | {"webhook-signature": signature}, secret, now=T)["name"] == "Größe"


@given(place=st.integers(0, len(BODY) - 1), change=st.integers(1, 255), hashed=st.booleans())
def test_a_changed_byte_is_refused(place: int, change: int, hashed: bool) -> None:
    changed = bytearray(BODY)
    changed[place] ^= change
    for headers in (standard("key"), hosted("key", hashed=hashed)):
        assert "altered" in refused(bytes(changed), headers, "key", hashed_secret=hashed)


def test_a_changed_id_or_time_is_refused() -> None:
    for name, value in (("Webhook-Id", "msg_2"), ("Webhook-Timestamp", str(T + 1))):
        assert "altered" in refused(BODY, standard("key") | {name: value}, "key")
    moved = hosted("key")["Some-Signature"].replace(f"t={T}", f"t={T + 1}")
    assert "altered" in refused(BODY, {"Some-Signature": moved}, "key")


@pytest.mark.parametrize("age", [-301, 301])
@pytest.mark.parametrize("headers", [standard("key"), hosted("key")])
def test_301_seconds_are_too_many(headers: dict[str, str], age: int) -> None:
    assert "tolerated" in refused(BODY, headers, "key", now=T + age)
    assert verify(BODY, headers, "key", now=T + 300 * age // 301) == {"a": 1}
    assert verify(BODY, headers, "key", now=T + age, tolerance=302) == {"a": 1}


def test_the_present_is_the_measure() -> None:
    with pytest.raises(VerificationError, match="tolerated"):
        verify(BODY, standard("key"), "key")


def test_one_of_several_signatures_is_enough() -> None:
    old, new = new_secret(), new_secret()
    headers = standard(new, old)
    assert headers["Webhook-Signature"].count("v1,") == 2
    for secret in (old, new):
        assert verify(BODY, headers, secret, now=T) == {"a": 1}
    refused(BODY, headers, new_secret())
    with_another_kind = headers | {"Webhook-Signature": "v1a,AAAA " + headers["Webhook-Signature"]}
    assert verify(BODY, with_another_kind, new, now=T) == {"a": 1}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Webhook-Id": "msg_1"},
        standard("key") | {"Webhook-Timestamp": "soon"},
        standard("key") | {"Webhook-Timestamp": "१७"},
        standard("key") | {"Webhook-Id": ""},
        {"Some-Signature": "sha256=00"},
        {"Some-Signature": f"t={T},v1={PLAIN[:-1]}"},
        {"Some-Sign": f"t={T},v1={PLAIN}"},
    ],
)
def test_what_is_not_signed_is_refused(headers: dict[str, str]) -> None:
    assert "No header" in refused(BODY, headers, "key")


def test_nonsense_in_place_of_signatures_is_refused() -> None:
    for nonsense in ("v1,", "v1", "v1,\udcff", "é", PLAIN):
        refused(BODY, standard("key") | {"Webhook-Signature": nonsense}, "key")
    refused(BODY, standard("key") | {"Webhook-Id": "\udcff"}, "key")


def test_hashed_and_plain_keys_are_not_taken_for_each_other() -> None:
    refused(BODY, hosted("key"), "key", hashed_secret=True)
    refused(BODY, hosted("key", hashed=True), "key")


@pytest.mark.parametrize("body", [b"[1]", b"no JSON", b"\xff"])
def test_a_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    assert "no JSON object" in refused(body, standard("key", body=body), "key")


def test_the_library_refuses_what_the_client_refuses() -> None:
    secret = new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, {name.lower(): value for name, value in standard(secret).items()})
    refused(BODY, standard(secret), secret, now=T + 10**6)
