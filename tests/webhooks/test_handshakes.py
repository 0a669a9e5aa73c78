"""Handshakes: each vendor gets the answer that it waits for, and nobody gets more than that."""

import base64
import hashlib
import hmac
import json
from urllib.parse import quote

import msgspec
import pytest

from sidecar.core.body import Headers
from sidecar.webhooks.handshake import ECHO_MAX
from sidecar.webhooks.incoming import Handshake, Incoming, NotVerified, Verified, Verifier
from sidecar.webhooks.presets import preset, webhook_presets
from tests.kit.senders import NOW, SENDERS, SUBSCRIBE, URL, sns_confirmation

NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
TEXT = [(b"Content-Type", b"text/plain"), NOSNIFF]


def signed(name: str, body: bytes, **headers: str) -> Handshake | None:
    """Send a POST that is signed, with further headers."""
    sent = SENDERS[name](body, NOW)
    more = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
    incoming = sent.incoming._replace(headers=[*more, *sent.incoming.headers])
    return Verifier(preset(name)).verify(incoming, [sent.wrong, sent.secret], NOW).handshake


def unsigned(
    name: str, method: str, url: str = URL, headers: Headers | None = None, settings: dict[str, str] | None = None
) -> Handshake | None:
    """Send something that nobody has signed."""
    verifier = Verifier(msgspec.structs.replace(preset(name), settings=settings or {}))
    incoming = Incoming(method, url, headers or [], b"")
    assert method in verifier.methods
    return verifier.verify(incoming, [b"secret"], NOW).handshake


def test_slack_gets_its_challenge() -> None:
    """Only when it has signed what it asks."""
    body = b'{"type":"url_verification","challenge":"3eZb","token":"x"}'
    assert signed("slack", body) == Handshake(200, TEXT, b"3eZb")
    assert signed("slack", b'{"type":"url_verification"}') is None
    assert signed("slack", b'{"type":"event_callback","challenge":"3eZb"}') is None
    with pytest.raises(NotVerified):
        Verifier(preset("slack")).verify(Incoming("POST", URL, [], body), [b"secret"], NOW)


def test_zoom_gets_its_token_signed_with_the_secret_that_it_signed_with() -> None:
    """Two are held while one is rotated."""
    answer = signed("zoom", b'{"event":"endpoint.url_validation","payload":{"plainToken":"q\\"g"}}')
    assert answer is not None
    assert (answer.status, answer.headers[0]) == (200, (b"Content-Type", b"application/json"))
    hashed = hmac.new(b"It's a Secret", b'q"g', hashlib.sha256).hexdigest()
    assert json.loads(answer.body) == {"plainToken": 'q"g', "encryptedToken": hashed}
    assert signed("zoom", b'{"event":"meeting.started","payload":{"plainToken":"q"}}') is None


def test_twitch_gets_its_challenge() -> None:
    """A kind that somebody has changed does not make a handshake of an event."""
    body = b'{"challenge":"pogchamp","subscription":{}}'
    sent = SENDERS["twitch"](body, NOW).incoming
    kind = b"Twitch-Eventsub-Message-Type"
    for body_sent, answer in ((body, Handshake(200, TEXT, b"pogchamp")), (b'{"event":{}}', None)):
        sent = SENDERS["twitch"](body_sent, NOW).incoming
        headers = [(key, b"webhook_callback_verification" if key == kind else value) for key, value in sent.headers]
        verified = Verifier(preset("twitch")).verify(sent._replace(headers=headers), [b"It's a Secret"], NOW)
        assert verified.handshake == answer


def test_discord_gets_its_pong() -> None:
    """Of interactions and of events; and 401 for the wrong signatures that it sends on purpose."""
    answer = signed("discord", b'{"id":"1","type":1,"version":1}')
    assert answer is not None
    assert (answer.status, json.loads(answer.body)) == (200, {"type": 1})
    events = signed("discord", b'{"version":1,"type":0}')
    assert events is not None
    assert (events.status, events.body) == (204, b"")
    assert signed("discord", b'{"version":1,"type":1,"event":{"type":"APPLICATION_AUTHORIZED"}}') is None
    assert signed("discord", b'{"id":"1","type":2,"version":1}') is None


def test_xero_sees_whether_signatures_are_looked_at() -> None:
    """No events and the right signature: 200 and nothing. A wrong one is refused as always."""
    body = b'{"events":[],"lastEventSequence":0,"firstEventSequence":0,"entropy":"S0m3"}'
    assert signed("xero", body) == Handshake(200, TEXT, b"")
    assert signed("xero", b'{"events":[{}]}') is None
    with pytest.raises(NotVerified):
        Verifier(preset("xero")).verify(SENDERS["xero"](body, NOW).incoming, [b"another"], NOW)


def test_asana_gets_its_secret_back() -> None:
    """In the header; a webhook that is signed is none."""
    answer = unsigned("asana", "POST", URL, [(b"X-Hook-Secret", b"b537")])
    assert answer == Handshake(200, [*TEXT, (b"X-Hook-Secret", b"b537")], b"")
    assert signed("asana", b'{"events":[]}', X_Hook_Secret="b537") is None
    with pytest.raises(NotVerified):
        unsigned("asana", "POST", URL, [(b"X-Hook-Secret", b"a\r\nSet-Cookie: b")])


