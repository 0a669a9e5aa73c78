"""Key: one secret or public key, ready to say whether one of the signatures at hand is right for a text."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Protocol

SIGNATURES_MAX = 100  # In one message: DocuSign's keys are the most that a vendor has. More: refused.

# The points of small order, by whose "keys" anybody signs anything (without the bit for the sign).
_SMALL = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


class Key(Protocol):
    """Judges signatures."""

    def has_signed(self, text: bytes, signatures: Sequence[bytes]) -> bool:
        """Whether one of the signatures, as they were sent, is this key's over the text."""

    def sign(self, text: bytes) -> bytes | None:
        """Give the signature that this key makes; None when it can only verify."""


class Mac:
    """A keyed hash. What was sent is compared as text, so that there is one way only to write a signature."""

    __slots__ = ("_algorithm", "_encode", "_key")

    def __init__(self, key: bytes, algorithm: str, encoding: str) -> None:
        self._key = key
        self._algorithm = algorithm
        self._encode = _ENCODE[encoding]

    def sign(self, text: bytes) -> bytes:
        """Give the encoded hash."""
        # Not hmac.digest: it lets go of the interpreter each time, and the store's thread has it for a while then.
        return self._encode(hmac.new(self._key, text, self._algorithm).digest())

    def has_signed(self, text: bytes, signatures: Sequence[bytes]) -> bool:
        """Compare with every signature, also behind one that fits, in constant time each."""
        return _is_among(self.sign(text), signatures)


class Hash:
    """A plain hash of the secret and the text behind it.

    Whoever has one signature can go on with the hash where it ended, behind the bytes that end every hashed text, and
    so sign a longer text without the secret. Such bytes in a text are looked for, and what has them is refused.
    """

    __slots__ = ("_encode", "_key")

    def __init__(self, key: bytes, encoding: str) -> None:
        self._key = key
        self._encode = _ENCODE[encoding]

    def sign(self, text: bytes) -> None:  # noqa: ARG002 - what is hashed for whoever asks could be lengthened
        """Give nothing."""
        return

    def has_signed(self, text: bytes, signatures: Sequence[bytes]) -> bool:
        """Compare with every signature, in constant time each."""
        expected = self._encode(hashlib.sha256(self._key + text).digest())
        return _is_among(expected, signatures) and not self._is_lengthened(text)

    def _is_lengthened(self, text: bytes) -> bool:
        """Whether the text holds, somewhere, what SHA-256 puts behind a text that ends there (RFC 6234 section 4.1)."""
        at = text.find(_PADDING)
        while at >= 0:
            hashed = len(self._key) + at
            end = b"\x80" + bytes((55 - hashed) % 64) + (8 * hashed).to_bytes(8, "big")
            if text.startswith(end, at):
                return True
            at = text.find(_PADDING, at + 1)
        return False


