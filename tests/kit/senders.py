"""The vendors' side of webhooks, for every preset: what they would send, signed by hand."""

import base64
import hashlib
import hmac
import json
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import quote_plus, urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID
from joserfc import jwk, jwt

from sidecar.core.body import Headers
from sidecar.webhooks.incoming import Incoming

URL = "https://hooks.example.com/vendor?team=1"
NOW = 1_750_000_000.0
PAYPAL_CERT = "https://api.paypal.com/v1/notifications/certs/CERT-1"
SNS_CERT = "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-1.pem"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:orders"
ACCOUNT = {"email": "push@project.iam.gserviceaccount.com", "email_verified": True}
GOOGLE_CERTS = "https://www.googleapis.com/oauth2/v3/certs"

EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)


class Sent(NamedTuple):
    """A webhook, and what its receiver holds."""

    incoming: Incoming
    secret: bytes
    wrong: bytes  # A secret of the same form that is another.
    keys: Mapping[str, bytes] = {}
    settings: Mapping[str, str] = {}
    signature: bytes = b"signature"  # The header with the signature, in small letters.


def mac(algorithm: str, key: bytes, text: bytes, encoding: str) -> bytes:
    """Sign."""
    raw = hmac.new(key, text, algorithm).digest()
    return base64.b64encode(raw) if encoding == "base64" else raw.hex().encode()


def der(key: ec.EllipticCurvePublicKey) -> bytes:
    """Write a public key as SendGrid shows it."""
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(key.public_bytes(serialization.Encoding.DER, public))


def certificate(key: rsa.RSAPrivateKey = RSA, at: float = NOW) -> bytes:
    """Write a certificate that is valid for a day around `at`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "messages.example.com")])
    day = datetime.fromtimestamp(at, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(day - timedelta(days=1)).not_valid_after(day + timedelta(1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def seconds(at: float) -> bytes:
    """Write a time."""
    return b"%d" % at


def millis(at: float) -> bytes:
    """Write a time."""
    return b"%d" % (at * 1000)


def rfc3339(at: float) -> bytes:
    """Write a time, to the nanosecond as Twitch does."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z").encode()


def http_date(at: float) -> bytes:
    """Write a time."""
    return format_datetime(datetime.fromtimestamp(at, UTC), usegmt=True).encode()


def post(headers: Headers, body: bytes, url: str = URL) -> Incoming:
    """Send."""
    return Incoming("POST", url, [(b"Content-Type", b"application/json"), *headers], body)


def of_body(
    header: str, prefix: str = "", encoding: str = "hex", algorithm: str = "sha256", *more: tuple[str, str]
) -> Callable[[bytes, float], Sent]:
    """Sign the body alone."""

    def send(body: bytes, at: float) -> Sent:
        signature = prefix.encode() + mac(algorithm, b"It's a Secret", body, encoding)
        headers = [(header.encode(), signature), *((name.encode(), value.encode()) for name, value in more)]
        return Sent(post(headers, body), b"It's a Secret", b"another", signature=header.lower().encode())

    return send


def of_time(
    header: str,
    text: str,
    prefix: str = "",
    time: str = "",
    encoding: str = "hex",
    write: Callable[[float], bytes] = seconds,
) -> Callable[[bytes, float], Sent]:
    """Sign a time, and what stands around it, in `text`: T is the time, B the body, everything else itself."""

    def send(body: bytes, at: float) -> Sent:
        told = write(at)
        signed = b"".join({"T": told, "B": body}.get(char, char.encode()) for char in text)
        signature = mac("sha256", b"It's a Secret", signed, encoding)
        headers = [(header.encode(), prefix.replace("T", told.decode()).encode() + signature)]
        if time:
            headers.append((time.encode(), told))
        return Sent(post(headers, body), b"It's a Secret", b"another", signature=header.lower().encode())

    return send


