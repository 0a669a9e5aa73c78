"""Every preset takes what its vendor sends, and nothing that differs from it."""

import json

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwk

from sidecar.webhooks.incoming import Incoming, NotVerified, Verified, Verifier
from sidecar.webhooks.presets import preset, webhook_presets
from sidecar.webhooks.scheme import Scheme
from tests.kit.senders import NOW, SENDERS, Sent, certificate, http_date, millis, rfc3339, seconds

NAMES = sorted(SENDERS)
TIMED = [name for name in NAMES if preset(name).timestamp is not None]
SECRET = [name for name in NAMES if preset(name).keys is None]
COVERING = [name for name in NAMES if preset(name).covers_body]
BODIES = [b'{"id": "evt_1",  "type":"a.b"}', b"", b"\xff\xfe\x00{", b"[]\r\n"]


def verifier(name: str, sent: Sent) -> Verifier:
    """Make the verifier of a preset, with the settings that only its user knows."""
    scheme: Scheme = msgspec.structs.replace(preset(name), settings=dict(sent.settings))
    return Verifier(scheme)


def verified(name: str, sent: Sent, incoming: Incoming | None = None, at: float = NOW, *secrets: bytes) -> Verified:
    """Verify what was sent, or something else in its place."""
    return verifier(name, sent).verify(incoming or sent.incoming, secrets or [sent.secret], at, sent.keys)


def refusal(name: str, sent: Sent, incoming: Incoming | None = None, at: float = NOW, *secrets: bytes) -> str:
    """Give the sentence, which holds nothing of what is secret."""
    with pytest.raises(NotVerified) as caught:
        verified(name, sent, incoming, at, *secrets)
    sentence = str(caught.value)
    assert not sent.secret or sent.secret.decode() not in sentence
    for value in sent.incoming.values(sent.signature):
        assert value.decode() not in sentence
    return sentence


def write(unit: str, at: float) -> bytes:
    """Write a time as the preset's vendor does."""
    if unit == "rfc3339":
        return rfc3339(at)[:19]
    return {"s": seconds, "ms": millis, "http_date": http_date}[unit](at)


def without(incoming: Incoming, name: bytes) -> Incoming:
    """Leave a header out."""
    return incoming._replace(headers=[(key, value) for key, value in incoming.headers if key.lower() != name])


def test_every_preset_has_its_sender() -> None:
    """A preset that nobody tries is a guess."""
    assert tuple(NAMES) == webhook_presets()


@pytest.mark.parametrize("body", BODIES, ids=["json", "empty", "no text", "with an end of line"])
@pytest.mark.parametrize("name", NAMES)
def test_what_the_vendor_sends_is_taken(name: str, body: bytes) -> None:
    """Whatever the body is: it need not be text, and may be nothing."""
    sent = SENDERS[name](body, NOW)
    found = verified(name, sent)
    assert found.handshake is None or (name, body) == ("xero", b"[]\r\n")
    if preset(name).timestamp is not None and found.sent_at is not None:
        assert abs(found.sent_at - NOW) < 1


@pytest.mark.parametrize("name", COVERING)
def test_every_bit_of_the_body_counts(name: str) -> None:
    """Flipped anywhere, cut, lengthened, or written anew as the same JSON."""
    sent = SENDERS[name](BODIES[0], NOW)
    body = sent.incoming.body
    others = [body[:at] + bytes([body[at] ^ 1 << at % 8]) + body[at + 1 :] for at in range(len(body))]
    others += [b"", body[:-1], body + b"\n", b" " + body]
    if not name.startswith("linear"):
        others.append(json.dumps(json.loads(body)).encode())
    for other in others:
        refusal(name, sent, sent.incoming._replace(body=other))


