import base64
import hashlib
import hmac
import secrets

import pytest

from sidecar.auth.signing.config import Hmac
from sidecar.auth.signing.hmac_signer import HmacSigner
from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call
from sidecar.core.errors import BodyTooLarge, CredentialUnavailable
from sidecar.core.headers import find, find_all
from sidecar.core.secret import Secret
from sidecar.core.units import Size
from tests.auth.signing.keeping import REF, held
from tests.kit.clock import ManualClock

JEFE = b"what do ya want for nothing?"


def signer(config: Hmac, key: bytes | None, clock: ManualClock | None = None) -> HmacSigner:
    """Make a signer for `https://api.test/v2` whose nonces are all the same."""
    return HmacSigner(
        config, held(key), clock or ManualClock(), lambda: "n0nce", authority=b"api.test", base_path=b"/v2"
    )


async def signed(
    config: Hmac, key: bytes, body: bytes = b"", target: bytes = b"/x", headers: Headers | None = None
) -> Call:
    """Sign a POST."""
    call = Call("crm", "POST", target, headers or [], Body.of(body))
    await signer(config, key).sign(call)
    return call


@pytest.mark.parametrize(
    ("algorithm", "key", "data", "expected"),
    [
        ("sha256", b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        ("sha256", b"Jefe", JEFE, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            "sha256",
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            "sha512",
            b"Jefe",
            JEFE,
            (
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            ),
        ),
        ("sha1", b"Jefe", JEFE, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
    ],
)
async def test_the_vectors_of_the_rfcs(algorithm: str, key: bytes, data: bytes, expected: str) -> None:
    """RFC 4231 for SHA-2, RFC 2202 for SHA-1; in hex and in base64."""
    for encoding, shown in (("hex", expected.encode()), ("base64", base64.b64encode(bytes.fromhex(expected)))):
        config = Hmac(secret=REF, to_sign="{body}", algorithm=algorithm, encoding=encoding)  # type: ignore[arg-type]
        call = await signed(config, key, data)
        assert call.headers == [(b"X-Signature", shown)]
        assert call.body.take_all() == data


async def test_what_is_signed_is_what_is_sent() -> None:
    """The base URL's path stands in front, and no byte of the target changes."""
    key = secrets.token_bytes(16)
    text = "{method} {target}|{path}|{query}|{header:host}|{header:X-Two}|{header:none}|{key_id}|{{}}"
    config = Hmac(secret=REF, to_sign=text, key_id="me")
    target = b"/a%2Fb//c/../d;p?x=[1]&y=%20+&&z"
    call = await signed(config, key, target=target, headers=[(b"x-two", b"1"), (b"X-TWO", b"2")])
    plain = b"POST /v2%b|/v2/a%%2Fb//c/../d;p|x=[1]&y=%%20+&&z|api.test|1, 2||me|{}" % target
    assert find(call.headers, b"x-signature") == hmac.digest(key, plain, "sha256").hex().encode()
    assert call.target == target


@pytest.mark.parametrize(
    ("unit", "expected"), [("s", b"1767225600"), ("ms", b"1767225600500"), ("rfc3339", b"2026-01-01T00:00:00Z")]
)
async def test_moment_nonce_and_hash_are_sent_as_they_are_signed(unit: str, expected: bytes) -> None:
    """A header of the template's own carries each, and the app's placeholders under these names are gone."""
    key = secrets.token_bytes(16)
    config = Hmac(
        secret=REF,
        to_sign="{timestamp}\n{date}\n{nonce}\n{body_sha256}\n{header:Digest}",
        header="Authorization",
        value="HMAC {key_id}:{signature}",
        key_id="me",
        headers={
            "X-Timestamp": "{timestamp}",
            "X-Nonce": "{nonce}",
            "Digest": "SHA-256={body_sha256:base64}",
        },
        timestamp=unit,  # type: ignore[arg-type]
    )
    call = Call("crm", "POST", b"/", [(b"AUTHORIZATION", b"no"), (b"x-nonce", b"no"), (b"date", b"no")], Body.of(b"hi"))
    await signer(config, key, ManualClock(wall_at=1_767_225_600.5)).sign(call)
    digest = hashlib.sha256(b"hi")
    date, shown = b"Thu, 01 Jan 2026 00:00:00 GMT", b"SHA-256=" + base64.b64encode(digest.digest())
    plain = b"\n".join([expected, date, b"n0nce", digest.hexdigest().encode(), shown])
    assert call.headers == [
        (b"X-Timestamp", expected),
        (b"X-Nonce", b"n0nce"),
        (b"Digest", shown),
        (b"Date", date),
        (b"Authorization", b"HMAC me:" + hmac.digest(key, plain, "sha256").hex().encode()),
    ]


async def test_a_date_under_a_name_of_its_own_is_sent_once() -> None:
    """Also where that name is `Date`."""
    config = Hmac(secret=REF, to_sign="{date}", headers={"date": "{date}"})
    assert len(find_all((await signed(config, b"key")).headers, b"date")) == 1


@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("raw", b"\x00\xff\nkey"),
        ("hex", b"00ff0a6b6579"),
        ("hex", b"00FF0A6B6579\n"),
        ("base64", b"AP8Ka2V5"),
        ("base64", b"AP8Ka2V5\n"),
    ],
)
async def test_the_key_is_read_as_the_store_has_it(encoding: str, stored: bytes) -> None:
    """Vendors hand keys out in all three ways."""
    config = Hmac(secret=REF, to_sign="{method}", secret_encoding=encoding)  # type: ignore[arg-type]
    call = await signed(config, stored)
    assert find(call.headers, b"x-signature") == hmac.digest(b"\x00\xff\nkey", b"POST", "sha256").hex().encode()


