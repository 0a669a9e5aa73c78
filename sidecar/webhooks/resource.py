"""Resource: `/_sidecar/events/{name}` on the app's doors: events are fetched by GET, and settled by POST."""

from typing import Any
from urllib.parse import parse_qs

import msgspec

from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import BadRequest, BodyTooLarge, MethodNotAllowed
from sidecar.core.units import Duration
from sidecar.webhooks.fetching import Fetching

PREFIX = b"/_sidecar/events/"
WAIT_MAX = 60.0  # Seconds.
COUNT_MAX = 100
LEASE_MAX = 12 * 3600.0  # Seconds.
BODY_MAX = 64 * 1024  # Bytes of what an app says at once.
_SAY = 'write {"lease": "...", "done": ["<id>"], "again": [], "keep": "30s"}; all but lease may be left out'


class _Word(msgspec.Struct, forbid_unknown_fields=True):
    """What the app says of events that it fetched."""

    lease: str
    done: list[str] = []
    again: list[str] = []
    keep: str | None = None


class EventResource:
    """Answers the app."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching

    async def handle(self, call: Call) -> Reply:
        """Give events, or take the app's word for them.

        Raises UnknownEvent, EventState, Shed, StoreUnavailable, BadRequest, BodyTooLarge, MethodNotAllowed.
        """
        path, _, query = call.target.removeprefix(PREFIX).partition(b"?")
        name = path.decode("latin-1")
        if call.method == "GET":
            asked = parse_qs(query.decode("latin-1"))
            if unknown := asked.keys() - {"wait", "count", "lease"}:
                raise BadRequest(f"there is no {min(unknown)[:64]!r} here; known are wait, count and lease")
            count = _count(asked.get("count", ["10"])[0])
            wait = _seconds("wait", asked.get("wait", ["0s"])[0], 0.0, WAIT_MAX)
            lease = _seconds("lease", asked.get("lease", ["30s"])[0], 1.0, LEASE_MAX)
            return _json(await self._fetching.fetch(name, count, wait, lease))
        if call.method != "POST":
            raise MethodNotAllowed("events are fetched by GET and settled by POST", allow=b"GET, POST")
        word = _read(await _whole(call))
        keep = None if word.keep is None else _seconds("keep", word.keep, 1.0, LEASE_MAX)
        return _json(await self._fetching.tell(name, word.lease, word.done, word.again, keep))


async def _whole(call: Call) -> bytes:
    call.body.bound(BODY_MAX, BodyTooLarge(f"that is over {BODY_MAX // 1024} KiB; say it in parts"))
    pieces = []
    while piece := await call.body.read():
        pieces.append(piece)
    return b"".join(pieces)


def _read(content: bytes) -> _Word:
    try:
        return msgspec.json.decode(content, type=_Word)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest(_SAY) from None


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= COUNT_MAX:
        raise BadRequest(f"count is a number from 1 to {COUNT_MAX}")
    return int(text)


def _seconds(name: str, text: str, least: float, most: float) -> float:
    try:
        seconds = float(Duration.parse(text))
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from None
    if not least <= seconds <= most:
        raise BadRequest(f"{name} is from {least:g}s to {Duration(most)}")
    return seconds


def _json(content: Any) -> Reply:
    text = msgspec.json.encode(content)
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(text))]
    return Reply(200, b"OK", headers, Body.of(text), "sidecar")
