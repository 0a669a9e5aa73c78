"""Log: JSON lines on stdout, one per call, and one for each rare event.

A line is built and encoded on the loop and written by one thread of our own, so that a slow reader of stdout never
blocks a call.
"""

import hashlib
import time
import traceback
from collections.abc import Callable
from typing import Literal
from urllib.parse import quote_from_bytes

import msgspec

from sidecar.core.call import AttemptRecord, BatchNote, Call
from sidecar.core.outcome import Outcome
from sidecar.core.section import Section
from sidecar.telemetry.redact import MASK, PATTERN_MIN, Redactor
from sidecar.telemetry.writer import Writer

Level = Literal["debug", "info", "warning", "error"]
LEVELS: dict[str, int] = {"debug": 0, "info": 1, "warning": 2, "error": 3}
DETAILS_MAX = 10  # Attempts told in full. More: the last ones.
FRAMES_MAX = 12  # Innermost frames of a fault.
# Looked up once: a member of an enum costs 0.1 µs each time it is named.
_SUCCESS, _FAILURE, _CANCELLED = Outcome.SUCCESS, Outcome.FAILURE, Outcome.CANCELLED
_WORDS = {outcome: outcome.value for outcome in Outcome}
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))


class LogConfig(Section, kw_only=True):
    """`[log]`: what is written to stdout, as JSON lines."""

    level: Level = "info"
    success: float = 1.0  # Share of successful calls that is logged; everything else always is.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        if 0 <= self.success <= 1:
            return []
        return [("success", f"{self.success:g} is not a share; write a number from 0 (none) to 1 (all)")]


class AttemptLine(msgspec.Struct, omit_defaults=True):
    """What one attempt of a failed call did; redacted."""

    error: str
    dns_ms: float
    connect_ms: float
    tls_ms: float
    first_byte_ms: float
    total_ms: float
    is_reused: bool = False
    waited_ms: float = 0
    method: str = ""
    target: str = ""
    request_head: list[str] | None = None
    status: int = 0
    response_head: list[str] | None = None
    response_start: str = ""


class BatchLine(msgspec.Struct, omit_defaults=True):
    """What became of a call's items."""

    items: int
    sent_again: int = 0
    failed: int = 0
    why: str = ""


class CallLine(msgspec.Struct, omit_defaults=True, gc=False):
    """The canonical line; its fields and their order are the contract. The last five may be absent."""

    ts: str
    level: str
    msg: str
    request_id: str
    trace_id: str
    service: str
    route: str
    method: str
    path_template: str
    status: int
    outcome: str
    source: str
    attempts: int
    code: str
    waited_rate_ms: float
    waited_slot_ms: float
    backoff_ms: float
    upstream_ms: float
    total_ms: float
    request_bytes: int
    response_bytes: int
    app: str
    idempotency_key_hash: str
    detail: str = ""
    not_retried: str = ""
    job: str = ""
    attempt_details: list[AttemptLine] | None = None
    batch: BatchLine | None = None


_encoder = msgspec.json.Encoder(enc_hook=str)
_encode = _encoder.encode


def _ms(seconds: float) -> float:
    """Seconds as milliseconds with three decimals; `round` would cost four times as much."""
    return seconds * 1e6 // 1.0 / 1e3