async def test_base64_is_read_in_both_alphabets_and_without_padding() -> None:
    """`-_` for `+/`, as in URLs; what is missing at the end is no doubt about the value."""
    config = Hmac(secret=REF, to_sign="{method}", secret_encoding="base64")
    expected = hmac.digest(b"\xfb\xff\xfe\x01", b"POST", "sha256").hex().encode()
    for stored in (b"+//+AQ==", b"-__-AQ==", b"-__-AQ"):
        assert find((await signed(config, stored)).headers, b"x-signature") == expected


@pytest.mark.parametrize(
    ("encoding", "stored"), [("hex", b"canary"), ("hex", b"\xff"), ("base64", b"canary!"), ("hex", b" ")]
)
async def test_a_key_that_cannot_be_read_is_told_without_its_value(encoding: str, stored: bytes) -> None:
    """The call says which setting is wrong; a better value heals it."""
    kept = held(stored)
    config = Hmac(secret=REF, to_sign="{method}", secret_encoding=encoding)  # type: ignore[arg-type]
    sign = HmacSigner(config, kept, ManualClock(), lambda: "", authority=b"a", base_path=b"")
    call = Call("crm", "GET", b"/", [], NO_BODY)
    with pytest.raises(CredentialUnavailable, match=f"not {encoding}") as refused:
        sign.put_on(call)
    assert "canary" not in str(refused.value)
    kept.put(Secret(b"ab", "2"))
    kept.put(Secret(b"abcd", "3"))
    sign.put_on(call)
    assert find(call.headers, b"x-signature")


def test_a_secret_not_read_yet_is_told() -> None:
    """With the store's own words."""
    sign = signer(Hmac(secret=REF, to_sign="{method}"), None)
    with pytest.raises(CredentialUnavailable, match="not been read yet"):
        sign.put_on(Call("crm", "GET", b"/", [], NO_BODY))


def test_a_key_that_was_given_up_signs_nothing_until_it_is_back() -> None:
    """Nobody could say for too long whether it still holds."""
    key = held(b"key")
    sign = HmacSigner(
        Hmac(secret=REF, to_sign="{method}"), key, ManualClock(), lambda: "n", authority=b"api.test", base_path=b""
    )
    call = Call("crm", "GET", b"/", [], NO_BODY)
    key.lose()
    key.problem = "the store is away"
    with pytest.raises(CredentialUnavailable, match="the store is away"):
        sign.put_on(call)
    key.put(Secret(b"key", "1"))
    sign.put_on(call)
    assert find(call.headers, b"x-signature") is not None


async def test_a_body_that_is_not_signed_streams() -> None:
    """Only what the template names is waited for."""
    sign = signer(Hmac(secret=REF, to_sign="{method}{target}"), b"key")
    body = Body()
    call = Call("crm", "POST", b"/", [], body)
    await sign.sign(call)
    sign.put_on(call)
    assert call.body is body
    assert len(find_all(call.headers, b"x-signature")) == 1


async def test_a_longer_body_than_body_max_is_refused() -> None:
    """Its signature goes in front of it."""
    config = Hmac(secret=REF, to_sign="{body_sha256}", body_max=Size(10))
    with pytest.raises(BodyTooLarge, match=r"auth\.body_max = 10B"):
        await signed(config, b"key", b"x" * 11)
    await signed(config, b"key", b"x" * 10)


@pytest.mark.parametrize(
    ("settings", "field", "sentence"),
    [
        ({"to_sign": "{methode}"}, "to_sign", "unknown here"),
        ({"to_sign": "{method"}, "to_sign", "brace"),
        ({"to_sign": "{signature}"}, "to_sign", "unknown here"),
        ({"to_sign": "{header:Content-Length}"}, "to_sign", "after the signing"),
        ({"to_sign": "{header:a b}"}, "to_sign", "not the name"),
        ({"value": "HMAC {key_id}"}, "value", "signature is not in it"),
        ({"value": "{signature}{body}"}, "value", "unknown here"),
        ({"value": "{signature}\r\nX: y"}, "value", "visible ASCII"),
        ({"header": "a:b"}, "header", "not the name"),
        ({"header": "Host"}, "header", "not the name"),
        ({"headers": {"X-Body": "{body}"}}, "headers.X-Body", "unknown here"),
        ({"headers": {"Transfer-Encoding": "x"}}, "headers", "not the name"),
        ({"key_id": "a\nb"}, "key_id", "visible ASCII"),
    ],
)
def test_what_no_template_can_mean_is_told_at_load(settings: dict[str, object], field: str, sentence: str) -> None:
    """Each problem with its key, and what would be right."""
    config = Hmac(**{"secret": REF, "to_sign": "{method}", **settings})  # type: ignore[arg-type]
    assert [name for name, said in config.problems() if sentence in said] == [field]
    assert Hmac(secret=REF, to_sign="{method}{header:X-Any}").problems() == []
