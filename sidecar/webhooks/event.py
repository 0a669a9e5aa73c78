"""Event: a webhook as it was accepted: what is stored of it, what can happen to it, and how it is shown.

    append -> waiting -> claim -> running -> delivered | waiting again | dead

NEXT is the whole machine. An event's id is `<webhook>.<the vendor's id>`, and what stands for that where there is none.
"""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from sidecar.core.body import Headers
from sidecar.core.headers import HOP_BY_HOP, find_all, tokens
from sidecar.store.backlog import RUNNING, WAITING, Entry

DELIVERED, DEAD, CANCELLED = "delivered", "dead", "cancelled"
NEXT: dict[str, dict[str, str]] = {
    WAITING: {"claimed": RUNNING, "cancelled": CANCELLED},
    RUNNING: {
        "answered": DELIVERED,  # The app took it.
        "put_off": WAITING,  # The app may take it later; also when its pod was killed.
        "given_up": DEAD,  # It is too old: a dead letter, kept for people.
    },
    DELIVERED: {"retried": WAITING},  # People have it delivered once more.
    DEAD: {"retried": WAITING},
    CANCELLED: {"retried": WAITING},
}
STATES = tuple(NEXT)
ENDED = tuple(state for state in NEXT if state not in {WAITING, RUNNING})
RETRIED = tuple(state for state, events in NEXT.items() if "retried" in events)

LINE = "webhook/"  # In front of a webhook's name: its line in the store. No service is called so.
ID_MAX = 128  # Characters of a vendor's id. Longer, or with others than these: its hash stands for it.
KEY_MAX = 128  # Bytes of what keeps order. The same.
_ID = re.compile(r"(?!(?:sha256|id)-[0-9a-f]{32}\Z)[A-Za-z0-9._:+=@-]+")  # And none that looks like a hash of ours.
# What is the connection's, what would be a credential of the app's, and what we say ourselves.
_LEFT_OUT = HOP_BY_HOP | {b"host", b"content-length", b"authorization", b"cookie", b"x-request-id", b"expect"}


class Head(msgspec.Struct, array_like=True):
    """What is stored of an event beside its body."""

    headers: Headers
    type: str
    sent_at: float | None
    request_id: str
    body_hash: bytes
    conflicts_with: str = ""  # The event that had the same id and another body.
    error: str = ""  # Of the last delivery.
    unsent: int = 0  # Times that it was claimed, and nobody was there to take it.

    def __repr__(self) -> str:
        return f"Head(***, request_id={self.request_id})"


head_of_bytes = msgspec.msgpack.Decoder(Head).decode
encode = msgspec.msgpack.Encoder().encode


def head_of(entry: Entry) -> Head:
    """Read an entry's head."""
    return head_of_bytes(entry.head)


def attempts_of(entry: Entry, head: Head) -> int:
    """Give how often it was handed to the app, a try that is under way included."""
    return max(0, entry.attempts - head.unsent)


def line_of(webhook: str) -> str:
    """Give the line of a webhook in the store."""
    return LINE + webhook


def webhook_of(name: str) -> str:
    """Give the webhook of an event, which its id begins with."""
    return name.partition(".")[0]


def id_of(webhook: str, given: str | None, body: bytes) -> str:
    """Give the id under which an event is known again: the vendor's, or a hash of webhook and body."""
    if not given:
        return f"{webhook}.sha256-{hashlib.sha256(webhook.encode() + bytes(1) + body).hexdigest()[:32]}"
    if len(given) > ID_MAX or not _ID.fullmatch(given):
        return f"{webhook}.id-{hashlib.sha256(given.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
    return f"{webhook}.{given}"


def id_in_conflict(name: str, body_hash: bytes) -> str:
    """Give the id of an event whose own is taken by another body."""
    return f"{name}~{body_hash.hex()[:16]}"


def key_of(found: object) -> str:
    """Give the key that keeps order, of what `order_by` found in a body; "" keeps none."""
    if found is None or isinstance(found, bool | list | dict):
        return ""
    text = str(found)
    if len(text.encode("utf-8", "replace")) <= KEY_MAX and text.isprintable():
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def headers_of(headers: Headers, secrets: "list[bytes]") -> Headers:
    """Give the fields that the app gets; one that holds a secret stays behind, and is not stored."""
    named = tokens(find_all(headers, b"connection"))
    left_out = _LEFT_OUT.union(named)
    return [
        (name, value)
        for name, value in headers
        if (key := name.lower()) not in left_out
        and not key.startswith(b"sidecar-")
        and not any(secret and secret in value for secret in secrets)
    ]


def shown(entry: Entry, *, is_whole: bool = False) -> dict[str, Any]:
    """Show an event to people; whole: with headers and body."""
    head = head_of(entry)
    found: dict[str, Any] = {
        "id": entry.id,
        "state": entry.state,
        "webhook": webhook_of(entry.id),
        "type": head.type or None,
        "attempts": attempts_of(entry, head),
        "created_at": instant(entry.created_at),
        "next_at": instant(entry.due_at) if entry.state == WAITING and entry.due_at is not None else None,
        "ended_at": None if entry.settled_at is None else instant(entry.settled_at),
        "error": head.error or None,
        "request_id": head.request_id,
        "key": entry.key or None,
        "conflicts_with": head.conflicts_with or None,
    }
    if is_whole:
        found["sent_at"] = None if head.sent_at is None else instant(head.sent_at)
        found |= content(entry, head)
    return found


def given(entry: Entry) -> dict[str, Any]:
    """Show an event to the app."""
    head = head_of(entry)
    return {
        "id": entry.id,
        "type": head.type or None,
        "attempt": attempts_of(entry, head),
        "created_at": instant(entry.created_at),
        "request_id": head.request_id,
        "conflicts_with": head.conflicts_with or None,
        **content(entry, head),
    }


def content(entry: Entry, head: Head) -> dict[str, Any]:
    """Give headers and body for JSON; `body_base64` where the body is no text."""
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in head.headers]
    try:
        return {"headers": headers, "body": entry.body.decode()}
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415 - for the few that are not text

        return {"headers": headers, "body_base64": base64.b64encode(entry.body).decode()}


def instant(at: float) -> str:
    """Write Unix seconds as RFC 3339."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):  # A vendor's own, that is no time.
        return str(at)