class Token:
    """A shared value that the vendor sends as it is: it covers nothing."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes, encoding: str) -> None:
        self._value = _ENCODE[encoding](value)

    def sign(self, text: bytes) -> None:  # noqa: ARG002 - a token answers no challenge
        """Give nothing."""
        return

    def has_signed(self, text: bytes, signatures: Sequence[bytes]) -> bool:  # noqa: ARG002 - it covers no text
        """Compare with every value."""
        return _is_among(self._value, signatures)


class Public:
    """A public key of the vendor's."""

    __slots__ = ("_encoding", "_verify")

    def __init__(self, verify: Callable[[bytes, bytes], None], encoding: str) -> None:
        self._verify = verify
        self._encoding = encoding

    def sign(self, text: bytes) -> None:  # noqa: ARG002 - the private key is the vendor's
        """Give nothing."""
        return

    def has_signed(self, text: bytes, signatures: Sequence[bytes]) -> bool:
        """Try each signature, so many at most: this is a hundred times as dear as a hash."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # Only those who verify by keys.

        for signature in signatures[:_TRIES_MAX]:
            try:
                self._verify(_decoded(signature, self._encoding), text)
            except (InvalidSignature, ValueError):
                continue
            return True
        return False


_PADDING = b"\x80" + bytes(4)  # What the end of every hashed text begins with: none of ours has 512 MiB.
_TRIES_MAX = 4  # Signatures by public key in one message. Further ones are not looked at; vendors send one.
_ENCODE: dict[str, Callable[[bytes], bytes]] = {"hex": binascii.hexlify, "base64": base64.b64encode, "plain": bytes}


def _is_among(expected: bytes, signatures: Sequence[bytes]) -> bool:
    is_there = False
    for signature in signatures:
        is_there |= hmac.compare_digest(expected, signature)
    return is_there


def _decoded(text: bytes, encoding: str) -> bytes:
    """Decode what is written in the one right way. Raises ValueError."""
    raw = bytes.fromhex(text.decode("ascii")) if encoding == "hex" else base64.b64decode(text, validate=True)
    if _ENCODE[encoding](raw) != text:
        raise ValueError("this can be written in another way")
    return raw


def secret_bytes(secret: bytes, form: str) -> bytes:
    """Turn a secret, as the vendor shows it, into the key. Raises ValueError, which says nothing of the secret."""
    text = secret.strip()
    if not text:
        raise ValueError("a secret is empty")
    try:
        if form == "hex":
            return bytes.fromhex(text.decode("ascii"))
        if form in {"base64", "whsec"}:
            return base64.b64decode(text.removeprefix(b"whsec_") if form == "whsec" else text, validate=True)
    except ValueError:
        raise ValueError(f"a secret is not written as {form}") from None
    # The whole text: a vendor's secret may end in what looks like a space.
    return hashlib.sha1(secret, usedforsecurity=False).digest() if form == "sha1" else secret


def key_of(secret: bytes, algorithm: str, encoding: str, form: str) -> Key:
    """Make a key of a secret. Raises ValueError, which says nothing of the secret."""
    if algorithm.startswith("hmac-"):
        key = secret_bytes(secret, form)
        if not key:
            raise ValueError("a secret is empty")
        return Mac(key, algorithm.removeprefix("hmac-"), encoding)
    if algorithm == "sha256":
        return Hash(secret_bytes(secret, form), encoding)
    if algorithm == "token":
        return Token(secret_bytes(secret, form), encoding)
    raw = secret if secret.lstrip().startswith(b"-----BEGIN") else secret_bytes(secret, form)
    return public_key(raw, algorithm, encoding)


def public_key(raw: bytes, algorithm: str, encoding: str) -> Public:
    """Make a key of a public key (PEM, DER, or 32 bytes for Ed25519). Raises ValueError."""
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415  # Only those who verify by keys.
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa  # noqa: PLC0415

    try:
        if algorithm == "ed25519" and len(raw) == 32:
            loaded: object = ed25519.Ed25519PublicKey.from_public_bytes(raw)
        elif raw.lstrip().startswith(b"-----BEGIN"):
            loaded = serialization.load_pem_public_key(raw)
        else:
            loaded = serialization.load_der_public_key(raw)
    except Exception as error:  # noqa: BLE001  # Of many kinds; what they say may repeat the key.
        raise ValueError(f"a public key cannot be read ({type(error).__name__})") from None
    if algorithm == "ed25519" and isinstance(loaded, ed25519.Ed25519PublicKey):
        point = loaded.public_bytes_raw()
        if point[:31] + bytes([point[31] & 0x7F]) in _SMALL:
            raise ValueError("a public key is of small order, so that anybody can sign for it")
        return Public(loaded.verify, encoding)
    if algorithm == "ecdsa-p256" and isinstance(loaded, ec.EllipticCurvePublicKey):
        if not isinstance(loaded.curve, ec.SECP256R1):
            raise ValueError("a public key is on another curve than P-256")
        curve = loaded
        return Public(lambda signature, text: curve.verify(signature, text, ec.ECDSA(hashes.SHA256())), encoding)
    if algorithm == "rsa-sha256" and isinstance(loaded, rsa.RSAPublicKey):
        if loaded.key_size < 2048:
            raise ValueError("a public key has less than 2048 bits")
        modulus = loaded
        return Public(
            lambda signature, text: modulus.verify(signature, text, padding.PKCS1v15(), hashes.SHA256()), encoding
        )
    raise ValueError(f"a public key is none for {algorithm}")
