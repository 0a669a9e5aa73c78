"""Handshake: what a vendor asks to see whether somebody is there, and the answer, as data."""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from sidecar.auth.signing.template import Template
from sidecar.core.secret import Secret
from sidecar.core.section import Section
from sidecar.webhooks.fetched import Fetched, FetchedConfig
from sidecar.webhooks.key import Key
from sidecar.webhooks.message import Handshake
from sidecar.webhooks.place import HEADER_NAME, Place
from sidecar.webhooks.reading import Reading

ECHO_MAX = 4096  # Bytes of one value that is sent back. Longer, or not plain text: this is no handshake.

Find = Callable[[Reading, Key | None], bytes | None]


class HandshakeConfig(Section, kw_only=True):
    """One handshake: how it is known, and what is answered.

    Texts of the answer may name places of the message, {setting:NAME}, and {mac:PLACE}: what stands there, signed as
    the vendor signs. A handshake that lacks what the answer needs is none.
    """

    when: dict[str, str] = {}  # Place: its value; "*" is any, "" is none, "/../" is a regular expression.
    method: Literal["POST", "GET", "HEAD"] = "POST"
    signed: bool = True  # false: the vendor does not sign it; only headers and the query are looked at.
    status: int = 200
    content_type: str = "text/plain"
    body: str = ""
    fields: dict[str, str] = {}  # Instead of `body`: an object of JSON.
    headers: dict[str, str] = {}
    secret: str | None = None  # A place: the vendor sends the secret there with which it signs from now on.

    visits: FetchedConfig | None = None  # The vendor waits until this URL was asked. Without `confirm` it is an event.

    def problems(self) -> list[tuple[str, str]]:
        """Say what cannot be meant."""
        try:
            answer = Answer(self, {}, may_lack=True)
        except (ValueError, re.error) as error:
            return [("when", str(error))]
        found = []
        if not self.signed and any(not self.when.get(place, "").startswith("/") for place in answer.keyed):
            found.append(("when", "whoever asks gets a signature of what {mac:..} names; say what it may look like"))
        bodies = [place.text for place in answer.places if place.is_in_body and place.text != self.secret]
        if not self.signed and bodies:
            found.append(("signed", "what nobody signed is not parsed; look at headers and the query"))
        if not self.signed and self.visits is not None:
            found.append(("visits", "nobody signed what this names; whoever calls would choose what is asked"))
        if self.method == "POST" and not self.when:
            found.append(("when", "every event would be taken for this handshake, and none delivered; say which it is"))
        if not 200 <= self.status < 300:
            found.append(("status", "write a status from 200 to 299"))
        if self.body and self.fields:
            found.append(("fields", "write either body or fields"))
        found += [("headers", f"{name!r} is no header") for name in self.headers if not HEADER_NAME.fullmatch(name)]
        return found


class Answer:
    """One handshake, taken apart at load. Raises ValueError with a sentence."""

    def __init__(self, config: HandshakeConfig, settings: Mapping[str, str], *, may_lack: bool = False) -> None:
        self.config = config
        self.places: list[Place] = []
        self._settings = settings
        self._may_lack = may_lack
        self.keyed: list[str] = []  # Places whose value is signed for whoever asks.
        self._when = [(self._place(text), _matcher(value)) for text, value in config.when.items()]
        self._body = self._filler(config.body)
        self._fields = {name: self._filler(text) for name, text in config.fields.items()}
        self._headers = [(name.encode(), self._filler(text)) for name, text in config.headers.items()]
        self._visits = None if config.visits is None else Fetched(config.visits)
        self._secret = None if config.secret is None else self._place(config.secret)

    def to(self, reading: Reading, key: Key | None) -> Handshake | None:
        """Give the answer; None when the message is not this handshake."""
        if reading.incoming.method != self.config.method:
            return None
        if not all(is_meant(reading.get(place)) for place, is_meant in self._when):
            return None
        body = self._body(reading, key)
        fields = {name: fill(reading, key) for name, fill in self._fields.items()}
        headers = [(name, fill(reading, key)) for name, fill in self._headers]
        kind = self.config.content_type
        if fields:
            body, kind = _object(fields), "application/json"
        # A value of a header is one line, and nothing that the vendor sends may end it.
        if body is None or any(value is None or not _is_line(value) for _, value in headers):
            return None
        # What is sent back came from outside: no browser may take it for a page.
        own = [(b"Content-Type", kind.encode()), (b"X-Content-Type-Options", b"nosniff")]
        return Handshake(self.config.status, own + [(name, value or b"") for name, value in headers], body)

    def secret(self, reading: Reading) -> Secret | None:
        """Give the secret that a message brings which is this handshake."""
        value = None if self._secret is None else reading.get(self._secret)
        return None if value is None else Secret(value, "")

    def visits(self, reading: Reading) -> str | None:
        """Give the URL that is to be asked, which is the vendor's own. Raises NotVerified when it is not."""
        return None if self._visits is None else self._visits.url(reading)

    def _place(self, text: str) -> Place:
        place = Place(text)
        self.places.append(place)
        return place

    def _filler(self, text: str) -> Find:
        template = Template(text)
        parts = {name: self._part(name) for name in template.names}
        return partial(_filled, template, parts)

    def _part(self, name: str) -> Find:
        kind, _, rest = name.partition(":")
        if kind == "setting":
            if rest not in self._settings and not self._may_lack:
                raise ValueError(f"the setting {rest} is missing")
            value = self._settings.get(rest, "").encode()
            return lambda *_: value
        if kind == "mac":
            self.keyed.append(rest)
            return partial(_mac, self._place(rest))
        place = self._place(name)
        return lambda reading, _: reading.get(place)


def _matcher(value: str) -> Callable[[bytes | None], bool]:
    if value == "*":
        return lambda there: there is not None
    if len(value) > 1 and value[0] == value[-1] == "/":
        pattern = re.compile(value[1:-1].encode())
        return lambda there: there is not None and len(there) <= ECHO_MAX and pattern.fullmatch(there) is not None
    exact = value.encode()
    return lambda there: (there or b"") == exact


def _mac(place: Place, reading: Reading, key: Key | None) -> bytes | None:
    value = reading.get(place)
    return key.sign(value) if key is not None and value is not None and len(value) <= ECHO_MAX else None


def _filled(template: Template, parts: Mapping[str, Find], reading: Reading, key: Key | None) -> bytes | None:
    values: dict[str, bytes] = {}
    for name, find in parts.items():
        value = find(reading, key)
        if value is None or len(value) > ECHO_MAX:
            return None
        values[name] = value
    return template.fill(values)


def _object(fields: Mapping[str, bytes | None]) -> bytes | None:
    """Write an object of JSON, unless a value lacks or is no text."""
    try:
        told = {name: value.decode() for name, value in fields.items() if value is not None}
    except UnicodeDecodeError:
        return None
    return json.dumps(told).encode() if len(told) == len(fields) else None


def _is_line(value: bytes) -> bool:
    return value.isascii() and value.decode("ascii").isprintable()