@pytest.mark.parametrize("name", [name for name in NAMES if SENDERS[name](b"", NOW).signature != b"signature"])
def test_every_bit_of_the_signature_counts(name: str) -> None:
    """Also one that only makes a small letter large: a signature is written in one way."""
    sent = SENDERS[name](BODIES[0], NOW)
    [value] = sent.incoming.values(sent.signature)
    rest = without(sent.incoming, sent.signature)
    for at in range(-min(len(value), 40), 0):  # Its end, behind what stands before it and other signatures.
        for bit in (1, 32):
            other = value[:at] + bytes([value[at] ^ bit]) + value[len(value) + at + 1 :]
            refusal(name, sent, rest._replace(headers=[*rest.headers, (sent.signature, other)]))
    for other in (value[:-1], value + b"0", value + b"=", b""):
        refusal(name, sent, rest._replace(headers=[*rest.headers, (sent.signature, other)]))


# What stands in front of a signature that is in the body.
WITHIN = {
    "adyen": b'"hmacSignature": "', "aws": b'"Signature": "', "braintree": b"bt_signature=",
    "mailgun": b'{"signature": {"timestamp"', "mailgun-routes": b"&signature=", "microsoft_graph": b'"clientState": "',
}  # fmt: skip
# What is signed of a body that is not signed as a whole, and what somebody would like to have there.
SIGNED = [
    ("adyen", b"1130", b"9130"), ("adyen", b"Shop", b"Shoq"), ("adyen", b"psp2", b"psp3"),
    ("adyen", b'"success": "true"', b'"success": "trud"'), ("aws", b'"m-1"', b'"m-2"'),
    ("aws", b"Notification", b"Notificatiom"), ("aws", b'"Type":', b'"Subject": "x", "Type":'),
    ("braintree", b"bt_payload=e", b"bt_payload=f"),
    ("mailgun", b"ab12", b"ab13"), ("mailgun-routes", b"ab12", b"ab13"), ("mandrill", b"Digits=2", b"Digits=3"),
    ("mandrill", b"To=", b"Too="), ("paypal", b"evt_1", b"evt_2"), ("twilio", b"Digits=2", b"Digits=3"),
    ("twilio", b"To=", b"Too="),
]  # fmt: skip


def test_every_preset_that_signs_within_the_body_is_among_these() -> None:
    """None is left out of what is tried; a JWT and a token in a header sign nothing there."""
    within = {name for name in NAMES if SENDERS[name](b"", NOW).signature == b"signature"}
    assert within == WITHIN.keys()
    partly = {name for name in NAMES if not preset(name).covers_body and preset(name).algorithm not in {"token", "jwt"}}
    assert partly == {name for name, _, _ in SIGNED}


@pytest.mark.parametrize("name", sorted(WITHIN))
def test_every_bit_of_a_signature_in_the_body_counts(name: str) -> None:
    """As of one in a header; also left out."""
    sent = SENDERS[name](BODIES[0], NOW)
    body = sent.incoming.body
    start = body.index(WITHIN[name]) + len(WITHIN[name])
    if name == "mailgun":
        start = body.index(b'"signature": "', start) + len(b'"signature": "')
    end = min(at for at in (body.find(b'"', start), body.find(b"&", start), len(body)) if at > 0)
    for at in range(max(start, end - 40), end):
        for bit in (1, 32):
            other = body[:at] + bytes([body[at] ^ bit]) + body[at + 1 :]
            refusal(name, sent, sent.incoming._replace(body=other))
    refusal(name, sent, sent.incoming._replace(body=body[:start] + body[end:]))


@pytest.mark.parametrize(("name", "now", "wanted"), SIGNED)
def test_what_is_signed_of_a_body_counts(name: str, now: bytes, wanted: bytes) -> None:
    """Where the rest of it does not."""
    sent = SENDERS[name](BODIES[0], NOW)
    body = sent.incoming.body
    assert now in body
    refusal(name, sent, sent.incoming._replace(body=body.replace(now, wanted, 1)))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SECRET)))
