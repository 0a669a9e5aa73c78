"""Scheme: how a vendor signs its webhooks, as data; `incoming.py` is the one verifier for all of them."""

from collections.abc import Iterator
from typing import Literal

from sidecar.auth.signing.template import Template
from sidecar.core.section import Section
from sidecar.core.units import Duration
from sidecar.webhooks.bearer import JwtConfig
from sidecar.webhooks.fetched import FetchedConfig
from sidecar.webhooks.handshake import HandshakeConfig
from sidecar.webhooks.place import Place
from sidecar.webhooks.signed import WHOLE, Text

Unit = Literal["s", "ms", "rfc3339", "http_date"]
Algorithm = Literal[
    "hmac-sha256", "hmac-sha1", "hmac-sha512", "sha256", "ed25519", "ecdsa-p256", "rsa-sha256", "jwt", "token"
]  # fmt: skip


class Variant(Section, kw_only=True):
    """Another text that the vendor may have signed."""

    signed: str
    body_hash: str | None = None  # A place, signed itself, with the SHA-256 of the body in hex.


class Scheme(Section, kw_only=True):
    """How a vendor signs.

    Places are written `header:NAME`, `query:NAME`, `form:NAME`, `json:PATH`, `field:KEY` (a part of the signature's
    own header) and `claim:NAME` (of the JWT). `signed` is a template over {body}, {body_hash}, {body_crc32}, {method},
    {url}, {sorted_form}, {timestamp}, {id}, {setting:NAME}, {json_lines:A,B} and places; a brace of its own is written
    twice.
    """

    algorithm: Algorithm = "hmac-sha256"
    encoding: Literal["hex", "base64", "plain"] = "hex"  # Of the signature. "plain" is for tokens.
    # How the vendor shows the secret. "whsec" is base64 behind `whsec_`; "sha1" means its hash; a public key is hex
    # or base64 (DER), or PEM, which is known by itself.
    secret: Literal["raw", "hex", "base64", "whsec", "sha1"] = "raw"  # noqa: S105 - a form
    signature: tuple[str, ...]  # Places; {n} in the name of a header stands for 1 to 100. One that is right is enough.
    separator: str = ""  # Between several signatures in one place. Absent: it holds one.
    prefix: str = ""  # Before each signature; without it there is none. May hold {setting:NAME}.
    signed: str = "{body}"
    variants: tuple[Variant, ...] = ()  # Tried after `signed`.
    body_hash: str | None = None  # As in a variant.
    # What stands where, else it is refused though it is signed: the vendor signs for others with the same key, too. May
    # hold {setting:NAME}; "*" is any letters.
    requires: dict[str, str] = {}
    each: str | None = None  # Place of a list in the body whose items are signed one by one; places are then in them.
    timestamp: str | None = None  # A place. Absent: the vendor signs no time.
    unit: Unit = "s"
    tolerance: Duration = Duration(300)  # Older, or further ahead: refused.
    # Of the event: a place, or a template of places. Read when the signature is right.
    id: str | None = None
    type: str | None = None
    repeats: bool = False  # Different events come with the same body and no id: each arrival is one of its own.
    keys: FetchedConfig | None = None  # Where the vendor's public key is. Absent: it is the secret.
    jwt: JwtConfig = JwtConfig()
    settings: dict[str, str] = {}  # What {setting:NAME} stands for, such as PayPal's id of the webhook.
    handshakes: tuple[HandshakeConfig, ...] = ()

    @property
    def covers_body(self) -> bool:
        """Whether nothing of the body can be changed without the signature being wrong."""
        if self.algorithm == "token" or self.each is not None:
            return False
        if self.algorithm == "jwt":
            return self.body_hash is not None
        texts = [(self.signed, self.body_hash), *((each.signed, each.body_hash) for each in self.variants)]
        return all(body_hash is not None or Template(text).names & WHOLE for text, body_hash in texts)

    @property
    def has_open_id(self) -> bool:
        """Whether the id can be left out or changed, and the signature is right all the same, though the body is not.

        That is an id in a header or in the query that stands in no signed text.
        """
        named = Template(self.id).names if self.id is not None and "{" in self.id else {self.id or ""}
        outside = {name.lower() for name in named if name.startswith(("header:", "query:"))}
        signed = [] if self.algorithm in {"token", "jwt"} else [self.signed, *(each.signed for each in self.variants)]
        return any(_is_open(name, Template(text).names) for name in outside for text in signed or [""])

    @property
    def settings_missing(self) -> list[str]:
        """Name the settings that only the user knows, and has not given."""
        texts = (self._text(text) for _, text in self.texts())
        return sorted(set().union(*(text.settings_missing for text in texts)))

    def aliases(self) -> dict[str, Place]:
        """Give the places that templates name by a word."""
        named = {"timestamp": self.timestamp, "id": self.id}
        return {name: Place(place) for name, place in named.items() if place is not None and "{" not in place}

    def texts(self) -> Iterator[tuple[str, str]]:
        """Give every template with its key."""
        yield "signed", self.signed
        yield from ((f"variants[{number}].signed", each.signed) for number, each in enumerate(self.variants))
        yield from self._said()
        yield from ((key, text) for key, text in (("id", self.id), ("type", self.type)) if text and "{" in text)

    def _said(self) -> Iterator[tuple[str, str]]:
        """Give those that may hold settings alone."""
        yield from (("prefix", self.prefix), ("jwt.audience", self.jwt.audience))
        yield from ((f"requires.{place}", text) for place, text in self.requires.items())

    def _text(self, text: str) -> Text:
        """Read a template. Raises ValueError with a sentence."""
        return Text(text, self.aliases(), self.settings)

    def problems(self) -> list[tuple[str, str]]:
        """Say what cannot be meant."""
        found = [(field, sentence) for field, text in self._places() if (sentence := _refusal(text)) is not None]
        for key, text in self.texts() if not found else ():
            try:
                self._text(text)
            except ValueError as error:
                found.append((key, str(error)))
        for key, text in self._said():
            if any(not name.startswith("setting:") for name in _names(text)):
                found.append((key, "this may hold {setting:NAME} alone"))
        if not self.signature:
            found.append(("signature", "write where the signature stands"))
        if (self.encoding == "plain") and self.algorithm not in {"token", "jwt"}:
            found.append(("encoding", "a signature is written in hex or base64"))
        if self.keys is not None and self.algorithm not in {"rsa-sha256", "jwt"}:
            found.append(("keys", "only certificates (rsa-sha256) and keys of JWTs are fetched"))
        if not 0 < self.tolerance <= 7 * 86400:
            found.append(("tolerance", "write up to 7d: longer, and what is repeated is no longer known as such"))
        return found

    def _places(self) -> Iterator[tuple[str, str]]:
        for number, place in enumerate(self.signature):
            yield f"signature[{number}]", place.replace("{n}", "1")
        for field in ("body_hash", "each", "timestamp", "id", "type"):
            if (place := getattr(self, field)) is not None and not (field in {"id", "type"} and "{" in place):
                yield field, place
        yield from ((f"requires.{place}", place) for place in self.requires)
        for number, variant in enumerate(self.variants):
            if variant.body_hash is not None:
                yield f"variants[{number}].body_hash", variant.body_hash


def _names(text: str) -> frozenset[str]:
    try:
        return Template(text).names
    except ValueError:  # Told by itself.
        return frozenset()


def _is_open(place: str, signed: frozenset[str]) -> bool:
    """Whether a place outside of the body is in none of the parts of a signed text."""
    if "id" in signed or place in {name.lower() for name in signed}:
        return False
    return place.startswith("header:") or not any(name.partition(":")[0] == "url" for name in signed)


def _refusal(text: str) -> str | None:
    try:
        Place(text)
    except ValueError as error:
        return str(error)
    return None
