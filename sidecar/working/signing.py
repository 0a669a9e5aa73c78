"""Signing: what the sidecar posts to the app, signed in the form of Standard Webhooks.

https://www.standardwebhooks.com: `webhook-id` names what is posted, `webhook-timestamp` is Unix seconds, and
`webhook-signature` is "v1," and base64 of HMAC-SHA256 over "<id>.<timestamp>.<body>".
"""

import base64
import binascii
import hashlib
import hmac

PREFIX = b"whsec_"


def sign(secret: bytes, name: str, at: int, body: bytes) -> str:
    """Give the value of `webhook-signature`."""
    signed = b"%b.%d.%b" % (name.encode(), at, body)
    return "v1," + base64.b64encode(hmac.new(key_of(secret), signed, hashlib.sha256).digest()).decode()


def key_of(secret: bytes) -> bytes:
    """Give the key: base64 behind `whsec_`, as Standard Webhooks writes secrets, else the bytes as they are."""
    if not secret.startswith(PREFIX):
        return secret
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return secret
