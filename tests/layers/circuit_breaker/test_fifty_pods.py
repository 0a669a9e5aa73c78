"""Fifty pods and one vendor that is down for a minute: nobody thunders at it, before or after it is back."""

import random
from collections import Counter

from sidecar.layers.circuit_breaker.breaker import REFUSED, Breaker
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig

PODS = 50
STEP_S = 0.01
CALL_EVERY = 2  # Steps: each pod has 50 calls a second, so all of them offer 250 in 100 ms.
ANSWER_AFTER = 5  # Steps, good or bad.
DOWN_FROM, DOWN_UNTIL, END = 10.0, 70.0, 160.0


def arrivals() -> Counter[int]:
    """Simulate, and count what reaches the vendor per 100 ms."""
    config, chance = CircuitBreakerConfig(), random.Random(7)
    pods = [Breaker(config, 0.0, chance.random, lambda state, facts: None) for _ in range(PODS)]
    seen: Counter[int] = Counter()
    under_way: dict[int, list[tuple[Breaker, int, bool]]] = {}
    for step in range(int(END / STEP_S)):
        now = step * STEP_S
        is_down = DOWN_FROM <= now < DOWN_UNTIL
        for breaker, ticket, is_failure in under_way.pop(step, ()):
            breaker.record(ticket, now, is_failure=is_failure)
            breaker.leave(ticket)
        for number, breaker in enumerate(pods):
            if (step + number) % CALL_EVERY:
                continue
            ticket = breaker.admit(now)
            if ticket != REFUSED:
                seen[step // 10] += 1
                under_way.setdefault(step + ANSWER_AFTER, []).append((breaker, ticket, is_down))
    assert {breaker.state for breaker in pods} == {"closed"}
    return seen


def test_a_vendor_that_was_down_is_not_run_over() -> None:
    """It hears from few at a time while it is down, and from the first pods one after the other when it is back."""
    seen = arrivals()
    offered = PODS * 10 // CALL_EVERY
    assert seen[50] == offered
    tripped_by = int(DOWN_FROM * 10) + 50
    while_down = [seen[tick] for tick in range(tripped_by, int(DOWN_UNTIL * 10))]
    assert 0 < sum(while_down) < 10 * PODS, "a few probes a pod in a minute"
    assert max(while_down) <= offered / 10, "and never in step"
    assert max(seen.values()) <= offered, "nothing was saved up for when it is back"
    back = [seen[tick] for tick in range(int(DOWN_UNTIL * 10), int(END * 10))]
    share = [arrived / offered for arrived in back]
    quarter, most = next(i for i, s in enumerate(share) if s > 0.25), next(i for i, s in enumerate(share) if s > 0.9)
    assert most - quarter >= 20, "the load comes back over seconds"
    assert back[-1] == offered
