"""Signed: the text over which a signature was made, put together from the message by a template."""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from functools import partial

from sidecar.auth.signing.template import Template
from sidecar.webhooks.message import NotVerified
from sidecar.webhooks.place import Place
from sidecar.webhooks.reading import Reading

Part = Callable[[Reading], bytes]


def _sorted_form(reading: Reading) -> bytes:
    """Join the fields of a form without anything between them; what comes twice is taken once, as Twilio does."""
    return b"".join(name + value for name, value in sorted(set(reading.form)))


_NAMED: Mapping[str, Part] = {
    "body": lambda reading: reading.incoming.body,
    "body_hash": lambda reading: hashlib.sha256(reading.incoming.body).hexdigest().encode(),
    "body_crc32": lambda reading: str(zlib.crc32(reading.incoming.body)).encode(),
    "method": lambda reading: reading.incoming.method.encode(),
    "sorted_form": _sorted_form,
    "url": Reading.url,
    "url:port": lambda reading: reading.url("port"),
    "url:no_port": lambda reading: reading.url("no_port"),
    "url:decoded": lambda reading: reading.url("decoded"),
}
# These leave nothing of the body unsigned.
WHOLE = frozenset({"body", "body_hash"})


class Text:
    """A template, taken apart once. Raises ValueError with a sentence for what it cannot mean."""

    def __init__(self, text: str, aliases: Mapping[str, Place], settings: Mapping[str, str]) -> None:
        self._template = Template(text)
        self.names = self._template.names
        self.settings_missing: set[str] = set()
        self._parts: dict[str, Part] = {name: self._part(name, aliases, settings) for name in self.names}

    def fill(self, reading: Reading) -> bytes:
        """Give the text for one message. Raises NotVerified when a part of it is not there."""
        return self._template.fill({name: part(reading) for name, part in self._parts.items()})

    def _part(self, name: str, aliases: Mapping[str, Place], settings: Mapping[str, str]) -> Part:
        if name in _NAMED:
            return _NAMED[name]
        kind, _, rest = name.partition(":")
        if kind == "setting":
            if rest not in settings:
                self.settings_missing.add(rest)
            value = settings.get(rest, "").encode()
            return lambda _: value
        if kind == "json_lines":
            return partial(_lines, [Place(f"json:{field}") for field in rest.split(",")])
        place = aliases.get(name)
        if place is None and ":" not in name:
            known = ", ".join(sorted([*_NAMED, *aliases]))
            raise ValueError(f"{{{name}}} is unknown here; known are {known}, setting:NAME and places")
        place = place or Place(name)
        # What lacks in the body is signed as nothing (Adyen); a header that lacks was signed as something.
        return partial(_optional if place.is_in_body else _needed, place)


def _needed(place: Place, reading: Reading) -> bytes:
    value = reading.get(place)
    if value is None:
        raise NotVerified(f"{place.text} is missing")
    return value


def _optional(place: Place, reading: Reading) -> bytes:
    return reading.get(place) or b""


def _lines(places: list[Place], reading: Reading) -> bytes:
    """Write name and value of each field that is there on lines of their own."""
    found = [(place.name.encode(), reading.get(place)) for place in places]
    return b"".join(name + b"\n" + value + b"\n" for name, value in found if value is not None)
