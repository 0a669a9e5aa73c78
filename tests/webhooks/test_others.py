"""What others' code signs, and what vendors publish as an example, is taken as it is."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stripe
from gidgethub.sansio import validate_event
from slack_sdk.signature import SignatureVerifier
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook
from twilio.request_validator import RequestValidator

from sidecar.core.body import Headers
from sidecar.webhooks.incoming import Incoming, NotVerified, Verified, Verifier
from sidecar.webhooks.presets import preset

NOW = 1_750_000_000.0
BODY = '{"id": "evt_1", "object": "event",  "type": "ü"}'
FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HOOKS = Path(__file__).parent


def verified(
    name: str, secret: str, headers: Headers, body: bytes, at: float = NOW, url: str = "https://a.example/x"
) -> Verified:
    """Verify."""
    return Verifier(preset(name)).verify(Incoming("POST", url, headers, body), [secret.encode()], at)


@pytest.mark.parametrize("name", ["standard-webhooks", "openai", "anthropic", "gitlab"])
def test_standardwebhooks(name: str) -> None:
    """The library of the standard."""
    signature = Webhook(WHSEC).sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY)
    headers = [
        (b"webhook-id", b"msg_1"),
        (b"webhook-timestamp", b"1750000000"),
        (b"Webhook-Signature", signature.encode()),
    ]
    found = verified(name, WHSEC, headers, BODY.encode())
    assert (found.id, found.sent_at) == ("msg_1", NOW)
    assert found.type == (None if name == "gitlab" else "ü")


def test_svix() -> None:
    """Svix' own library, and its own names."""
    signature = SvixWebhook(WHSEC).sign("msg_1", datetime.fromtimestamp(NOW, UTC), BODY)
    headers = [(b"svix-id", b"msg_1"), (b"svix-timestamp", b"1750000000"), (b"svix-signature", signature.encode())]
    assert verified("svix", WHSEC, headers, BODY.encode()) == Verified("msg_1", "ü", NOW)


def test_stripe() -> None:
    """Stripe's own library; its secret is used as it is shown."""
    signature = stripe.WebhookSignature.generate_signature_header(BODY, WHSEC, int(NOW))
    assert verified("stripe", WHSEC, [(b"Stripe-Signature", signature.encode())], BODY.encode()) == Verified(
        "evt_1", "ü", NOW
    )


def test_slack() -> None:
    """Slack's own library."""
    signature = SignatureVerifier("s3").generate_signature(timestamp="1750000000", body=BODY)
    assert signature is not None
    headers = [(b"X-Slack-Signature", signature.encode()), (b"X-Slack-Request-Timestamp", b"1750000000")]
    assert verified("slack", "s3", headers, BODY.encode()).type == "ü"


@pytest.mark.parametrize("url", ["https://a.example/x?y=1", "https://a.example:443/x?y=1", "http://a.example:8080/x"])
def test_twilio_signs_forms_with_and_without_the_port(url: str) -> None:
    """Twilio's own library; it says itself that the port comes and goes."""
    fields = {"To": "+18005551212", "Body": "a b&c=ü", "Empty": ""}
    body = b"To=%2B18005551212&Body=a+b%26c%3D%C3%BC&Empty="
    for signed_url in {url, url.replace(":443", "")}:
        signature = RequestValidator("t0").compute_signature(signed_url, fields)
        headers = [FORM, (b"X-Twilio-Signature", signature.encode()), (b"I-Twilio-Idempotency-Token", b"i-1")]
        assert verified("twilio", "t0", headers, body, NOW, url).id == "i-1"
        with pytest.raises(NotVerified):
            verified("twilio", "t0", headers, body + b"1", NOW, url)


def test_twilio_signs_json_by_its_hash_in_the_query() -> None:
    """And nobody leaves the body out, or takes another for it, though the URL alone is signed."""
    validator = RequestValidator("t0")
    url = f"https://a.example/x?bodySHA256={validator.compute_hash(BODY)}"
    signature = (b"X-Twilio-Signature", validator.compute_signature(url, {}).encode())
    json_type = (b"Content-Type", b"application/json")
    assert verified("twilio", "t0", [json_type, signature], BODY.encode(), NOW, url).id is None
    for kind, body in (
        (json_type, b""),
        (FORM, b""),
        (json_type, b"{}"),
        (FORM, b"a=b"),
        (json_type, BODY.encode()[1:]),
    ):
        with pytest.raises(NotVerified):
            verified("twilio", "t0", [kind, signature], body, NOW, url)


def test_github() -> None:
    """GitHub's example, of which gidgethub says that it is right."""
    secret, signature = (
        "It's a Secret to Everybody",
        b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    )
    validate_event(b"Hello, World!", signature=signature.decode(), secret=secret)
    headers = [(b"X-Hub-Signature-256", signature), (b"X-GitHub-Delivery", b"d-1"), (b"X-GitHub-Event", b"push")]
    assert verified("github", secret, headers, b"Hello, World!") == Verified("d-1", "push", None)


