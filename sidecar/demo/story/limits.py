"""Limits: what the vendor allows, as it announces it or as it was agreed, is kept before it says no."""

from sidecar.demo.client import Answer, Ask
from sidecar.demo.memory import METERED
from sidecar.demo.stage import Stage
from sidecar.demo.step import Chapter, Step

HELD_MIN = 0.01  # Seconds: what is held goes on some 20 ms after the window's end, at the earliest.
AGREED = 3  # Calls at once, and in a minute.
RETRY_AFTER_MAX = 60 // AGREED  # Seconds until a permit is there again.


def was_held_back(stage: Stage, _: Answer) -> str:
    """Check that what was over the limit waited for the next window; that nobody got a 429 was checked before."""
    waited = max(answer.seconds for answer in stage.answers[-2 * METERED[0] :])
    return "" if waited > HELD_MIN else "nothing waited, though there were more calls than one window allows"


def says_when(_: Stage, answer: Answer) -> str:
    """Check that the refusal was the sidecar's own and quick, and says when it is worth coming again."""
    wait = answer.header("Retry-After")
    if not wait.isdigit() or not 0 < int(wait) <= RETRY_AFTER_MAX:
        return f"Retry-After is {wait!r}"
    return "" if answer.seconds < 0.5 else f"it took {answer.seconds:.2f} s"


LIMITS = Chapter(
    title="When there is a limit",
    steps=(
        Step(
            title=f"call {2 * METERED[0]} times where the vendor allows {METERED[0]} a second",
            ask=Ask(service="metered", path="/v1/metered"),
            status=200,
            times=2 * METERED[0],
            attempts=2 * METERED[0],
            did="read the limit from its answers, waited for the next second, and got no 429",
            check=was_held_back,
        ),
        Step(
            title=f"call as often as was agreed, {AGREED} a minute",
            ask=Ask(service="agreed", path="/v1/charges"),
            status=200,
            times=AGREED,
            attempts=AGREED,
            did="passed them on",
        ),
        Step(
            title="call once more",
            ask=Ask(service="agreed", path="/v1/charges"),
            status=429,
            code="rate_limited",
            attempts=0,
            did="refused it itself, and said when to come again",
            check=says_when,
        ),
    ),
)
