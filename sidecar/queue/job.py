"""Job: a deferred call: what is stored of it, what can happen to it, and how it is shown.

    append -> waiting -> claim -> running -> succeeded | failed | waiting again | dead

NEXT is the whole machine. What holds a claim alone may end it; people cancel what waits, and retry what ended badly.

An item of a batch that was not waited for is a job, too, in a line of its own behind the service's name. Its id is the
batch's, a hyphen and its index; the batch's begins with the line, as a job's does, and has no hyphen behind it.
"""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from sidecar.core.body import Headers
from sidecar.store.backlog import RUNNING, WAITING, Entry
from sidecar.working.verdict import Event

State = Literal["waiting", "running", "succeeded", "failed", "dead", "cancelled"]

SUCCEEDED, FAILED, DEAD, CANCELLED = "succeeded", "failed", "dead", "cancelled"
ITEMS = ".~items"  # Behind the name of a service: the line of its batches' items. No route is called so.

NEXT: dict[str, dict[str, str]] = {
    WAITING: {"claimed": RUNNING, "cancelled": CANCELLED},
    RUNNING: {
        "answered": SUCCEEDED,  # The vendor did it.
        "refused": FAILED,  # The vendor, or a rule of ours, said a no that stays one.
        "put_off": WAITING,  # It may go well later; also when its pod was killed.
        "given_up": DEAD,  # It is too old: a dead letter, kept for people.
        "unaccepted": CANCELLED,  # An item whose batch was never acknowledged: it is not made.
    },
    SUCCEEDED: {},
    FAILED: {"retried": WAITING},
    DEAD: {"retried": WAITING},
    CANCELLED: {"retried": WAITING},
}
STATES = tuple(NEXT)
ENDED = tuple(state for state in NEXT if state not in {WAITING, RUNNING})


def states_before(event: Event) -> tuple[str, ...]:
    """Give the states in which an event can happen."""
    return tuple(state for state, events in NEXT.items() if event in events)


class Head(msgspec.Struct, array_like=True):
    """The call of a job, as the app made it, without its body and without any credential."""

    method: str
    target: bytes
    headers: Headers
    address: bytes  # The URL by which the app called the service: answers lead back to it.
    app: str
    request_id: str
    trace_id: str
    trace_flags: str
    idempotency_key: bytes | None
    has_user_agent: bool
    body_hash: bytes
    why: str  # "asked", "batch", or the code or status after which it became a job.
    error: str = ""  # Of the last attempt: a code and a sentence, or the vendor's status.
    item: str | None = None  # What the app calls it in its batch; None: it is of no batch, or a line that is no item.
    is_accepted: bool = False  # Its batch is known to be acknowledged.

    def __repr__(self) -> str:
        return f"Head({self.method} ***, request_id={self.request_id})"


class Answer(msgspec.Struct, array_like=True):
    """What the vendor said last."""

    status: int
    headers: Headers
    body: bytes
    is_whole: bool = True  # False: the body was longer than is kept, and is not there.

    def __repr__(self) -> str:
        return f"Answer({self.status}, *** {len(self.body)} bytes)"


_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
encode = msgspec.msgpack.Encoder().encode


UNREADABLE = "the job cannot be read: another version of the sidecar wrote it, or it is damaged; discard it"


def head_of(entry: Entry) -> Head:
    """Read an entry's head. Raises msgspec.DecodeError."""
    try:
        return _decode_head(entry.head)
    except UnicodeDecodeError:
        raise msgspec.DecodeError("a text in it is none") from None


def head_or_none(entry: Entry) -> Head | None:
    """Read an entry's head, if it can be read."""
    try:
        return head_of(entry)
    except msgspec.DecodeError:
        return None


def answer_of(entry: Entry) -> Answer | None:
    """Read an entry's answer, if it has one that can be read."""
    try:
        return _decode_answer(entry.result) if entry.result else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def service_of(line: str) -> str:
    """Give the service of a line: `<service>`, or `<service>.<route>` where the route has one of its own."""
    return line.partition(".")[0]


def line_of(job: str) -> str:
    """Give the line of a job, which its id begins with."""
    return job.rpartition(".")[0]


def item_name(batch: str, index: int) -> str:
    """Give the id of an item."""
    return f"{batch}-{index}"


def batch_of(item: str) -> str:
    """Give the batch of an item."""
    return item.rpartition("-")[0]


def is_batch(name: str) -> bool:
    """Whether an id is that of a batch, and not of a job."""
    line, _, number = name.rpartition(".")
    return line.endswith(ITEMS) and "-" not in number


def shown(line: str, entry: Entry, *, is_whole: bool = False) -> dict[str, Any]:
    """Show a job to the app and to people; whole: with the vendor's answer."""
    head = head_or_none(entry) or Head("", b"", [], b"", "", "", "", "", None, False, b"", "", UNREADABLE)
    found: dict[str, Any] = {
        "id": entry.id,
        "state": entry.state,
        "service": service_of(line),
        "method": head.method,
        "path": head.target.partition(b"?")[0].decode("latin-1"),
        "attempts": entry.attempts,
        "created_at": instant(entry.created_at),
        "next_at": instant(entry.due_at) if entry.state == WAITING and entry.due_at is not None else None,
        "ended_at": None if entry.settled_at is None else instant(entry.settled_at),
        "error": head.error or None,
        "request_id": head.request_id,
        "app": head.app or None,
        "key": entry.key or None,
        "why": head.why,
    }
    if line.endswith(ITEMS):
        found |= {"batch": batch_of(entry.id), "item": head.item}
    if is_whole:
        found["answer"] = _shown_answer(answer_of(entry))
    return found


def _shown_answer(answer: Answer | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
    found: dict[str, Any] = {"status": answer.status, "headers": headers}
    if not answer.is_whole:
        return found | {
            "body": None,
            "note": "the body was longer than queue.answer_max, or repeated a credential, and is not kept",
        }
    try:
        return found | {"body": answer.body.decode()}
    except UnicodeDecodeError:
        import base64  # noqa: PLC0415 - for the few that are not text

        return found | {"body_base64": base64.b64encode(answer.body).decode()}


def instant(at: float) -> str:
    """Write Unix seconds as RFC 3339."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