def test_another_key_at_the_vendors_host_is_refused(name: str) -> None:
    """As another secret is; and what is no key is none."""
    sent = SENDERS[name](BODIES[0], NOW)
    [url] = sent.keys
    other = rsa.generate_private_key(65537, 2048)
    keys = json.dumps({"keys": [jwk.RSAKey.import_key(other, {"kid": "g"}).as_dict(private=False)]}).encode()
    for found in (keys if preset(name).algorithm == "jwt" else certificate(other), b"", b"<html>"):
        refusal(name, sent._replace(keys={url: found}))


@pytest.mark.parametrize("name", TIMED)
def test_a_time_that_is_too_far_away_is_refused_on_both_sides(name: str) -> None:
    """Up to the tolerance, it is taken."""
    tolerance = preset(name).tolerance
    sent = SENDERS[name](BODIES[0], NOW)
    for at in (NOW - tolerance + 1, NOW + tolerance - 1):
        if not sent.keys:
            assert verified(name, sent, None, at).sent_at is not None
    ahead, ago = (refusal(name, sent, None, NOW + far) for far in (-tolerance - 2, tolerance + 2))
    assert sent.keys or ("ahead" in ahead and "ago" in ago)


@pytest.mark.parametrize("name", TIMED)
def test_another_time_than_the_signed_one_is_refused(name: str) -> None:
    """It is signed: a stale webhook is not made fresh."""
    sent = SENDERS[name](BODIES[0], NOW)
    now, later = (write(preset(name).unit, at) for at in (NOW, NOW + 1))
    headers = [(each, value.replace(now, later)) for each, value in sent.incoming.headers]
    other = sent.incoming._replace(headers=headers, body=sent.incoming.body.replace(now, later))
    assert (other != sent.incoming) or preset(name).algorithm == "jwt"
    if other != sent.incoming:
        refusal(name, sent, other)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_is_missing_is_told(name: str) -> None:
    """Each that the scheme needs, by itself."""
    scheme, sent = preset(name), SENDERS[name](BODIES[0], NOW)
    needed = {sent.signature} if sent.signature != b"signature" else set()
    if scheme.timestamp is not None and scheme.timestamp.startswith("header:"):
        needed.add(scheme.timestamp[7:].lower().encode())
    if "{id}" in scheme.signed:
        needed.add((scheme.id or "")[7:].lower().encode())
    for header in needed:
        assert sent.incoming.values(header)
        refusal(name, sent, without(sent.incoming, header))
    refusal(name, sent, sent.incoming._replace(headers=[], body=b""))


@pytest.mark.parametrize("name", NAMES)
def test_a_header_that_says_two_things_is_refused(name: str) -> None:
    """Two readers could take one each."""
    sent = SENDERS[name](BODIES[0], NOW)
    if sent.signature != b"signature":
        twice = sent.incoming._replace(headers=[(sent.signature, b"another"), *sent.incoming.headers])
        assert "more than once" in refusal(name, sent, twice)


@pytest.mark.parametrize("name", SECRET)
def test_another_secret_is_refused_and_one_of_several_is_enough(name: str) -> None:
    """While one is rotated, both are held, in any order; an empty one is none."""
    sent = SENDERS[name](BODIES[0], NOW)
    refusal(name, sent, None, NOW, sent.wrong)
    refusal(name, sent, None, NOW, b"")
    refusal(name, sent, None, NOW, b" \n")
    with pytest.raises(NotVerified):
        verifier(name, sent).verify(sent.incoming, [], NOW, sent.keys)
    for secrets in ((sent.wrong, sent.secret), (sent.secret, sent.wrong), (b"", sent.secret)):
        assert verified(name, sent, None, NOW, *secrets).handshake is None
    several = verifier(name, sent)
    for number in range(20):
        several.verify(sent.incoming, [sent.secret, b"%d" % number], NOW)


@pytest.mark.parametrize("name", NAMES)
def test_a_get_is_no_event(name: str) -> None:
    """Even when it is signed as one."""
    sent = SENDERS[name](BODIES[0], NOW)
    try:
        found = verified(name, sent, sent.incoming._replace(method="GET"))
    except NotVerified:
        return
    assert found.handshake is not None
