"""Gather: an answer's body wholly in hand, where it is short and soon there; a stream is left to be one."""

from sidecar.core.body import Headers
from sidecar.core.call import Reply
from sidecar.core.clock import Clock
from sidecar.core.headers import find

# Seconds that a body which does not say its length may take to end; after it, it is taken for a stream.
GATHER_MAX = 1.0
_STREAMS = (b"text/event-stream", b"application/x-ndjson", b"application/jsonl", b"multipart/x-mixed-replace")


async def has_whole_body(reply: Reply, bytes_max: int, deadline_at: float, clock: Clock) -> bool:
    """Wait for the last byte of a body of at most `bytes_max`; no byte is taken from it.

    False where it is a stream, too long, too slow, or broke off.
    """
    body = reply.body
    if reply.tunnel is not None or _is_stream(reply.headers):
        return False
    if body.length is not None and body.length > bytes_max:
        return False
    if not body.is_complete:
        until = deadline_at if body.length is not None else min(deadline_at, clock.now() + GATHER_MAX)
        try:
            async with clock.timeout_at(until):
                await body.ahead(bytes_max + 1)
        except TimeoutError:
            return False
    return body.is_complete and not body.is_failed and body.received_bytes <= bytes_max


def _is_stream(headers: Headers) -> bool:
    kind = find(headers, b"content-type")
    return kind is not None and kind.lower().startswith(_STREAMS)
