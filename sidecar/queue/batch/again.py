"""Again: whether an item that went wrong is sent once more, when, and whether others wait with it meanwhile.

The layers below have tried it already, as often as the service's `retry` allows in the time of one call. A batch has
more time than a call, so it may come back later; by the same rules of what is safe to repeat.
"""

from typing import NamedTuple

from sidecar.core.call import Call, Reply
from sidecar.core.errors import DeadlineExceeded, SidecarError
from sidecar.layers.retry.backoff import backoff, told
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.retry.layer import IDEMPOTENT

SENDINGS_MAX = 3  # Times that an item is given to the layers, and they try it. What they refuse before is not counted.
PAUSE_MIN = 0.1  # Seconds after a refusal of ours, however short it says: each is a call with a line in the log.
_REFUSAL_FROM = 400


class Again(NamedTuple):
    """The next sending of an item."""

    wait: float  # Seconds.
    keeps_place: bool  # Nothing can be sent now, so the batch slows down; otherwise others go on in its place.


def again(
    call: Call,
    reply: Reply | None,
    error: SidecarError | None,
    rules: RetryConfig | None,
    *,
    sendings: int,
    chance: float,
) -> Again | None:
    """Judge one sending that ended with `reply` or `error`; None: that was the item's last word.

    `sendings` are those up to now in which an attempt was made, this one included; `chance` is drawn from [0, 1).
    """
    base = float((rules or RetryConfig()).backoff)
    is_sent = any(record.request_head for record in call.attempts)
    if error is not None and not is_sent and not error.is_final:
        if error.retry_after is not None:
            return Again(told(max(error.retry_after, PAUSE_MIN), base, chance), keeps_place=True)
        if isinstance(error, DeadlineExceeded):  # Its time as a call went by in a line of ours.
            return Again(PAUSE_MIN, keeps_place=True)
    if rules is None or sendings >= SENDINGS_MAX:
        return None
    if call.attempts_max is not None and len(call.attempts) >= call.attempts_max:
        return None
    if not _has_failed(reply, error, rules) or not _may_repeat(call, reply, error, rules):
        return None
    wait = error.retry_after if error is not None else None
    if reply is not None and reply.advice is not None and error is None:
        wait = reply.advice.retry_after
    if wait is not None:
        return Again(told(wait, base, chance), keeps_place=False)
    return Again(backoff(sendings + 1, base, float(rules.backoff_max), chance), keeps_place=False)


def _has_failed(reply: Reply | None, error: SidecarError | None, rules: RetryConfig) -> bool:
    """Whether it went wrong in a way that may be another the next time."""
    if error is not None:
        return not error.is_final and (error.blames_vendor or error.retry_after is not None)
    assert reply is not None
    advice = reply.advice
    if advice is None:
        return reply.status in rules.statuses
    if advice.is_final or advice.should_retry is False:
        return False
    is_asked = advice.should_retry is True and reply.status >= _REFUSAL_FROM
    return reply.status in rules.statuses or advice.is_throttled or is_asked


def _may_repeat(call: Call, reply: Reply | None, error: SidecarError | None, rules: RetryConfig) -> bool:
    """Whether the vendor may see it twice."""
    if call.method in IDEMPOTENT or call.idempotency_key is not None:
        return True
    if error is not None:
        return error.is_unsent
    return reply is not None and reply.status in rules.unprocessed
