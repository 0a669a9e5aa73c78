"""Verdict: what a turn of a job means: done, a no that stays one, or again later. Pure."""

from sidecar.core.errors import (
    BadRequest,
    BodyTooLarge,
    CircuitOpen,
    CredentialUnavailable,
    IdempotencyMismatch,
    IdempotencyNotKept,
    NotAllowed,
    PathEscapes,
    SidecarError,
)
from sidecar.working.verdict import Verdict

# What the job itself is wrong for, whenever it is made: only a change of the config helps.
_STAYS = (BadRequest, BodyTooLarge, NotAllowed, PathEscapes, IdempotencyMismatch)

# What holds up all jobs of the line alike, also where nobody can say for how long: an operator opened the circuit.
_HOLDS_ALL = (CircuitOpen, CredentialUnavailable)
UNTOLD = 5.0  # Seconds until one of them tries again, then; else each would, and have a line of log for it.


def of_answer(
    status: int, statuses: frozenset[int], retry_after: float | None, age: float, age_max: float, delay: float
) -> Verdict:
    """Judge a vendor's answer; `statuses` are those after which it is tried again, `delay` is the schedule's."""
    if status not in statuses:
        return Verdict("answered" if status < 400 else "refused", error="" if status < 400 else f"status {status}")
    wait = max(delay, retry_after or 0.0)
    if age + wait > age_max:
        return Verdict("given_up", error=f"status {status}")
    return Verdict("put_off", wait, f"status {status}")


def of_error(error: SidecarError, age: float, age_max: float, delay: float, *, was_sent: bool) -> Verdict:
    """Judge an error of ours; `was_sent`: the vendor was asked in this turn."""
    sentence = f"{error.code}: {error.detail}"
    if isinstance(error, IdempotencyNotKept):  # A turn before this one did it; only its answer is not here.
        return Verdict("answered", error=sentence)
    if isinstance(error, _STAYS):
        return Verdict("refused", error=sentence)
    told = error.retry_after or (UNTOLD if isinstance(error, _HOLDS_ALL) and not was_sent else 0.0)
    wait = max(delay if was_sent else min(delay, 1.0), told)
    if age + wait > age_max:
        return Verdict("given_up", error=sentence)
    return Verdict("put_off", wait, sentence, pause=0.0 if was_sent else told)
