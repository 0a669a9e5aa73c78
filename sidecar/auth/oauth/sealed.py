"""Sealed: a token in the shared store, encrypted, so that whoever reads the store has none.

AES-256-GCM (NIST SP 800-38D) with a random nonce; the place of the record is bound in as associated data, so that a
record moved elsewhere does not open. The key's fingerprint is part of the place: pods with another key have records of
their own, and a rotated key is begun with by a renewal.
"""

import asyncio
import base64
import binascii
import hashlib
import math
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from sidecar.auth.oauth.token import Token
from sidecar.auth.secrets.held import Held
from sidecar.core.secret import SecretRef

KEY_BYTES = 32
NONCE_BYTES = 12
ENDLESS = 86400.0  # Seconds that a token without a known end stays in the store.
SAY = "it holds 32 random bytes, raw, in hex or in base64, as `openssl rand -base64 32` makes them"


class Unsealable(Exception):
    """There is no key to seal with; the sentence says why, and never what was read."""


class _Library(NamedTuple):
    cipher: Callable[[bytes], Any]  # AESGCM.
    refusals: tuple[type[Exception], ...]  # What it raises when it does not open.


def _load() -> _Library:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - only for who shares tokens
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return _Library(AESGCM, (InvalidTag, ValueError))


class _Form(msgspec.Struct):
    """A token as it stands in the store, before it is sealed; when it ends, the record says."""

    value: bytes
    kind: str
    life: float | None  # Seconds from its birth to its end; None where nobody said.
    extra: dict[str, object]


class Seal:
    """Seals and opens tokens with the key as it is now."""

    _library: "_Library | None" = None  # Loaded by the first process that shares tokens.

    def __init__(self, reference: SecretRef, held: Held) -> None:
        self._reference = reference
        self._held = held

    @classmethod
    async def ready(cls) -> None:
        """Load what encrypts, once."""
        if cls._library is None:
            cls._library = await asyncio.to_thread(_load)

    def place(self, name: str) -> str:
        """Give the key of the record in which `name` is kept. Raises Unsealable."""
        fingerprint = hashlib.sha256(b"fingerprint of " + self._key()).hexdigest()[:16]
        return f"token:{fingerprint}:{name}"

    def seal(self, token: Token, place: str) -> bytes:
        """Give the token encrypted. Raises Unsealable."""
        life = token.life if math.isfinite(token.life) else None
        plain = msgspec.msgpack.encode(_Form(token.value, token.kind, life, token.extra))
        nonce = secrets.token_bytes(NONCE_BYTES)
        encrypted: bytes = self._cipher().encrypt(nonce, plain, place.encode())
        return nonce + encrypted

    def open(self, sealed: bytes, place: str, now: float, left: float) -> Token | None:
        """Give the token with `left` seconds to live; None where we did not seal it there. Raises Unsealable."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            plain = self._cipher().decrypt(nonce, rest, place.encode())
        except self._loaded().refusals:
            return None
        try:
            form = msgspec.msgpack.decode(plain, type=_Form)
        except (msgspec.DecodeError, UnicodeDecodeError):  # Another version of us has the same key.
            return None
        if form.life is None:
            return Token(form.value, form.kind, got_at=now, extra=form.extra)
        return Token(form.value, form.kind, got_at=now + left - form.life, expires_at=now + left, extra=form.extra)

    def _cipher(self) -> Any:
        return self._loaded().cipher(self._key())

    def _loaded(self) -> "_Library":
        assert self._library is not None, "`ready` comes first"
        return self._library

    def _key(self) -> bytes:
        secret = self._held.secret
        if secret is None:
            raise Unsealable(f"the encryption key of the store could not be read: {self._held.problem}")
        key = _decoded(secret.reveal())
        if key is None:
            raise Unsealable(f"{self._reference} is no encryption key: {SAY}")
        return key


def kept_for(token: Token, now: float) -> float:
    """Give the seconds for which a token stays in the store."""
    left = token.expires_at - now
    return left if math.isfinite(left) else ENDLESS


def _decoded(value: bytes) -> bytes | None:
    if len(value) == KEY_BYTES:
        return value
    text = value.strip()
    for decode in (binascii.unhexlify, base64.b64decode, base64.urlsafe_b64decode):
        try:
            key = decode(text)
        except (binascii.Error, ValueError):
            continue
        if len(key) == KEY_BYTES:
            return key
    return None
