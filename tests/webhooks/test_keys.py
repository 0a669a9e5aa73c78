"""Keys: what is no key is told without it; what is fetched comes from the vendor's hosts alone, and is valid now."""

import base64
import hashlib
import hmac
import json
import traceback

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk, jwt
from nacl.bindings import crypto_core_ed25519_is_valid_point

from sidecar.webhooks.incoming import KEYS_MAX, Incoming, NotVerified, Verified, Verifier
from sidecar.webhooks.key import _SMALL, SIGNATURES_MAX, key_of
from sidecar.webhooks.presets import preset, scheme_of
from tests.kit.lengthening import lengthened
from tests.kit.senders import ACCOUNT, EC, GOOGLE_CERTS, NOW, PAYPAL_CERT, SENDERS, SNS_CERT, TOPIC, URL, certificate

DAY = 86400.0
PUSH = {"audience": "aud-1", "email": str(ACCOUNT["email"])}


@pytest.mark.parametrize("name", ["hubspot-v1", "hubspot-v2"])
@pytest.mark.parametrize("size", [0, 1, 41, 42, 43, 54, 55, 56, 63, 64, 1000])
def test_nothing_can_be_put_behind_a_text_that_was_hashed(name: str, size: int) -> None:
    """The hash of the longer text is right, as whoever knows no secret can make it, and it is refused."""
    body = b"x" * size
    sent, text = SENDERS[name](body, NOW), {"hubspot-v1": b"", "hubspot-v2": b"POST" + URL.encode()}[name]
    [signature] = sent.incoming.values(sent.signature)
    more, forged = lengthened(bytes.fromhex(signature.decode()), len(sent.secret + text + body), b'{"all": "mine"}')
    assert hashlib.sha256(sent.secret + text + body + more).digest() == forged, "the attack is right"
    verifier = Verifier(preset(name))
    incoming = sent.incoming._replace(body=body + more, headers=[(sent.signature, forged.hex().encode())])
    with pytest.raises(NotVerified):
        verifier.verify(incoming, [sent.secret], NOW)
    verifier.verify(sent.incoming, [sent.secret], NOW)
    other = SENDERS[name](b"\x80" + bytes(70) + body, NOW)  # No such end: its length is another.
    verifier.verify(other.incoming, [other.secret], NOW)


@pytest.mark.parametrize("name", ["hubspot-v2", "hubspot", "square"])
def test_no_part_of_a_body_can_be_called_as_the_end_of_the_url(name: str) -> None:
    """URL and body stand behind each other in what is signed: what goes from one to the other is refused."""
    body = b'[{"id":1},{"id":2}]'
    sent = SENDERS[name](body, NOW)
    verifier = Verifier(preset(name))
    verifier.verify(sent.incoming, [sent.secret], NOW)
    for size in range(1, len(body) + 1):
        moved = sent.incoming._replace(url=sent.incoming.url + body[:size].decode(), body=body[size:])
        with pytest.raises(NotVerified, match="no URL"):
            verifier.verify(moved, [sent.secret], NOW)


@pytest.mark.parametrize("name", ["hubspot-v2", "hubspot", "square", "twilio", "mandrill"])
def test_a_host_of_other_bytes_than_a_url_has_is_refused(name: str) -> None:
    """A header may hold any bytes, and an application that reads it may see half a character: no fault of ours."""
    sent = SENDERS[name](b"", NOW)
    verifier = Verifier(preset(name))
    with pytest.raises(NotVerified):
        verifier.verify(sent.incoming._replace(url="https://\udcff/hooks"), [sent.secret], NOW)


def paypal(url: str | None = None) -> tuple[Verifier, Incoming]:
    """Give a verifier and a webhook, which may name another URL for its certificate."""
    sent = SENDERS["paypal"](b"{}", NOW)
    headers = [(name, value) for name, value in sent.incoming.headers if name != b"PAYPAL-CERT-URL"]
    if url is not None:
        headers.append((b"PAYPAL-CERT-URL", url.encode()))
    verifier = Verifier(msgspec.structs.replace(preset("paypal"), settings=dict(sent.settings)))
    return verifier, sent.incoming._replace(headers=headers)