def test_asana_and_notion_bring_their_secrets_and_no_other_vendor_does() -> None:
    """What they bring shows in no repr; what is signed brings none."""
    found = {name for name in webhook_presets() if any(each.secret for each in preset(name).handshakes)}
    assert found == {"asana", "notion"}
    for name, headers, body in (
        ("asana", [(b"X-Hook-Secret", b"canary-1")], b""),
        ("notion", [], b'{"verification_token": "canary-1"}'),
    ):
        verifier = Verifier(preset(name))
        greeted = verifier.greeted(Incoming("POST", "https://x/", headers, body))
        assert greeted is not None
        assert greeted.secret is not None
        assert greeted.secret.reveal() == b"canary-1"
        assert "canary" not in repr(greeted.secret)
        assert verifier.greeted(Incoming("POST", "https://x/", [], b'{"type": "x"}')) is None
    signed = [(b"X-Notion-Signature", b"sha256=00")]
    assert Verifier(preset("notion")).greeted(Incoming("POST", "https://x/", signed, body)) is None


def subscription(url: str = SUBSCRIBE) -> Verified:
    """Have SNS ask for a confirmation."""
    sent = sns_confirmation(url)
    scheme = msgspec.structs.replace(preset("aws"), settings=dict(sent.settings))
    return Verifier(scheme).verify(sent.incoming, [], NOW, sent.keys)


def test_sns_names_what_is_to_be_called_and_that_is_its_own() -> None:
    """Signed, for one of our topics, at SNS; it says what it is, for whom no call is made."""
    found = subscription()
    assert found.handshake is not None
    assert (found.visits, found.type, found.id) == (SUBSCRIBE, "SubscriptionConfirmation", "m-0")
    for url in (
        SUBSCRIBE.replace("https", "http"), SUBSCRIBE.replace("sns.eu-central-1.amazonaws.com", "sns.evil.example"),
        SUBSCRIBE.replace("amazonaws.com", "amazonaws.com.evil.example"), SUBSCRIBE.replace("//sns", "//a@sns"),
        SUBSCRIBE.replace(".com/", ".com:8443/"), SUBSCRIBE.replace("ConfirmSubscription", "DeleteTopic"),
        SUBSCRIBE.replace("sns.eu-central-1", "s3.eu-central-1"), SUBSCRIBE + "#x", SUBSCRIBE + "a" * 1024,
        "https://169.254.169.254/?Action=ConfirmSubscription&a",
    ):  # fmt: skip
        with pytest.raises(NotVerified, match="the URL at json:SubscribeURL"):
            subscription(url)
    sent = SENDERS["aws"](b"x", NOW)
    scheme = msgspec.structs.replace(preset("aws"), settings=dict(sent.settings))
    assert Verifier(scheme).verify(sent.incoming, [], NOW, sent.keys).visits is None


@pytest.mark.parametrize(
    ("name", "method", "query", "body"),
    [
        ("dropbox", "GET", "challenge=abc%20d", b"abc d"),
        ("microsoft_graph", "POST", "validationToken=Validation%3A+Testing", b"Validation: Testing"),
        ("meta", "GET", "hub.mode=subscribe&hub.verify_token=x&hub.challenge=115", b"115"),
    ],
)
def test_a_challenge_in_the_query_is_sent_back_as_text(name: str, method: str, query: str, body: bytes) -> None:
    """Decoded, and so that no browser takes it for a page; not without end, and not two of them."""
    assert unsigned(name, method, f"https://a.example/x?{query}") == Handshake(200, TEXT, body)
    place = query.rpartition("&")[2].partition("=")[0]
    start = query.partition("=")[0] + "=subscribe&" if "&" in query else ""
    for wrong in (f"{place}={'a' * (ECHO_MAX + 1)}", f"{place}=a&{place}=b", f"{place}=%ff", "other=a"):
        with pytest.raises(NotVerified):
            unsigned(name, method, f"https://a.example/x?{start}{wrong}")
    page = unsigned(name, method, f"https://a.example/x?{start}{place}={quote('<script>')}")
    assert page is not None
    assert (page.headers, page.body) == (TEXT, b"<script>")


def test_braintree_gets_its_challenge_signed() -> None:
    """The example of Braintree's library; nothing that could be an event is signed for whoever asks."""
    private, settings = b"integration_private_key", {"public_key": "integration_public_key"}
    verifier = Verifier(msgspec.structs.replace(preset("braintree"), settings=settings))
    url = "https://a.example/?bt_challenge="
    incoming = Incoming("GET", url + "20f9f8ed05f77439fe955c977e4c8a53", [], b"")
    answer = verifier.verify(incoming, [private], NOW).handshake
    assert answer is not None
    assert answer.body == b"integration_public_key|d9b899556c966b3f06945ec21311865d35df3ce4"
    for wrong in (quote(base64.b64encode(b"<notification/>")), "", "20f9", "a" * 33):
        with pytest.raises(NotVerified):
            verifier.verify(incoming._replace(url=url + wrong), [private], NOW)
    with pytest.raises(NotVerified):
        verifier.verify(incoming, [], NOW)


def test_okta_gets_its_challenge_in_json() -> None:
    """By GET; the header of events is not looked at there."""
    answer = unsigned("okta", "GET", URL, [(b"X-Okta-Verification-Challenge", b"c-1")])
    assert answer is not None
    assert json.loads(answer.body) == {"verification": "c-1"}


@pytest.mark.parametrize(("name", "method"), [("intercom", "HEAD"), ("mailchimp", "GET"), ("mandrill", "HEAD")])
def test_who_only_looks_whether_somebody_is_there_gets_200(name: str, method: str) -> None:
    """And nothing else."""
    assert unsigned(name, method) == Handshake(200, TEXT, b"")


@pytest.mark.parametrize("name", sorted(SENDERS))
def test_methods_that_no_handshake_has_are_not_named(name: str) -> None:
    """What is answered with 405."""
    handshakes = {handshake.method for handshake in preset(name).handshakes}
    settings = dict.fromkeys(preset(name).settings_missing, "x")
    assert Verifier(msgspec.structs.replace(preset(name), settings=settings)).methods == {"POST", *handshakes}