def standard(prefix: str = "webhook") -> Callable[[bytes, float], Sent]:
    """Sign as Standard Webhooks does."""

    def send(body: bytes, at: float) -> Sent:
        signature = mac("sha256", b"k" * 24, b"msg_1.%d.%s" % (at, body), "base64")
        names = [f"{prefix}-{name}".encode() for name in ("id", "timestamp", "signature")]
        headers = list(zip(names, [b"msg_1", seconds(at), b"v1,other v1," + signature], strict=True))
        secret, wrong = (b"whsec_" + base64.b64encode(key * 24) for key in (b"k", b"w"))
        return Sent(post(headers, body), secret, wrong, signature=names[2])

    return send


def token(header: str, value: bytes = b"It's a Secret", *more: tuple[str, str]) -> Callable[[bytes, float], Sent]:
    """Send the secret itself."""

    def send(body: bytes, at: float) -> Sent:
        headers = [(header.encode(), value), *((name.encode(), value.encode()) for name, value in more)]
        return Sent(post(headers, body), b"It's a Secret", b"another", signature=header.lower().encode())

    return send


def form_of(body: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """Make a form that holds the body."""
    fields = [("To", "+18005551212"), ("Body", body.decode("latin-1")), ("Digits", "2"), ("Digits", "1")]
    return urlencode(fields, quote_via=quote_plus).encode(), fields


def of_form(header: str, signed_url: str = URL) -> Callable[[bytes, float], Sent]:
    """Sign the URL and the sorted fields."""

    def send(body: bytes, at: float) -> Sent:
        whole, fields = form_of(body)
        text = signed_url + "".join(name + value for name, value in sorted(set(fields)))
        signature = mac("sha1", b"It's a Secret", text.encode(), "base64")
        headers = [(b"Content-Type", b"application/x-www-form-urlencoded"), (header.encode(), signature)]
        incoming = Incoming("POST", URL, headers, whole)
        return Sent(incoming, b"It's a Secret", b"another", signature=header.lower().encode())

    return send


def hubspot(body: bytes, at: float) -> Sent:
    """Sign method, URL, body and time."""
    signature = mac("sha256", b"It's a Secret", b"POST" + URL.encode() + body + millis(at), "base64")
    headers = [(b"X-HubSpot-Signature-v3", signature), (b"X-HubSpot-Request-Timestamp", millis(at))]
    return Sent(post(headers, body), b"It's a Secret", b"another", signature=b"x-hubspot-signature-v3")


def plain_hash(text: bytes = b"") -> Callable[[bytes, float], Sent]:
    """Hash the secret and the body, and what stands between them."""

    def send(body: bytes, at: float) -> Sent:
        header = b"X-HubSpot-Signature"
        signature = hashlib.sha256(b"It's a Secret" + text + body).hexdigest().encode()
        return Sent(post([(header, signature)], body), b"It's a Secret", b"another", signature=header.lower())

    return send


def square(body: bytes, at: float) -> Sent:
    """Sign URL and body."""
    header = b"x-square-hmacsha256-signature"
    signature = mac("sha256", b"It's a Secret", URL.encode() + body, "base64")
    return Sent(post([(header, signature)], body), b"It's a Secret", b"another", signature=header)


def sendgrid(body: bytes, at: float) -> Sent:
    """Sign time and body with a key on P-256."""
    signature = base64.b64encode(EC.sign(seconds(at) + body, ec.ECDSA(hashes.SHA256())))
    name = b"X-Twilio-Email-Event-Webhook-"
    headers = [(name + b"Signature", signature), (name + b"Timestamp", seconds(at))]
    wrong = der(ec.generate_private_key(ec.SECP256R1()).public_key())
    return Sent(post(headers, body), der(EC.public_key()), wrong, signature=(name + b"Signature").lower())


def discord(body: bytes, at: float) -> Sent:
    """Sign time and body with Ed25519."""
    headers = [
        (b"X-Signature-Ed25519", ED.sign(seconds(at) + body).hex().encode()),
        (b"X-Signature-Timestamp", seconds(at)),
    ]
    key, wrong = (
        each.public_key().public_bytes_raw().hex().encode() for each in (ED, ed25519.Ed25519PrivateKey.generate())
    )
    return Sent(post(headers, body), key, wrong, signature=b"x-signature-ed25519")


def paypal(body: bytes, at: float) -> Sent:
    """Sign the number of the body with a certificate's key."""
    text = b"T-1|%s|WH-1|%d" % (rfc3339(at), zlib.crc32(body))
    signature = base64.b64encode(RSA.sign(text, padding.PKCS1v15(), hashes.SHA256()))
    headers = [
        (b"PAYPAL-TRANSMISSION-ID", b"T-1"),
        (b"PAYPAL-TRANSMISSION-TIME", rfc3339(at)),
        (b"PAYPAL-TRANSMISSION-SIG", signature),
        (b"PAYPAL-CERT-URL", PAYPAL_CERT.encode()),
    ]
    keys, settings = {PAYPAL_CERT: certificate()}, {"webhook_id": "WH-1"}
    return Sent(post(headers, body), b"", b"", keys, settings, b"paypal-transmission-sig")


SUBSCRIBE = f"https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=2336412f37fb"


def aws(body: bytes, at: float) -> Sent:
    """Sign the lines of an SNS notification."""
    fields = {
        "Message": body.decode("latin-1"),
        "MessageId": "m-1",
        "Timestamp": rfc3339(at).decode(),
        "TopicArn": TOPIC,
    }
    return sns({**fields, "Type": "Notification"})


def sns_confirmation(url: str = SUBSCRIBE) -> Sent:
    """Sign what SNS asks before it sends anything."""
    at = rfc3339(NOW).decode()
    fields = {"Message": "You have chosen ..", "MessageId": "m-0", "SubscribeURL": url, "Timestamp": at}
    return sns({**fields, "Token": "2336412f37fb", "TopicArn": TOPIC, "Type": "SubscriptionConfirmation"})


def sns(fields: dict[str, str]) -> Sent:
    """Sign each name and each value, in their order."""
    text = "".join(f"{name}\n{value}\n" for name, value in fields.items())
    signature = base64.b64encode(RSA.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()
    whole = json.dumps({**fields, "Signature": signature, "SigningCertURL": SNS_CERT}).encode()
    return Sent(post([], whole), b"", b"", {SNS_CERT: certificate()}, {"topic_arn": TOPIC})


def adyen(body: bytes, at: float) -> Sent:
    """Sign some fields of each item."""
    items = []
    for number in (1, 2):
        text = f"psp{number}::Shop:{body.decode('latin-1')}:1130:EUR:AUTHORISATION:true"
        item = {
            "pspReference": f"psp{number}",
            "merchantAccountCode": "Shop",
            "merchantReference": body.decode("latin-1"),
            "amount": {"value": 1130, "currency": "EUR"},
            "eventCode": "AUTHORISATION",
            "success": "true",
            "additionalData": {"hmacSignature": mac("sha256", b"k" * 32, text.encode(), "base64").decode()},
        }
        items.append({"NotificationRequestItem": item})
    whole = json.dumps({"live": "false", "notificationItems": items}).encode()
    return Sent(post([], whole), b"6b" * 32, b"6c" * 32)


def adyen_platform(body: bytes, at: float) -> Sent:
    """Sign the body with a key that is written in hex."""
    signature = mac("sha256", b"k" * 32, body, "base64")
    return Sent(post([(b"HmacSignature", signature)], body), b"6B" * 32, b"6c" * 32, signature=b"hmacsignature")


def airtable(body: bytes, at: float) -> Sent:
    """Sign the body with a key that is written in base64."""
    name = b"X-Airtable-Content-MAC"
    signature = b"hmac-sha256=" + mac("sha256", b"k" * 32, body, "hex")
    secret, wrong = base64.b64encode(b"k" * 32), base64.b64encode(b"w" * 32)
    return Sent(post([(name, signature)], body), secret, wrong, signature=name.lower())


def box(body: bytes, at: float) -> Sent:
    """Sign twice; the second key is the receiver's."""
    told = rfc3339(at).replace(b"Z", b"+00:00")
    headers = [
        (b"BOX-SIGNATURE-PRIMARY", mac("sha256", b"new", body + told, "base64")),
        (b"BOX-SIGNATURE-SECONDARY", mac("sha256", b"It's a Secret", body + told, "base64")),
        (b"BOX-DELIVERY-TIMESTAMP", told),
    ]
    return Sent(post(headers, body), b"It's a Secret", b"another", signature=b"box-signature-secondary")


def twitch(body: bytes, at: float) -> Sent:
    """Sign id, time and body."""
    signature = b"sha256=" + mac("sha256", b"It's a Secret", b"id-1" + rfc3339(at) + body, "hex")
    name = b"Twitch-Eventsub-Message-"
    headers = [(name + b"Id", b"id-1"), (name + b"Timestamp", rfc3339(at)), (name + b"Signature", signature)]
    headers.append((name + b"Type", b"notification"))
    sent = Sent(post(headers, body), b"It's a Secret", b"another")
    return sent._replace(signature=(name + b"Signature").lower())


def linear(body: bytes, at: float) -> Sent:
    """Sign a body that holds the time."""
    whole = json.dumps({"type": "Issue", "action": "x", "text": body.decode("latin-1"), "webhookTimestamp": at * 1000})
    whole = whole.replace(".0}", "}")
    return of_body("Linear-Signature")(whole.encode(), at)


def mailgun(body: bytes, at: float) -> Sent:
    """Sign time and token, and nothing else."""
    signed = {"timestamp": f"{at:.0f}", "token": "ab12"}
    signed["signature"] = mac("sha256", b"It's a Secret", f"{at:.0f}ab12".encode(), "hex").decode()
    whole = json.dumps({"signature": signed, "event-data": {"event": "opened", "text": body.decode("latin-1")}})
    return Sent(post([], whole.encode()), b"It's a Secret", b"another")


def mailgun_routes(body: bytes, at: float) -> Sent:
    """The same in a form."""
    signature = mac("sha256", b"It's a Secret", f"{at:.0f}ab12".encode(), "hex").decode()
    fields = {"timestamp": f"{at:.0f}", "token": "ab12", "signature": signature, "body": body.decode("latin-1")}
    headers = [(b"Content-Type", b"application/x-www-form-urlencoded")]
    return Sent(Incoming("POST", URL, headers, urlencode(fields).encode()), b"It's a Secret", b"another")


def braintree(body: bytes, at: float) -> Sent:
    """Sign a field of a form with the hash of the key."""
    payload = base64.b64encode(body)
    signature = mac("sha1", hashlib.sha1(b"It's a Secret", usedforsecurity=False).digest(), payload, "hex")
    whole = urlencode({"bt_signature": b"other|00&pub|" + signature, "bt_payload": payload}).encode()
    headers = [(b"Content-Type", b"application/x-www-form-urlencoded")]
    incoming = Incoming("POST", URL, headers, whole)
    return Sent(incoming, b"It's a Secret", b"another", settings={"public_key": "pub"})


def plaid(body: bytes, at: float) -> Sent:
    """Send a JWT with the hash of the body."""
    claims = {"iat": int(at), "request_body_sha256": hashlib.sha256(body).hexdigest()}
    key = jwk.ECKey.generate_key("P-256", {"kid": "1"})
    told = jwt.encode({"alg": "ES256", "kid": "1"}, claims, key).encode()
    secret, wrong = (
        json.dumps(each.as_dict(private=False)).encode()
        for each in (key, jwk.ECKey.generate_key("P-256", {"kid": "1"}))
    )
    return Sent(post([(b"Plaid-Verification", told)], body), secret, wrong, signature=b"plaid-verification")


def google_pubsub(body: bytes, at: float) -> Sent:
    """Send a JWT as a bearer."""
    claims = {"iat": int(at), "exp": int(at) + 600, "iss": "https://accounts.google.com", "aud": "aud-1", **ACCOUNT}
    key = jwk.RSAKey.import_key(RSA, {"kid": "g"})
    told = jwt.encode({"alg": "RS256", "kid": "g"}, claims, key).encode()
    keys = {GOOGLE_CERTS: json.dumps({"keys": [key.as_dict(private=False)]}).encode()}
    headers = [(b"Authorization", b"Bearer " + told)]
    return Sent(
        post(headers, body), b"", b"", keys, {"audience": "aud-1", "email": str(ACCOUNT["email"])}, b"authorization"
    )


def graph(body: bytes, at: float) -> Sent:
    """Send the secret in every item."""
    item = {"clientState": "It's a Secret", "resource": body.decode("latin-1")}
    return Sent(post([], json.dumps({"value": [item, item]}).encode()), b"It's a Secret", b"another")


SENDERS: dict[str, Callable[[bytes, float], Sent]] = {
    "adyen": adyen,
    "adyen-platform": adyen_platform,
    "airtable": airtable,
    "anthropic": standard(),
    "asana": of_body("X-Hook-Signature"),
    "atlassian": of_body("X-Hub-Signature", "sha256="),
    "auth0": token("Authorization"),
    "aws": aws,
    "bitbucket": of_body("X-Hub-Signature", "sha256="),
    "box": box,
    "braintree": braintree,
    "calendly": of_time("Calendly-Webhook-Signature", "T.B", "t=T,v1="),
    "cloudflare": token("cf-webhook-auth"),
    "cloudflare-stream": of_time("Webhook-Signature", "T.B", "time=T,sig1="),
    "discord": discord,
    "docusign": of_body("X-DocuSign-Signature-2", "", "base64"),
    "dropbox": of_body("X-Dropbox-Signature"),
    "github": of_body("X-Hub-Signature-256", "sha256=", "hex", "sha256", ("X-GitHub-Event", "push")),
    "gitlab": standard(),
    "gitlab-token": token("X-Gitlab-Token"),
    "google": token("X-Goog-Channel-Token"),
    "google-pubsub": google_pubsub,
    "hubspot": hubspot,
    "hubspot-v1": plain_hash(),
    "hubspot-v2": plain_hash(b"POST" + URL.encode()),
    "intercom": of_body("X-Hub-Signature", "sha1=", "hex", "sha1"),
    "klaviyo": of_time("Klaviyo-Signature", "BT", "", "Klaviyo-Timestamp", write=http_date),
    "linear": linear,
    "mailchimp": of_time("X-Mailchimp-Signature", "T.B", "t=T,v1="),
    "mailgun": mailgun,
    "mailgun-routes": mailgun_routes,
    "mandrill": of_form("X-Mandrill-Signature"),
    "meta": of_body("X-Hub-Signature-256", "sha256="),
    "microsoft_graph": graph,
    "notion": of_body("X-Notion-Signature", "sha256="),
    "okta": token("Authorization"),
    "openai": standard(),
    "pagerduty": of_body("X-PagerDuty-Signature", "v1=00,v1="),
    "paypal": paypal,
    "plaid": plaid,
    "postmark": token("Authorization", b"Basic " + base64.b64encode(b"It's a Secret")),
    "quickbooks": of_body("intuit-signature", "", "base64"),
    "segment": of_body("X-Signature", "", "hex", "sha1"),
    "sendgrid": sendgrid,
    "shopify": of_body("X-Shopify-Hmac-Sha256", "", "base64"),
    "slack": of_time("X-Slack-Signature", "v0:T:B", "v0=", "X-Slack-Request-Timestamp"),
    "square": square,
    "standard-webhooks": standard(),
    "stripe": of_time("Stripe-Signature", "T.B", "t=T,v1="),
    "svix": standard("svix"),
    "twilio": of_form("X-Twilio-Signature", URL.replace("/vendor", ":443/vendor")),
    "twitch": twitch,
    "typeform": of_body("Typeform-Signature", "sha256=", "base64"),
    "xero": of_body("x-xero-signature", "", "base64"),
    "zendesk": of_time(
        "X-Zendesk-Webhook-Signature", "TB", "", "X-Zendesk-Webhook-Signature-Timestamp", "base64", rfc3339
    ),
    "zoom": of_time("x-zm-signature", "v0:T:B", "v0=", "x-zm-request-timestamp"),
}
