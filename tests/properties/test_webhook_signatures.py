"""Whatever is sent: only the exact bytes that were signed verify, and nothing but NotVerified comes of the rest."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.webhooks.incoming import Incoming, NotVerified, Verifier
from sidecar.webhooks.presets import preset
from tests.kit.senders import NOW, SENDERS, Sent

COVERING = sorted(name for name in SENDERS if preset(name).covers_body and preset(name).algorithm != "jwt")
HEADER = st.tuples(
    st.sampled_from([b"Authorization", b"Content-Type", b"Stripe-Signature", b"X-Hook-Secret", b"webhook-signature"]),
    st.binary(max_size=40) | st.sampled_from([b"application/x-www-form-urlencoded", b"Bearer a.b.c", b"t=1,v1=00"]),
)
BODY = st.binary(max_size=80) | st.sampled_from(
    [b"[" * 5000, b'{"value":[{}]}', b'{"signature":{"signature":1}}', b"a=b"]
)


def verifier(name: str, sent: Sent) -> Verifier:
    """Make the verifier of a preset."""
    return Verifier(msgspec.structs.replace(preset(name), settings=dict(sent.settings)))


@given(name=st.sampled_from(COVERING), body=st.binary(max_size=200), other=st.binary(max_size=200))
def test_nothing_but_the_exact_bytes_verifies(name: str, body: bytes, other: bytes) -> None:
    """Another body under the same signature is refused."""
    sent = SENDERS[name](body, NOW)
    if other in {body, sent.incoming.body}:
        return
    with pytest.raises(NotVerified):
        verifier(name, sent).verify(sent.incoming._replace(body=other), [sent.secret], NOW)


@given(
    name=st.sampled_from(sorted(SENDERS)),
    method=st.sampled_from(["POST", "GET", "HEAD", "PUT"]),
    url=st.text(max_size=60) | st.sampled_from(["https://a.example/?challenge=x", "https://a.example/?a=%ff&a=b"]),
    headers=st.lists(HEADER, max_size=4),
    body=BODY,
    now=st.floats(0, 4e9),
)
def test_whatever_comes_it_is_refused_by_a_sentence(
    name: str, method: str, url: str, headers: list[tuple[bytes, bytes]], body: bytes, now: float
) -> None:
    """Or it is a handshake that nobody signs: never another exception, and never an event."""
    sent = SENDERS[name](b"", NOW)
    made = verifier(name, sent)
    incoming = Incoming(method, url, headers, body)
    try:
        found = made.verify(incoming, [sent.secret], now, sent.keys)
    except NotVerified:
        return
    assert found.handshake is not None