@pytest.mark.parametrize(
    "url",
    [
        PAYPAL_CERT,
        "https://api-m.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77",
        "https://api.paypal.com:443/v1/notifications/certs/c",
    ],
)
def test_a_key_of_the_vendors_host_is_asked_for(url: str) -> None:
    """Without it the webhook cannot be known."""
    verifier, incoming = paypal(url)
    assert verifier.needs(incoming) == url
    with pytest.raises(NotVerified, match="not at hand"):
        verifier.verify(incoming, [], NOW)
    assert verifier.verify(incoming, [], NOW, {url: certificate_of()}).sent_at is not None


def certificate_of() -> bytes:
    """Give the vendor's certificate."""
    return SENDERS["paypal"](b"", NOW).keys[PAYPAL_CERT]


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "http://api.paypal.com/c",
        "https://evil.example/c",
        "https://www.paypal.com/v1/notifications/certs/c",
        "https://api.paypal.com/uploads/c",
        "https://api.paypal.com/v1/notifications/certs/../../../uploads/c",
        "https://api.paypal.com/v1/notifications/certs/%2e%2e",
        "https://api.paypal.com/v1/notifications/certs/c?then=uploads",
        "https://api.paypal.com.evil.example/c",
        "https://evilpaypal.com/c",
        "https://paypal.com/c",
        "https://a.b.paypal.com/c",
        "https://api.paypal.com@evil.example/c",
        "https://evil.example/@api.paypal.com/c",
        "https://api.paypal.com:8443/c",
        "https://api.paypal.com\\@evil.example/c",
        "https://api.paypal.com#@evil.example/c",
        "https://API.PAYPAL.COM.EVIL.example/c",
        "https://api.paypal.com/\r\nX: y",
        " https://api.paypal.com/c\x00",
        "https://xn--pypal.com/c",
        "//api.paypal.com/c",
        "file:///etc/passwd",
        "https://api.paypal.com/" + "a" * 1024,
    ],
)
def test_nobody_else_chooses_the_key(url: str | None) -> None:
    """Such a URL is not fetched, and what stands there is not believed when it is at hand."""
    verifier, incoming = paypal(url)
    with pytest.raises(NotVerified):
        verifier.needs(incoming)
    with pytest.raises(NotVerified):
        verifier.verify(incoming, [], NOW, {url or "": certificate_of()})


@pytest.mark.parametrize(
    ("url", "is_vendors"),
    [
        (SNS_CERT, True),
        ("https://sns.cn-north-1.amazonaws.com.cn/a.pem", True),
        ("https://sns.us-gov-west-1.amazonaws.com/a.pem", True),
        ("https://sns.s3.amazonaws.com/a.pem", False),  # Somebody's bucket.
        ("https://sns.s3-us-west-1.amazonaws.com/a.pem", False),
        ("https://x.s3.eu-central-1.amazonaws.com/a.pem", False),
        ("https://sns.eu-central-1.amazonaws.com/?Action=x&a.pem", False),
        ("https://sns.eu-central-1.amazonaws.com/a/b.pem", False),
    ],
)
def test_amazon_lets_to_others_hosts_that_look_like_its_own(url: str, is_vendors: bool) -> None:
    """So the region has to be one, and the path a certificate's."""
    incoming = SENDERS["aws"](b"x", NOW).incoming
    body = incoming.body.replace(SNS_CERT.encode(), url.encode())
    verifier = Verifier(msgspec.structs.replace(preset("aws"), settings={"topic_arn": TOPIC}))
    if is_vendors:
        assert verifier.needs(incoming._replace(body=body)) == url
    else:
        with pytest.raises(NotVerified, match="not the vendor's"):
            verifier.needs(incoming._replace(body=body))


@pytest.mark.parametrize(
    ("setting", "is_ours"),
    [
        (TOPIC, True),
        (TOPIC.replace("orders", "*"), True),
        (TOPIC.replace("orders", "order"), False),
        (TOPIC.replace("1234", "9234"), False),
        (TOPIC.replace("orders", "refunds*"), False),
        (TOPIC.replace("orders", "[a-z]+"), False),
        ("", False),
    ],
)
def test_amazon_signs_for_everybodys_topics_and_only_ours_are_taken(setting: str, *, is_ours: bool) -> None:
    """Whoever has an account there can have it sign whatever they like."""
    sent = SENDERS["aws"](b"x", NOW)
    verifier = Verifier(msgspec.structs.replace(preset("aws"), settings={"topic_arn": setting}))
    if is_ours:
        assert verifier.verify(sent.incoming, [], NOW, sent.keys).id == "m-1"
    else:
        with pytest.raises(NotVerified, match="somebody else"):
            verifier.verify(sent.incoming, [], NOW, sent.keys)


