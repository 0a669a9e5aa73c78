"""Key: what an idempotency key looks like, and how one is made."""

import re

from sidecar.core.errors import BadRequest
from sidecar.core.ids import Ids

_UUID_CHARACTERS = 36
# Blanks inside are allowed: the IETF draft's form is a quoted string. Line ends never: the key goes into headers.
_KEY = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def uuid(ids: Ids) -> str:
    """Make a random UUID (RFC 9562 section 5.4) from the block that all ids are drawn from."""
    digits = ids.take(32)
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def fitted(made: str, key_max: int) -> bytes:
    """Give a made key as it is, or, for a vendor that takes less than a UUID, the digits that fit."""
    if key_max >= _UUID_CHARACTERS:
        return made.encode()
    return made.replace("-", "")[:key_max].encode()


def one_of(keys: list[bytes], key_max: int) -> bytes | None:
    """Give the key that the app sent, maybe in two places; None when it sent none. Raises BadRequest.

    The sentences never repeat the key.
    """
    sent = [key for key in keys if key]
    if not sent:
        return None
    if any(key != sent[0] for key in sent):
        raise BadRequest("the request carries two different idempotency keys; send one")
    key = sent[0]
    if len(key) > key_max:
        raise BadRequest(
            f"the idempotency key has {len(key)} characters, and this vendor takes {key_max} (idempotency.key_max)"
        )
    if not _KEY.fullmatch(key):
        raise BadRequest("an idempotency key is printable ASCII, without blanks around it")
    return key
