"""Audit: what the other rooms hand their records to; builds them on the loop, and leaves all else to the thread."""

from collections.abc import Callable
from typing import Final, Literal, get_args

from sidecar.core.call import Call
from sidecar.core.outcome import Outcome
from sidecar.core.peer import Peer
from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.file import AuditFile
from sidecar.telemetry.audit.record import CallRecord, Entry, Kind, Who, bounded
from sidecar.telemetry.audit.stream import AuditStream, Lines
from sidecar.telemetry.audit.writer import AuditWriter

Tell = Callable[..., None]  # Writes a log line: tell(level, msg, **fields).

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WORDS: Final = {outcome: outcome.value for outcome in Outcome}
# Lines of the log that are records of the audit log, too, whatever the log's level is. They have the same names.
_HEARD: Final[dict[str, Kind]] = {
    kind: kind
    for kind in get_args(Kind)
    if kind.startswith(("secret_", "token_", "refresh_token_", "config_")) or kind == "grant_lost"
}


class Audit:
    """The process's one audit log; off until `use` has a section."""

    def __init__(
        self,
        writer: AuditWriter,
        who: Who,
        version: str,
        wall: Callable[[], float],
        lines: Lines,
        tell: Tell,
        mask: Callable[[str], str],
    ) -> None:
        self._writer = writer
        self._who = who
        self._version = version
        self._wall = wall
        self._lines = lines
        self._tell = tell
        self._mask = mask
        self._config: AuditConfig | None = None
        self._sink: AuditFile | AuditStream | None = None
        self._calls: Literal["all", "writes", "none"] = "none"

    def use(self, config: AuditConfig | None) -> None:
        """Take over the section of a new generation; None is off. Blocks: call in a thread.

        Raises OSError when the file cannot be opened; then the audit goes on as before.
        """
        before = self._config
        if config is None:
            self._config, self._calls = None, "none"
            self._writer.use(None)
            self._sink = None
            return
        is_same_place = before is not None and before.file == config.file
        if not is_same_place:
            sink = self._make(config)
            self._writer.use(sink)
            self._sink = sink
        elif isinstance(self._sink, AuditFile):
            self._sink.configure(config)
        self._config, self._calls = config, config.calls

    def _make(self, config: AuditConfig) -> AuditFile | AuditStream:
        if config.file is None:
            return AuditStream(self._who, self._version, self._wall, self._lines)
        return AuditFile(config, self._who, self._version, self._wall, self._tell)

    @property
    def is_on(self) -> bool:
        """Whether there is an audit log."""
        return self._config is not None

    def call(self, call: Call, credential: str, version: str, peer: Peer | None) -> None:
        """Record a call that ended; `credential` is a reference or a name, never a value."""
        calls = self._calls
        if calls == "none" or (calls == "writes" and call.method in _SAFE):
            return
        outcome = call.outcome
        assert outcome is not None, "the record is made after the end"
        record = CallRecord(
            call.app, peer, call.service, call.route, call.method, call.path_template, call.status, _WORDS[outcome],
            call.error_code, call.source, len(call.attempts), credential, version, call.request_id,
        )  # fmt: skip
        self._writer.add(Entry(self._wall(), "call", record))

    def note(self, kind: Kind, /, **fields: object) -> None:
        """Record what is rare: a login, an operator's word about a circuit; `beside` hears the others."""
        if self._config is not None:
            self._writer.add(Entry(self._wall(), kind, bounded(fields, self._mask)))

    def beside(self, tell: Tell) -> Tell:
        """Give a `tell` that writes to the log as before, and to the audit log what belongs there."""

        def tell_both(level: str, msg: str, /, **fields: object) -> None:
            tell(level, msg, **fields)
            kind = _HEARD.get(msg)
            if kind is not None:
                self.note(kind, **fields)

        return tell_both