SENDGRID = json.dumps(
    [
        {
            "email": "hello@world.com",
            "event": "dropped",
            "reason": "Bounced Address",
            "sg_event_id": "ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",
            "sg_message_id": "LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",
            "smtp-id": "<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",
            "timestamp": 1600112492,
        }
    ],
    sort_keys=True,
    separators=(",", ":"),
)
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6w"
    "EA3F+g=="
)
SENDGRID_SIGNATURE = b"MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
PSP = {
    "pspReference": "7914073381342284",
    "merchantReference": "TestPayment-1407325143704",
    "merchantAccountCode": "TestMerchant",
    "amount": {"currency": "EUR", "value": 1130},
    "eventCode": "AUTHORISATION",
    "success": "true",
    "additionalData": {"hmacSignature": "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0="},
}
ADYEN_KEY = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"


def test_sendgrid_signs_the_end_of_the_line_too() -> None:
    """The example of SendGrid's library."""
    name = b"X-Twilio-Email-Event-Webhook-"
    headers = [(name + b"Signature", SENDGRID_SIGNATURE), (name + b"Timestamp", b"1600112502")]
    body = SENDGRID.encode() + b"\r\n"
    assert verified("sendgrid", SENDGRID_KEY, headers, body, 1600112502.0) == Verified(None, None, 1600112502.0)
    with pytest.raises(NotVerified):
        verified("sendgrid", SENDGRID_KEY, headers, body.strip(), 1600112502.0)


def test_adyen_signs_fields_of_each_item() -> None:
    """The example of Adyen's library; an item that is not signed is not taken along."""
    body = {"live": "false", "notificationItems": [{"NotificationRequestItem": PSP}]}
    found = verified("adyen", ADYEN_KEY, [], json.dumps(body).encode())
    assert (found.id, found.type) == ("7914073381342284:AUTHORISATION:true", "AUTHORISATION")
    forged = {**PSP, "amount": {"currency": "EUR", "value": 113000}}
    for items in ([PSP, forged], [forged], [], [PSP, {}]):
        body = {"notificationItems": [{"NotificationRequestItem": item} for item in items]}
        with pytest.raises(NotVerified):
            verified("adyen", ADYEN_KEY, [], json.dumps(body).encode())


@pytest.mark.parametrize(
    ("name", "secret", "headers", "body", "at", "url"),
    [
        (
            "standard-webhooks",
            WHSEC,
            {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
            '{"test": 2432232314}',
            1614265330,
            "",
        ),
        (
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            {
                "X-Slack-Request-Timestamp": "1531420618",
                "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            },
            (
                "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
                "&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
                "&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
                "%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
            ),
            1531420618,
            "",
        ),
        (
            "twilio",
            "12345",
            {"X-Twilio-Signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8=", FORM[0].decode(): FORM[1].decode()},
            "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309",
            0,
            "https://mycompany.com/myapp.php?foo=1&bar=2",
        ),
        (
            "twilio",
            "12345",
            {"X-Twilio-Signature": "IK+Dwps556ElfBT0I3Rgjkr1wJU=", FORM[0].decode(): FORM[1].decode()},
            "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
            0,
            "https://mycompany.com/myapp.php?foo=1&bar=2",
        ),
        (
            "hubspot",
            "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
            {
                "X-HubSpot-Signature-v3": "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=",
                "X-HubSpot-Request-Timestamp": "1693657560000",
            },
            "{'example_field':'example_value'}",
            1693657560,
            "https://www.example.com/webhook_uri",
        ),
        *(
            (
                f"hubspot-{version}",
                "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy",
                {"X-HubSpot-Signature": signature, "X-HubSpot-Signature-Version": version},
                "{'example_field':'example_value'}",
                0,
                "https://www.example.com/webhook_uri",
            )
            for version, signature in (
                ("v1", "69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750"),
                ("v2", "4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383"),
            )
        ),
        (
            "square",
            "Ibxx_5AKakO-3qeNVR61Dw",
            {"x-square-hmacsha256-signature": "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4="},
            (
                '{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification",'
                '"event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z",'
                '"data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}'
            ),
            0,
            "https://webhook.site/679a4f3a-dcfa-49ee-bac5-9d0edad886b9",
        ),
        (
            "square",
            "signature-key",
            {"x-square-hmacsha256-signature": "Cxt7+aTi4rKgcA0bC4g9EHdVtLSDWdqccmL5MvihU4U="},
            '{"data":{"type":"webhooks","id":">id<"}}',
            0,
            "https://webhook.site/webhooks",
        ),
        (
            "pagerduty",
            "lDQHScfUeXUKaQRNF+8XIiDKZ7XX3itBAYzwU0TARw8lJqRnkKl2iB1anSb0Z+IK",
            {
                "X-PagerDuty-Signature": "v1=0c0b9495b893a39e70d1fea2fe11fbe0a825f88b9f67846f6cc07dd2bc5476cd",
            },
            (HOOKS / "pagerduty.json").read_text(),
            0,
            "",
        ),
    ],
)
def test_the_examples_of_vendors(name: str, secret: str, headers: dict[str, str], body: str, at: int, url: str) -> None:
    """As they stand in their documentation and in the tests of their libraries."""
    sent = [(key.encode(), value.encode()) for key, value in headers.items()]
    found = verified(name, secret, sent, body.encode(), at, url)
    assert found.sent_at in {None, at}
    with pytest.raises(NotVerified):
        verified(name, secret, sent, body.encode() + b"x", at, url)
    with pytest.raises(NotVerified):
        verified(name, secret + "x", sent, body.encode(), at, url)