class Log:
    """The process's one log. `jitter` draws from [0, 1) and decides which successful calls are written."""

    def __init__(
        self,
        config: LogConfig,
        writer: Writer,
        redactor: Redactor,
        wall: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.redactor = redactor
        self._writer = writer
        self._wall = wall
        self._jitter = jitter
        self._second = -1.0  # The second that `_prefix` spells.
        self._prefix = ""
        writer.on_dropped = self._dropped_line
        self.configure(config)

    def configure(self, config: LogConfig) -> None:
        """Take over the level and the share of a new generation."""
        self._level = LEVELS[config.level]
        self._success = config.success if self._level <= LEVELS["info"] else 0.0

    def stamp(self) -> str:
        """Write the time of day as RFC 3339 in UTC with milliseconds."""
        wall = self._wall()
        fraction = wall - self._second
        if not 0.0 <= fraction < 1.0:
            self._second = float(int(wall))
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall))
            fraction = wall - self._second
        return self._prefix + _MILLISECONDS[int(fraction * 1000.0)]

    def event(self, level: Level, msg: str, **fields: object) -> None:
        """Write a rare line: a reload, a step of the drain, a door that opened."""
        if LEVELS[level] >= self._level:
            self._writer.add(_lenient({"ts": self.stamp(), "level": level, "msg": msg, **fields}))

    def fault(self, msg: str, error: BaseException, **fields: object) -> None:
        """Write where something of ours broke; the error's own words are redacted, for they may quote anything."""
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
        where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        detail = self.redactor.body(str(error).encode("utf-8", "replace"))
        self.event("error", msg, error=type(error).__name__, detail=detail[:500], where=where, **fields)

    def call(
        self,
        call: Call,
        status: int,
        source: str,
        total_s: float,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """Write the canonical line of a call that ended; lengths in seconds."""
        outcome = call.outcome
        assert outcome is not None, "the line is written after the end"
        level = "info"
        detail = ""
        details = None
        if outcome is _SUCCESS:
            if self._success < 1.0 and self._jitter() >= self._success:
                return
        else:
            if outcome is not _CANCELLED:
                level = "error" if call.error_code == "internal" else "warning"
            if LEVELS[level] < self._level:
                return
            detail = self.redactor.sentence(call.error_detail) if call.error_detail else ""
            if call.attempts and outcome is _FAILURE:
                details = self._details(call.attempts, call.idempotency_key)
        key = call.idempotency_key
        line = CallLine(
            self.stamp(), level, "call", call.request_id, call.trace_id, call.service, call.route, call.method,
            call.path_template, status, _WORDS[outcome], source, len(call.attempts), call.error_code,
            _ms(call.waited_rate_s) if call.waited_rate_s else 0, _ms(call.waited_slot_s) if call.waited_slot_s else 0,
            _ms(call.backoff_s) if call.backoff_s else 0,
            call.upstream_s * 1e6 // 1.0 / 1e3, total_s * 1e6 // 1.0 / 1e3, request_bytes, response_bytes, call.app,
            "" if key is None else hashlib.sha256(key).hexdigest()[:16], detail, call.not_retried, call.job, details,
            None if call.batch is None else self._batch(call.batch),
        )  # fmt: skip
        try:
            self._writer.add(_encode(line))
        except UnicodeEncodeError:
            self._writer.add(_lenient(msgspec.to_builtins(line)))

    def _batch(self, note: BatchNote) -> BatchLine:
        return BatchLine(note.items, note.sent_again, note.failed, self.redactor.sentence(note.why) if note.why else "")

    def _details(self, attempts: list[AttemptRecord], key: bytes | None) -> list[AttemptLine]:
        return [self._detail(record, key) for record in attempts[-DETAILS_MAX:]]

    def _detail(self, record: AttemptRecord, key: bytes | None) -> AttemptLine:
        mask, own = self.redactor, None
        line = AttemptLine(
            mask.text(record.error), _ms(record.dns_s), _ms(record.connect_s), _ms(record.tls_s),
            _ms(record.first_byte_s), _ms(record.total_s), record.is_reused, _ms(record.waited_s) or 0,
            status=record.status,
        )  # fmt: skip
        if record.request_head:
            start, *fields = _without(record.request_head, key).removesuffix(b"\r\n\r\n").split(b"\r\n")
            method, _, rest = start.partition(b" ")
            line.method, line.target = method.decode(), mask.target(rest.rpartition(b" ")[0])
            sent = [_name_and_value(field) for field in fields]
            line.request_head = mask.headers(sent)
            own = mask.carried(sent)
        if record.response_head is not None:
            head = [(name, _without(value, key)) for name, value in record.response_head]
            start = _without(bytes(record.response_start), key)
            if own is not None:  # A vendor that repeats what the app sent.
                head = [(name, own.without_known(value)) for name, value in head]
                start = own.without_known(start)
            line.response_head = mask.headers(head)
            line.response_start = mask.body(start)
        return line

    def _dropped_line(self, count: int) -> bytes:
        """Tell, once there is room again, how many lines are missing here."""
        return _lenient({"ts": self.stamp(), "level": "warning", "msg": "log lines dropped", "count": count})


def _without(raw: bytes, key: bytes | None) -> bytes:
    """Mask the idempotency key, whose place may have a name that gives nothing away: the line has its hash."""
    if key is None or len(key) < PATTERN_MIN:
        return raw
    mask = MASK.encode()
    return raw.replace(key, mask).replace(quote_from_bytes(key, safe="").encode(), mask)


def _name_and_value(field: bytes) -> tuple[bytes, bytes]:
    name, _, value = field.partition(b": ")
    return name, value


def _lenient(fields: object) -> bytes:
    """Encode what may hold half a character (a lone surrogate), which JSON cannot; it shows as `?`."""
    try:
        return _encode(fields)
    except UnicodeEncodeError:
        return _encode(_printable(fields))


def _printable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value
