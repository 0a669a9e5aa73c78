"""Record: one line of the audit log, and the chain that holds the lines together.

    {"ts":"...","msg":"audit","seq":7,"kind":"call","pod":"...", ... ,"hash":"<64 hex digits>"}

`hash` is SHA-256 over the hash of the record before (its 64 digits; of the very first one: zeros) and the line as it
would be without its hash. It is taken over the bytes as written, so that there is nothing to agree on but those.
Whoever can write the file can make a whole new chain: what the chain proves is that the records up to a hash that
somebody else noted are all there and as they were. The log has such a hash at every start, rotation and stop.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from copy import copy
from typing import Literal, NamedTuple

import msgspec

from sidecar.core.peer import Peer

GENESIS = b"0" * 64
TEXT_MAX = 512  # Characters of one text. Longer: cut.
LINE_MAX = 64 * 1024  # Bytes. No record comes near it.

Kind = Literal[
    "start", "stop", "rotated", "lost",  # Of the audit log itself.
    "call", "secret_read", "secret_unreadable", "secret_stale", "secret_ended", "token_renewed",
    "token_renewal_failed", "token_dropped", "refresh_token_stored", "refresh_token_replaced", "grant_lost", "login",
    "circuit_override", "job_cancelled", "job_retried", "job_discarded", "event_cancelled", "event_retried",
    "event_discarded", "events_replayed", "config_loaded", "config_refused",
]  # fmt: skip

_TAIL = re.compile(rb',"hash":"([0-9a-f]{64})"\}')
_TAIL_BYTES = len(b',"hash":""}') + 64
_HEADS = frozenset({"start", "rotated"})  # With these a file begins.
_OURS = frozenset({"ts", "msg", "seq", "kind", "pod", "namespace", "service_account", "hash"})
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """The pod that writes; empty where the downward API does not say."""

    pod: str = ""
    namespace: str = ""
    service_account: str = ""


def who_from(environment: Mapping[str, str]) -> Who:
    """Read what the pod's manifest hands over by the downward API; these are names, none of them a secret."""
    return Who(
        pod=environment.get("POD_NAME", "")[:TEXT_MAX],
        namespace=environment.get("POD_NAMESPACE", "")[:TEXT_MAX],
        service_account=environment.get("POD_SERVICE_ACCOUNT", "")[:TEXT_MAX],
    )


class CallRecord(msgspec.Struct, gc=False):
    """What a call's record holds beside time, number and pod."""

    app: str
    peer: Peer | None  # On a Unix socket: who it is for the kernel.
    service: str
    route: str
    method: str
    path_template: str
    status: int
    outcome: str
    code: str
    source: str
    attempts: int
    credential: str  # The reference of the secret, or the name of what minted the token; never a value.
    credential_version: str
    request_id: str


class Entry(NamedTuple):
    """A record that has not got its number and hash yet."""

    wall: float  # Unix seconds.
    kind: Kind
    content: CallRecord | Mapping[str, object]


class Stated(NamedTuple):
    """What a line says of itself."""

    seq: int
    kind: str
    hash: bytes
    previous: bytes | None  # Where a chain or a file begins: the hash that it goes on from.
    problem: str  # What the sidecar found wrong when it went on with this file.


class Chain:
    """Numbers records and hashes each with the one before. A copy goes on by itself: a try that failed is no loss."""

    __slots__ = ("_prefix", "_stamp", "last", "seq")

    def __init__(self, who: Who, seq: int = 0, last: bytes = GENESIS) -> None:
        self.seq = seq  # Of the next record.
        self.last = last
        self._prefix = _encode(who)[1:-1]
        self._stamp = Stamp()

    def seal(self, wall: float, kind: Kind, content: CallRecord | Mapping[str, object]) -> bytes:
        """Give the line of the next record, without a newline."""
        inner = _json(content)[1:-1]
        core = b'{"ts":"%b","msg":"audit","seq":%d,"kind":"%b",%b%b%b}' % (
            self._stamp.text(wall), self.seq, kind.encode(), self._prefix, b"," if inner else b"", inner,
        )  # fmt: skip
        self.last = link(self.last, core)
        self.seq += 1
        return b'%b,"hash":"%b"}' % (core[:-1], self.last)

    def copy(self) -> "Chain":
        """Give a chain that goes on from here by itself."""
        return copy(self)


class Stamp:
    """The time of day as RFC 3339 in UTC with milliseconds; the text of a second is kept."""

    __slots__ = ("_prefix", "_second")

    def __init__(self) -> None:
        self._second = -1.0
        self._prefix = ""

    def text(self, wall: float) -> bytes:
        """Write `wall`, Unix seconds."""
        fraction = wall - self._second
        if not 0.0 <= fraction < 1.0:
            self._second = float(int(wall))
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall))
            fraction = wall - self._second
        return (self._prefix + _MILLISECONDS[int(fraction * 1000.0)]).encode()


def link(previous: bytes, core: bytes) -> bytes:
    """Give the hash of a record: 64 hexadecimal digits."""
    return hashlib.sha256(previous + core).hexdigest().encode()


def core_of(line: bytes) -> bytes:
    """Give what of a line is hashed."""
    return line[:-_TAIL_BYTES] + b"}"


def read(line: bytes) -> Stated | None:
    """Read what a line (without its newline) says of itself; None for what is no record."""
    tail = _TAIL.fullmatch(line, max(0, len(line) - _TAIL_BYTES))
    if tail is None:
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get("msg") != "audit" or type(fields.get("seq")) is not int:
        return None
    kind = str(fields.get("kind", ""))
    previous = fields.get("previous") if kind in _HEADS else None
    return Stated(
        fields["seq"],
        kind,
        tail[1],
        previous.encode("utf-8", "replace") if isinstance(previous, str) else None,
        str(fields.get("problem", "")) if kind in _HEADS else "",
    )


def bounded(fields: Mapping[str, object], mask: Callable[[str], str]) -> dict[str, object]:
    """Mask and cut the texts of a rare record, and keep its names apart from those that every record has."""
    return {
        f"{name}_" if name in _OURS else name: mask(value)[:TEXT_MAX] if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _json(content: CallRecord | Mapping[str, object]) -> bytes:
    try:
        return _encode(content)
    except UnicodeEncodeError:  # Half a character (a lone surrogate), which UTF-8 cannot hold: written as \\udXXX.
        return json.dumps(msgspec.to_builtins(content), separators=(",", ":")).encode()
