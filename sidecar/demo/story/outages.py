"""Outages: the vendor is down or slow, and neither the app nor the vendor is worn out by it."""

from sidecar.demo.checks import json_of
from sidecar.demo.client import Answer, Ask
from sidecar.demo.stage import OPEN_FOR, Stage
from sidecar.demo.step import Chapter, Step
from sidecar.demo.vendor import OUTAGE, SLOW, SLOWISH, UNEVEN

CROWD = 10
PROBES = 3  # In a row close the circuit: the default of circuit_breaker.successes.
OPEN_MAX = OPEN_FOR * 1.2 + 0.05  # Chance adds up to a fifth.


def was_refused_at_once(_: Stage, answer: Answer) -> str:
    """Check that nobody waited for a vendor that is down, and that the answer says when it is asked again."""
    if not answer.header("Retry-After"):
        return "there is no Retry-After"
    return "" if answer.seconds < 0.2 else f"it took {answer.seconds:.2f} s"


def is_closed(_: Stage, answer: Answer) -> str:
    """Check that the circuit went once round: open, half-open, closed."""
    metrics = answer.body.decode().splitlines()
    if 'sidecar_circuit_state{service="down"} 0.0' not in metrics:
        return "the circuit is not closed"
    for state in ("open", "half_open", "closed"):
        if f'sidecar_circuit_transitions_total{{service="down",to="{state}"}} 1.0' not in metrics:
            return f"the circuit was not {state} once"
    return ""


def was_overtaken(_: Stage, answer: Answer) -> str:
    """Check that the second attempt's answer was the app's, long before the first one's."""
    return "" if answer.seconds < SLOW / 2 else f"it took {answer.seconds:.2f} s"


def was_asked_once(stage: Stage, _: Answer) -> str:
    """Check that all have the answer to one and the same call."""
    calls = {json_of(answer).get("call") for answer in stage.answers[-CROWD:]}
    return "" if len(calls) == 1 else f"the vendor was asked {len(calls)} times"


OUTAGES = Chapter(
    title="When the vendor is down, or slow",
    steps=(
        Step(
            title="call a vendor that is down",
            ask=Ask(service="down", path="/v1/outage"),
            status=500,
            times=len(OUTAGE),
            attempts=len(OUTAGE),
            did="passed its errors on, and counted them",
        ),
        Step(
            title="call it again",
            ask=Ask(service="down", path="/v1/outage"),
            status=503,
            code="circuit_open",
            attempts=0,
            did="refused at once: the circuit is open",
            check=was_refused_at_once,
        ),
        Step(
            title="call it when the circuit has been open long enough",
            ask=Ask(service="down", path="/v1/outage"),
            status=200,
            times=PROBES,
            attempts=PROBES,
            did=f"let them through as probes, and closed the circuit after {PROBES}",
            wait=OPEN_MAX,
        ),
        Step(
            title="look at the metrics of the circuit",
            ask=Ask(path="/metrics", way="telemetry"),
            status=200,
            did="counted it open, half-open, closed",
            check=is_closed,
        ),
        Step(
            title=f"read {len(UNEVEN)} times, the last time the vendor takes {SLOW:g} s",
            ask=Ask(service="uneven", path="/v1/uneven"),
            status=200,
            times=len(UNEVEN),
            attempts=len(UNEVEN) + 1,
            did="made a second attempt beside the late one, which was quicker",
            check=was_overtaken,
        ),
        Step(
            title=f"read the same {CROWD} times at once, it takes {SLOWISH:g} s",
            ask=Ask(service="catalog", path="/v1/slow"),
            status=200,
            times=CROWD,
            at_once=True,
            attempts=1,
            did="asked the vendor once, and gave everybody the answer",
            check=was_asked_once,
        ),
    ),
)
