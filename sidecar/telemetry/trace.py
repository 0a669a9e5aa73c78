"""Trace context: read and write W3C `traceparent` and `tracestate` (Trace Context Level 2).

What does not parse is ignored, as the specification says: a new trace begins. Nothing here raises.
"""

import re

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_STATE = re.compile(rb"[\t -~]*")
_NO_TRACE = b"0" * 32
_NO_SPAN = b"0" * 16
FLAGS_KNOWN = 0x03  # Sampled and random; a version we do not know may mean something else by the others.
TRACEPARENT_MAX = 512  # Bytes. Longer: ignored, a new trace begins.
TRACESTATE_MAX = 512  # Bytes. Longer: entries over ENTRY_MAX go first, then those at the end (section 3.3.1.5).
ENTRY_MAX = 128
ENTRIES_MAX = 32  # More: those at the end go.


def parse(traceparent: bytes) -> tuple[str, str, str] | None:
    """Give (trace id, parent span id, flags) in lower-case hex; None for anything the specification calls invalid."""
    match = _TRACEPARENT.fullmatch(traceparent) if len(traceparent) <= TRACEPARENT_MAX else None
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == b"ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if version == b"00" and rest is not None:
        return None
    return trace_id.decode(), span_id.decode(), f"{int(flags, 16) & FLAGS_KNOWN:02x}"


def traceparent(trace_id: str, span_id: str, flags: str) -> bytes:
    """Write the header for the vendor: version 00, our span as the parent."""
    return f"00-{trace_id}-{span_id}-{flags}".encode()


def tracestate(values: list[bytes]) -> bytes:
    """Join the `tracestate` fields as they came, within bounds; `b""` when there is nothing to pass on."""
    joined = b",".join(values)
    if _STATE.fullmatch(joined) is None:
        return b""
    entries = [entry for part in joined.split(b",") if (entry := part.strip(b" \t"))]
    if len(joined) > TRACESTATE_MAX:
        entries = [entry for entry in entries if len(entry) <= ENTRY_MAX]
    del entries[ENTRIES_MAX:]
    while sum(map(len, entries)) + len(entries) - 1 > TRACESTATE_MAX:
        entries.pop()
    return b",".join(entries)