def test_what_has_no_signature_makes_nobody_fetch() -> None:
    """Else anybody could."""
    verifier, incoming = paypal(PAYPAL_CERT)
    headers = [(name, value) for name, value in incoming.headers if name != b"PAYPAL-TRANSMISSION-SIG"]
    with pytest.raises(NotVerified, match="no signature"):
        verifier.needs(incoming._replace(headers=headers))
    assert Verifier(preset("stripe")).needs(incoming) is None


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (certificate(at=NOW - 3 * DAY), "not valid now"),
        (certificate(at=NOW + 3 * DAY), "not valid now"),
        (certificate(rsa.generate_private_key(65537, 2048)), "no signature is right"),
        (certificate(rsa.generate_private_key(65537, 1024)), "less than 2048"),  # noqa: S505 - it is refused
        (b"", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "no certificate"),
    ],
)
def test_a_certificate_has_to_be_one_and_valid(raw: bytes, sentence: str) -> None:
    """Whatever host it is from."""
    verifier, incoming = paypal(PAYPAL_CERT)
    with pytest.raises(NotVerified, match=sentence):
        verifier.verify(incoming, [], NOW, {PAYPAL_CERT: raw})


def pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """Write a public key."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form)


def test_a_public_key_may_stand_in_pem() -> None:
    """As some dashboards show it."""
    sent = SENDERS["sendgrid"](b"{}", NOW)
    assert Verifier(preset("sendgrid")).verify(sent.incoming, [pem(EC.public_key())], NOW).sent_at == NOW


@pytest.mark.parametrize(
    ("secret", "algorithm", "form", "sentence"),
    [
        (b"  \n", "hmac-sha256", "raw", "empty"),
        (b"whsec_", "hmac-sha256", "whsec", "empty"),
        (b"whsec_***", "hmac-sha256", "whsec", "not written as whsec"),
        (b"canary", "hmac-sha256", "hex", "not written as hex"),
        ("cänary".encode(), "hmac-sha256", "hex", "not written as hex"),
        (b"ab" * 31, "ed25519", "hex", "cannot be read"),
        (b"00" * 32, "ed25519", "hex", "small order"),
        (b"01" + b"00" * 30 + b"80", "ed25519", "hex", "small order"),
        (pem(ec.generate_private_key(ec.SECP384R1()).public_key()), "ecdsa-p256", "base64", "another curve"),
        (pem(EC.public_key()), "ed25519", "hex", "none for ed25519"),
    ],
)
def test_a_secret_that_is_no_key_is_told_without_it(secret: bytes, algorithm: str, form: str, sentence: str) -> None:
    """For the log; every webhook is refused until there is another."""
    with pytest.raises(ValueError, match=sentence) as caught:
        key_of(secret, algorithm, "hex", form)
    # What Python would print: the error, and whatever it was raised beside.
    shown = "".join(traceback.format_exception(caught.value))
    assert "canary" not in shown
    written = secret.decode("latin-1").strip()
    assert len(written) < len("whsec_x") or written not in shown


def test_the_keys_of_small_order_are_those_that_libsodium_refuses() -> None:
    """Points by which one signature is right for many texts."""
    assert len(_SMALL) == 7
    assert [point.hex() for point in _SMALL if crypto_core_ed25519_is_valid_point(point)] == []


def test_keys_that_are_kept_at_hand_are_bounded() -> None:
    """However often a secret is rotated."""
    sent = SENDERS["stripe"](b"{}", NOW)
    verifier = Verifier(preset("stripe"))
    for number in range(3 * KEYS_MAX):
        assert verifier.verify(sent.incoming, [sent.secret, b"%d" % number], NOW).sent_at == NOW
    assert len(verifier._known) <= KEYS_MAX


def test_more_signatures_than_any_vendor_sends_are_refused() -> None:
    """Before any is compared."""
    sent = SENDERS["stripe"](b"{}", NOW)
    [value] = sent.incoming.values(b"stripe-signature")
    for count in (SIGNATURES_MAX - 1, SIGNATURES_MAX):
        incoming = sent.incoming._replace(headers=[(b"Stripe-Signature", value + b",v1=00" * count)])
        if count < SIGNATURES_MAX:
            assert Verifier(preset("stripe")).verify(incoming, [sent.secret], NOW).sent_at == NOW
        else:
            with pytest.raises(NotVerified, match="more than"):
                Verifier(preset("stripe")).verify(incoming, [sent.secret], NOW)


KEY = jwk.RSAKey.generate_key(2048, {"kid": "1"})
CLAIMS = {"iss": "https://accounts.google.com", "aud": "aud-1", "iat": int(NOW), "exp": int(NOW) + 3600, **ACCOUNT}


def bearer(claims: dict[str, object], header: dict[str, str] | None = None) -> Verified:
    """Send a JWT of Pub/Sub."""
    header = header or {"alg": "RS256", "kid": "1"}
    token = jwt.encode({**header}, claims, KEY, algorithms=[header["alg"]])
    incoming = Incoming("POST", "https://a.example/", [(b"Authorization", b"Bearer " + token.encode())], b"{}")
    verifier = Verifier(msgspec.structs.replace(preset("google-pubsub"), settings=PUSH))
    assert verifier.needs(incoming) == GOOGLE_CERTS
    keys = {GOOGLE_CERTS: json.dumps({"keys": [KEY.as_dict(private=False)]}).encode()}
    return verifier.verify(incoming, [b"a secret that is not looked at"], NOW, keys)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({}, None),
        ({"aud": ["other", "aud-1"]}, None),
        ({"email": "push@other.iam.gserviceaccount.com"}, "somebody else"),
        ({"email": None}, "somebody else"),
        ({"email_verified": False}, "somebody else"),
        ({"aud": "other"}, "audience"),
        ({"aud": None}, "audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"exp": int(NOW) - 301}, "exp is 301 s ago"),
        ({"nbf": int(NOW) + 301}, "nbf is 301 s ahead"),
        ({"iat": int(NOW) + 301}, "iat is 301 s ahead"),
        ({"exp": "tomorrow"}, "no time"),
    ],
)
def test_a_jwt_has_to_be_for_us_and_of_now(changed: dict[str, object], sentence: str | None) -> None:
    """By whom, for whom, and until when."""
    if sentence is None:
        assert bearer({**CLAIMS, **changed}).handshake is None
    else:
        with pytest.raises(NotVerified, match=sentence):
            bearer({**CLAIMS, **changed})


def test_a_jwt_does_not_choose_its_algorithm() -> None:
    """Neither none, nor the public key as a shared secret."""
    with pytest.raises(NotVerified, match="no key"):
        bearer(CLAIMS, {"alg": "PS256", "kid": "1"})
    parts = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in (b'{"alg":"HS256"}', json.dumps(CLAIMS).encode())]
    mac = hmac.digest(KEY.as_pem(private=False), b".".join(parts), "sha256")
    hashed = b".".join([*parts, base64.urlsafe_b64encode(mac).rstrip(b"=")])
    none = b"eyJhbGciOiJub25lIn0.e30."
    verifier = Verifier(msgspec.structs.replace(preset("google-pubsub"), settings=PUSH))
    for token in (none, hashed):
        incoming = Incoming("POST", "https://a.example/", [(b"Authorization", b"Bearer " + token)], b"{}")
        for key in (json.dumps(KEY.as_dict(private=False)).encode(), KEY.as_pem(private=False)):
            with pytest.raises(NotVerified, match="no key"):
                verifier.verify(incoming, [], NOW, {GOOGLE_CERTS: key})


def test_a_shared_secret_signs_jwts_too() -> None:
    """As some vendors' apps do."""
    scheme = scheme_of({"algorithm": "jwt", "signature": ["header:Authorization"], "jwt": {"algorithms": ["HS256"]}})
    secret = b"s" * 32
    token = jwt.encode({"alg": "HS256"}, {"iat": int(NOW)}, jwk.OctKey.import_key(secret)).encode()
    incoming = Incoming("POST", "https://a.example/", [(b"Authorization", token)], b"{}")
    assert Verifier(scheme).verify(incoming, [b"w" * 32, secret], NOW) == Verified(None, None, None)
    for secrets in ([], [b""], [b"w" * 32]):
        with pytest.raises(NotVerified):
            Verifier(scheme).verify(incoming, secrets, NOW)


def test_a_setting_that_is_missing_is_told_when_the_verifier_is_made() -> None:
    """Not with the first webhook."""
    with pytest.raises(ValueError, match="webhook_id"):
        Verifier(preset("paypal"))
