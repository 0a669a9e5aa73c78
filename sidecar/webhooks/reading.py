"""Reading: one webhook, taken apart as far as somebody asks, and no further."""

import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from sidecar.webhooks.message import Incoming, NotVerified
from sidecar.webhooks.place import Place, written

FIELDS_MAX = 1000  # Of a form or a query. More: refused; no vendor has a tenth of that.
ITEMS_MAX = 1000  # Events in one body that are signed one by one. More: refused, before any of them is verified.

_FORM = b"application/x-www-form-urlencoded"
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.DOTALL)
_PORT = re.compile(r":[0-9]*$")
# No URL holds these as they are (RFC 3986), and JSON begins with them: where a body stands behind the URL in a signed
# text, its first part could be called as the end of the URL, and the rest would be another body that is signed.
_NO_URL = re.compile(r"[^!-~]|[{\"]|\[\Z")


class Reading:
    """What stands in one webhook, by place. Raises NotVerified where a message says two things at once."""

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.parts: list[bytes] = []  # Of the header with the signature, when it is a list.
        self.claims: dict[str, Any] = {}  # Of a JWT, once it is verified.
        self.item: object = None  # The one that is looked at, where events are signed one by one.
        self.is_within = False

    def get(self, place: Place) -> bytes | None:
        """Give what stands at a place, as it stands there; None when there is nothing."""
        name = place.name
        match place.kind:
            case "header":
                return self.header(name)
            case "json":
                return written(place.find(self.item if self.is_within else self.document))
            case "query":
                return _only(self.query, name.encode(), place)
            case "form":
                return _only(self.form, name.encode(), place)
            case "field":
                mark = f"{name}=".encode()
                return _only([(mark, part[len(mark) :]) for part in self.parts if part.startswith(mark)], mark, place)
            case _:
                return written(self.claims.get(name))

    def header(self, name: str) -> bytes | None:
        """Give the value of a header. One that comes twice with different values could be read in two ways."""
        values = self.incoming.values(name.encode())
        if not values:
            return None
        if any(value != values[0] for value in values):
            raise NotVerified(f"the header {name} is there more than once, with different values")
        return values[0].strip(b" \t")

    @cached_property
    def document(self) -> object:
        """The body as JSON; None when it is none."""
        try:
            return msgspec.json.decode(self.incoming.body)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def query(self) -> list[tuple[bytes, bytes]]:
        """The query's fields, decoded."""
        text = self.incoming.url.partition("#")[0].partition("?")[2]
        return _fields(text.encode("utf-8", "surrogateescape"), "query")

    @cached_property
    def form(self) -> list[tuple[bytes, bytes]]:
        """The body as a form; an empty one has no fields, and what is no form is refused."""
        if not self.incoming.body:
            return []
        kind = (self.header("content-type") or b"").partition(b";")[0].strip().lower()
        if kind != _FORM:
            raise NotVerified("the body is no form, and the signature is over the fields of one")
        return _fields(self.incoming.body, "form")

    def items(self, place: Place) -> Iterable[object]:
        """Go through the events that are signed one by one; there is at least one."""
        found = place.find(self.document)
        if not isinstance(found, list) or not found:
            raise NotVerified(f"there is no list of events at {place.text}")
        if len(found) > ITEMS_MAX:
            raise NotVerified(f"there are {len(found)} events in one body, more than {ITEMS_MAX}")
        self.is_within = True
        for self.item in found:
            yield self.item
        self.is_within = False

    def url(self, form: str = "") -> bytes:
        """Give the URL as the vendor called it, or as some vendors write it when they sign."""
        url = self.incoming.url
        if _NO_URL.search(url):
            raise NotVerified("the URL holds what no URL may, and is signed")
        match = _URL.fullmatch(url)
        if not form or match is None:
            return url.encode()
        scheme, host, rest = match.groups()
        bare = _PORT.sub("", host)
        if form == "no_port":
            return f"{scheme}://{bare}{rest}".encode()
        if form == "port":
            port = _PORT.search(host)
            told = port[0] if port else f":{443 if scheme == 'https' else 80}"
            return f"{scheme}://{bare}{told}{rest}".encode()
        return _decoded(url)


# What HubSpot turns back before it signs (its page on request validation, by memory of others).
_TURNED_BACK = {code: char for char in "!$'()*,/:;@?" for code in (f"%{ord(char):02X}", f"%{ord(char):02x}")}
_CODE = re.compile("|".join(map(re.escape, _TURNED_BACK)))


def _decoded(url: str) -> bytes:
    return _CODE.sub(lambda match: _TURNED_BACK[match[0]], url).encode()


def _fields(text: bytes, what: str) -> list[tuple[bytes, bytes]]:
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise NotVerified(f"the {what} cannot be read, or has more than {FIELDS_MAX} fields") from None
    return [(name.encode(), value.encode()) for name, value in pairs]


def _only(pairs: Iterable[tuple[bytes, bytes]], name: bytes, place: Place) -> bytes | None:
    """Give the one value of a name; several different ones could be read in several ways."""
    values = {value for key, value in pairs if key == name}
    if len(values) > 1:
        raise NotVerified(f"{place.text} is there more than once, with different values")
    return values.pop() if values else None
