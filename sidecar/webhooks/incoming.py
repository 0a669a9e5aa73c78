"""Incoming: the one verifier of webhooks, and the words in which it is asked.

The order is fixed: a handshake that nobody signs; the signature, on the raw bytes; the time; and only then what stands
in the body. A scheme whose signature itself stands in the body has it parsed first.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from sidecar.upstream.hints.times import VALUE_MAX, read_http_date, read_iso
from sidecar.webhooks.bearer import Bearer
from sidecar.webhooks.fetched import Fetched, certificate_key
from sidecar.webhooks.handshake import Answer
from sidecar.webhooks.key import SIGNATURES_MAX, Key, key_of
from sidecar.webhooks.message import Handshake, Incoming, NotVerified, Verified
from sidecar.webhooks.place import Place
from sidecar.webhooks.reading import Reading
from sidecar.webhooks.scheme import Scheme
from sidecar.webhooks.signed import Text

__all__ = ["Handshake", "Incoming", "NotVerified", "Verified", "Verifier"]

KEYS_MAX = 16  # Keys made of secrets that are kept at hand. More than that were rotated: all are made anew.
ID_MAX = 256  # Characters of an event's id or type. Longer: taken for none, and the hash of the body is the id.

_NO_KEYS: Mapping[str, bytes] = {}


class Verifier:
    """Verifies the webhooks of one scheme. Raises ValueError when the scheme lacks a setting."""

    def __init__(self, scheme: Scheme) -> None:
        missing = scheme.settings_missing
        if missing:
            raise ValueError(f"these settings are missing: {', '.join(missing)}")
        self._scheme = scheme
        self._signatures = [
            Place(place.replace("{n}", str(number)))
            for place in scheme.signature
            for number in (range(1, SIGNATURES_MAX + 1) if "{n}" in place else range(1))
        ]
        aliases, settings = scheme.aliases(), scheme.settings
        self._prefix, self._separator = _said(scheme.prefix, settings), scheme.separator.encode()
        variants = [(scheme.signed, scheme.body_hash), *((each.signed, each.body_hash) for each in scheme.variants)]
        self._texts = [
            (Text(text, aliases, settings), None if place is None else Place(place)) for text, place in variants
        ]
        self._timestamp, self._each = (
            None if place is None else Place(place) for place in (scheme.timestamp, scheme.each)
        )
        self._id, self._type = (
            None if text is None else Text(text, aliases, settings) if "{" in text else Place(text)
            for text in (scheme.id, scheme.type)
        )
        self._requires = [(Place(place), _pattern(_said(text, settings))) for place, text in scheme.requires.items()]
        self._fetched = None if scheme.keys is None else Fetched(scheme.keys)
        self._bearer = (
            Bearer(scheme.jwt, _said(scheme.jwt.audience, settings).decode()) if scheme.algorithm == "jwt" else None
        )
        answers = [Answer(config, scheme.settings) for config in scheme.handshakes]
        self._first = [answer for answer in answers if not answer.config.signed]
        self._later = [answer for answer in answers if answer.config.signed]
        self._known: dict[bytes, Key] = {}
        self.has_open_id = scheme.has_open_id
        # Events come by POST; by the others come handshakes only.
        self.methods = frozenset({"POST", *(answer.config.method for answer in answers)})

    def needs(self, incoming: Incoming) -> str | None:
        """Give the URL of the key to fetch, which is the vendor's own; None when there is nothing to fetch.

        Raises NotVerified when the message names another host's. A message without a signature needs no key.
        """
        if self._fetched is None:
            return None
        reading = Reading(incoming)
        if _greeting(self._first, reading, None) is not None:
            return None
        if not self._candidates(reading):
            raise NotVerified("there is no signature")
        return self._fetched.url(reading)

    def verify(
        self, incoming: Incoming, secrets: Sequence[bytes], now: float, keys: Mapping[str, bytes] = _NO_KEYS
    ) -> Verified:
        """Say what a webhook is. `keys` are what was fetched, by URL. Raises NotVerified."""
        reading = Reading(incoming)
        if self._first and (greeted := _greeting(self._first, reading, self._any_key(secrets))) is not None:
            return greeted
        if incoming.method not in self.methods:
            raise NotVerified("this comes by another method than the vendor's webhooks")
        key = self._vouched(reading, secrets, now, keys)
        sent_at = self._time(reading, now)
        for place, pattern in self._requires:
            value = reading.get(place)
            if not value or not pattern.fullmatch(value):
                raise NotVerified(f"{place.text} is not what the settings say: this may be signed for somebody else")
        greeted = _greeting(self._later, reading, key)
        if incoming.method != "POST" and greeted is None:
            raise NotVerified("only handshakes come by this method")
        own_id = _name(reading, self._id)
        if own_id is None and self._scheme.repeats:
            # To the second: what the vendor sends again within it is still known.
            own_id = f"{now:.0f}-{hashlib.sha256(incoming.body).hexdigest()[:32]}"
        found = Verified(own_id, _name(reading, self._type), sent_at)
        return found if greeted is None else found._replace(handshake=greeted.handshake, visits=greeted.visits)

    def greeted(self, incoming: Incoming) -> Verified | None:
        """Say what a handshake is that needs no secret; None when it is none. Raises NotVerified."""
        return _greeting(self._first, Reading(incoming), None)

    def _vouched(self, reading: Reading, secrets: Sequence[bytes], now: float, keys: Mapping[str, bytes]) -> Key | None:
        """Find the key that has signed. Raises NotVerified."""
        if self._bearer is not None:
            candidates = self._candidates(reading)
            if not candidates:
                raise NotVerified("there is no signature")
            material = secrets if self._fetched is None else [self._body_at(reading, keys)]
            reading.claims = self._bearer.claims(candidates, material, now, self._scheme.tolerance)
            place = self._texts[0][1]
            if place is not None and not _is_hash(reading, place):
                raise NotVerified(f"the body is not the one that {place.text} was made of")
            return None
        if self._fetched is None:
            known = self._keys(secrets)
        else:
            try:
                raw = self._body_at(reading, keys)
                known = [certificate_key(raw, self._scheme.algorithm, self._scheme.encoding, now)]
            except ValueError as error:
                raise NotVerified(str(error)) from None
        if self._each is None:
            return self._signer(reading, known)
        signers = [self._signer(reading, known) for _ in reading.items(self._each)]
        return signers[0]

    def _body_at(self, reading: Reading, keys: Mapping[str, bytes]) -> bytes:
        assert self._fetched is not None
        url = self._fetched.url(reading)
        if url not in keys:
            raise NotVerified("the vendor's key is not at hand")
        return keys[url]

    def _signer(self, reading: Reading, known: Sequence[Key]) -> Key:
        """Find the key that has signed the message, or the item of it that is looked at."""
        candidates = self._candidates(reading)
        if not candidates:
            raise NotVerified("there is no signature")
        # A message that names the hash of its body is held to it: else somebody could leave the body out (Twilio).
        is_hashed = any(place is not None and reading.get(place) is not None for _, place in self._texts)
        problem = "no signature is right for this text and any of the secrets"
        for text, body_hash in self._texts:
            if (body_hash is not None) is not is_hashed or (body_hash is not None and not _is_hash(reading, body_hash)):
                continue
            try:
                filled = text.fill(reading)
            except NotVerified as lacking:
                problem = str(lacking)
                continue
            for key in known:
                if key.has_signed(filled, candidates):
                    return key
        raise NotVerified(problem)

    def _candidates(self, reading: Reading) -> list[bytes]:
        """Give the signatures as they were sent, without what stands before each."""
        found: list[bytes] = []
        for place in self._signatures:
            value = reading.get(place)
            if value is None:
                continue
            parts = [part.strip(b" \t") for part in value.split(self._separator)] if self._separator else [value]
            reading.parts += parts
            found += [part[len(self._prefix) :] for part in parts if part.startswith(self._prefix)]
        if len(found) > SIGNATURES_MAX:
            raise NotVerified(f"there are more than {SIGNATURES_MAX} signatures")
        return [signature for signature in found if signature]

    def _keys(self, secrets: Sequence[bytes]) -> list[Key]:
        """Make the keys. One secret that is no key does not keep the others from verifying."""
        found: list[Key] = []
        problem = "no secret is configured"
        for secret in secrets:
            key = self._known.get(secret)
            if key is None:
                scheme = self._scheme
                try:
                    key = key_of(secret, scheme.algorithm, scheme.encoding, scheme.secret)
                except ValueError as error:
                    problem = str(error)
                    continue
                if len(self._known) >= KEYS_MAX:
                    self._known.clear()
                self._known[secret] = key
            found.append(key)
        if not found:
            raise NotVerified(problem)
        return found

    def _any_key(self, secrets: Sequence[bytes]) -> Key | None:
        """Give the newest key, by which a challenge that nobody signed is answered."""
        if self._bearer is not None or self._fetched is not None:
            return None
        try:
            return next(iter(self._keys(secrets)))
        except NotVerified:
            return None

    def _time(self, reading: Reading, now: float) -> float | None:
        if self._timestamp is None:
            return None
        value = reading.get(self._timestamp)
        if value is None:
            raise NotVerified(f"{self._timestamp.text} is missing")
        sent_at = _instant(value, self._scheme.unit, now)
        if sent_at is None:
            raise NotVerified(f"{self._timestamp.text} is no time")
        age, tolerance = now - sent_at, self._scheme.tolerance
        if abs(age) > tolerance:
            raise NotVerified(f"it was signed {abs(age):.0f} s {'ago' if age > 0 else 'ahead'}, over {tolerance}")
        return sent_at


def _greeting(answers: Sequence[Answer], reading: Reading, key: Key | None) -> Verified | None:
    for answer in answers:
        greeting = answer.to(reading, key)
        if greeting is not None:
            return Verified(None, None, None, greeting, answer.secret(reading), answer.visits(reading))
    return None


def _is_hash(reading: Reading, place: Place) -> bool:
    told = reading.get(place)
    body_hash = hashlib.sha256(reading.incoming.body).hexdigest().encode()
    return told is not None and hmac.compare_digest(body_hash, told)


def _instant(value: bytes, unit: str, now: float) -> float | None:
    """Read a time into Unix seconds; None when it is none."""
    if len(value) > VALUE_MAX:
        return None
    if unit == "rfc3339":
        return read_iso(value)
    if unit == "http_date":
        return read_http_date(value, now // 86400)
    if not value.isdigit() or len(value) > 15:
        return None
    return int(value) / (1000 if unit == "ms" else 1)


def _said(template: str, settings: Mapping[str, str]) -> bytes:
    """Fill in a template that holds settings alone."""
    return Text(template, {}, settings).fill(Reading(Incoming("", "", [], b"")))


def _pattern(text: bytes) -> re.Pattern[bytes]:
    """Match a text in which `*` is any letters."""
    return re.compile(b".+".join(map(re.escape, text.split(b"*"))))


def _name(reading: Reading, name: Text | Place | None) -> str | None:
    """Give an id or a type; None when there is none, or what stands there is no plain word."""
    try:
        value = reading.get(name) if isinstance(name, Place) else name and name.fill(reading)
        text = (value or b"").decode()
    except (NotVerified, UnicodeDecodeError):
        return None
    return text if 0 < len(text) <= ID_MAX and text.isprintable() else None
