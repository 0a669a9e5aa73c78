"""Fifty sidecars, each with all its layers, and one vendor that is down for a minute: what arrives there per 100 ms."""

from math import ceil

import pytest

from sidecar.layers.service import ServiceConfig
from sidecar.upstream.origin import BaseUrl
from tests.simulations.fleet import Down, Fleet, simulate

CONFIG = ServiceConfig(base_url=BaseUrl.parse("https://api.crm.example"))  # All policies as they are by default.
SIDECARS, RATE = 50, 4.0  # So 20 calls are offered per 100 ms, on average.
DOWN_FROM, DOWN_UNTIL, END = 10.0, 70.0, 150.0
TRIPPED_BY = DOWN_FROM + 5.0  # Ten calls of four a second, and the time in which some of them are tried again.
WAIT_MAX = 1.0  # Seconds that a call waits for an instant that the vendor announced: `hints.wait_max`.


def fleet(down: Down) -> Fleet:
    """Simulate the minute, and what is before and after it."""
    return simulate(CONFIG, down, sidecars=SIDECARS, rate=RATE, down_from=DOWN_FROM, down_until=DOWN_UNTIL, seconds=END)


@pytest.mark.parametrize("down", [lambda _: [], lambda _: None], ids=["503", "refused"])
def test_a_vendor_that_is_down_for_a_minute_is_not_run_over(down: Down) -> None:
    """Neither by retries when it goes down, nor by probes, nor by what was held up when it is back.

    The bounds, per 100 ms, against the most that the apps offer in any 100 ms (about twice the average):
    - While the circuits still count: twice that. A retry waits up to half a second by chance, and the budget allows a
      fifth of the calls and three a second for each sidecar, 150 together: 4 + 15 per 100 ms, on average.
    - Once they are open: half of it. A sidecar has three probes at a time, every 30 s and more, and chance spreads the
      fifty over six seconds and more.
    - When it is back: once it. Nothing is saved up: a call that was refused is gone.
    """
    seen = fleet(down)
    most = seen.most(seen.offered, 0, END)
    assert seen.total(seen.arrived, 0, DOWN_FROM - 1) == pytest.approx(seen.total(seen.offered, 0, DOWN_FROM - 1), 0.01)
    assert seen.most(seen.arrived, DOWN_FROM, TRIPPED_BY) <= 2 * most
    assert seen.most(seen.arrived, TRIPPED_BY, DOWN_UNTIL) <= most / 2
    assert seen.total(seen.arrived, TRIPPED_BY, DOWN_UNTIL) <= 10 * SIDECARS, "a few probes each in a minute"
    assert seen.most(seen.arrived, DOWN_UNTIL, END) <= most
    assert seen.total(seen.arrived, END - 10, END) >= 0.99 * seen.total(seen.offered, END - 10, END), "it is used again"


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_sidecars_that_were_all_told_the_same_instant_bring_no_more_than_what_waits_for_it(unit: str) -> None:
    """Nobody asks before it; then at most what may wait, and what is offered and tried again in that moment.

    Whoever comes more than `wait_max` = 1 s before the instant is refused and told when, so that is the most that can
    arrive at once, however long the vendor was down. Whole seconds spread it, since each sidecar rounds up another
    moment.
    """

    def told(at: float) -> list[tuple[bytes, bytes]]:
        left = DOWN_UNTIL - at
        return [(b"Retry-After", b"%d" % ceil(left)) if unit == "s" else (b"retry-after-ms", b"%d" % ceil(left * 1000))]

    seen = fleet(told)
    most = seen.most(seen.offered, 0, END)
    assert seen.total(seen.arrived, DOWN_FROM + 3, DOWN_UNTIL) == 0, "each asked once, and heard it"
    waiting = seen.total(seen.offered, DOWN_UNTIL - WAIT_MAX, DOWN_UNTIL)
    assert seen.most(seen.arrived, DOWN_UNTIL, END) <= (waiting if unit == "ms" else waiting / 2) + most
    assert seen.most(seen.arrived, DOWN_UNTIL + WAIT_MAX + 0.1, END) <= most
    assert seen.total(seen.arrived, END - 10, END) >= 0.99 * seen.total(seen.offered, END - 10, END), "it is used again"


def test_sidecars_that_are_told_again_and_again_bring_no_more_than_what_waits_either() -> None:
    """A vendor that promises five seconds each time: the same bound holds for every wave, and the waves drift apart."""
    seen = fleet(lambda _: [(b"Retry-After", b"5")])
    waiting = RATE * SIDECARS * WAIT_MAX
    assert seen.most(seen.arrived, DOWN_FROM, DOWN_UNTIL) <= waiting / 2
    assert seen.total(seen.arrived, DOWN_FROM, DOWN_UNTIL) <= seen.total(seen.offered, DOWN_FROM, DOWN_UNTIL) / 5
    assert seen.total(seen.arrived, END - 10, END) >= 0.99 * seen.total(seen.offered, END - 10, END), "it is used again"
