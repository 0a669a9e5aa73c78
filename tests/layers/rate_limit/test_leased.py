"""A pod's part of a limit that the fleet shares, and the ledger that deals it out: by arithmetic."""

from typing import Any

import pytest

from sidecar.layers.rate_limit.haste import RETRY_S
from sidecar.layers.rate_limit.leased import ASKED_S, PATIENCE_S, Leased
from sidecar.store.base import Block, Wanted
from sidecar.store.ledger import Ledger
from tests.layers.rate_limit.told import NOW, silent


class Asking:
    """A pod of ten that share 100/s with a burst of 10; it counts its questions."""

    def __init__(self, *windows: tuple[float, float], replicas: int = 10) -> None:
        self.asked = 0
        self.leased = Leased(100.0, 1.0, 10.0, windows, replicas, NOW, self._ask)

    def _ask(self) -> None:
        self.asked += 1

    def give(self, now: float, waiting: float = 0.0, **others: Any) -> Wanted:
        """Ask and answer at once."""
        wanted = self.leased.wanted("me", now, waiting)
        common: dict[str, Any] = {
            "serial": 1, "rate": 10.0, "burst": 2.0, "level": 2.0, "permits": 0.0, "span": 3.0, "again": 2.5,
            "share": 10.0, "is_full": True, "pods": 10, "used": 0.5, "left": (), "closed": (),
        }  # fmt: skip
        self.leased.use_block(Block(**(common | others)), wanted.held, now)
        return wanted

    def taken(self, now: float, count: int = 100) -> int:
        """Take as many as there are."""
        return sum(self.leased.may_take(now, 1.0) for _ in range(count))


def test_without_a_block_the_first_call_asks_once() -> None:
    """It waits for about as long as an answer takes."""
    pod = Asking()
    assert pod.taken(NOW, 3) == 0
    assert pod.asked == 1
    assert pod.leased.wait(NOW, 1.0, 0.0) == pytest.approx(ASKED_S + 0.01)


def test_a_block_is_spent_at_its_pace_and_no_longer_than_its_end() -> None:
    """Two in hand, ten a second after them, nothing once it is over."""
    pod = Asking()
    pod.give(NOW)
    assert pod.taken(NOW) == 2
    assert pod.leased.wait(NOW, 1.0, 0.0) == pytest.approx(0.1)
    assert pod.taken(NOW + 0.1) == 1
    assert pod.taken(NOW + 2.9) == 2
    assert pod.taken(NOW + 3.0) == 0
    assert pod.leased.needs_none


def test_a_late_answer_is_reckoned_from_the_question() -> None:
    """The store counts from a moment that is no earlier, so nothing is spent after the store's end."""
    pod = Asking()
    wanted = pod.leased.wanted("me", NOW, 1.0)
    block = Block(1, 10.0, 2.0, 2.0, 0.0, 3.0, 2.5, 10.0, is_full=True, pods=10, used=0.5, left=(), closed=())
    pod.leased.use_block(block, wanted.held, NOW + 0.4)
    assert pod.taken(NOW + 2.99) == 2
    assert pod.taken(NOW + 3.0) == 0


def test_the_old_block_goes_on_while_the_next_is_asked_for() -> None:
    """And what is in hand then stays, up to what the new one allows."""
    pod = Asking()
    pod.give(NOW)
    pod.taken(NOW)
    wanted = pod.leased.wanted("me", NOW + 0.15, 0.0)
    assert wanted.level == pytest.approx(1.5)
    assert pod.taken(NOW + 0.15) == 1
    block = Block(2, 20.0, 1.0, 0.0, 0.0, 3.0, 2.5, 10.0, is_full=True, pods=10, used=0.5, left=(), closed=())
    pod.leased.use_block(block, wanted.held, NOW + 0.15)
    assert pod.taken(NOW + 0.15) == 0
    assert pod.taken(NOW + 0.175) == 1


def test_at_the_fleets_limit_nobody_asks_before_the_time() -> None:
    """More calls than permits are no reason: there are no more."""
    pod = Asking()
    pod.give(NOW)
    pod.taken(NOW)
    assert pod.taken(NOW + 2.0, 50) == 2
    assert pod.asked == 0


def test_below_the_fleets_limit_more_is_asked_for_at_once() -> None:
    """With fifteen permits spent, a tenth of a second after the last question."""
    pod = Asking()
    pod.give(NOW, rate=100.0, burst=9.0, level=9.0, is_full=False, share=100.0)
    assert pod.taken(NOW) == 9
    assert pod.asked == 0
    pod.taken(NOW + 0.1)
    assert pod.asked == 1


def test_permits_of_a_longer_window_are_an_end_of_their_own() -> None:
    """Five of a day's are in hand; what was spent while the answer was under way is among them."""
    pod = Asking((1000.0, 86400.0))
    pod.give(NOW, permits=5.0, left=(900.0,), burst=9.0, level=9.0)
    assert pod.taken(NOW) == 5
    wanted = pod.leased.wanted("me", NOW + 1, 0.0)
    assert wanted.held == 0
    assert pod.leased.window_ratios(NOW) == [pytest.approx(0.1)]


def test_what_is_not_needed_comes_back() -> None:
    """Far more permits in hand than the use takes are given back with the next question; at the end all are."""
    pod = Asking((1000.0, 86400.0))
    pod.give(NOW, permits=200.0, left=(700.0,))
    pod.taken(NOW, 1)
    wanted = pod.leased.wanted("me", NOW + 2, 0.0)
    assert wanted.held + wanted.back == 199
    assert wanted.back > 150
    returned = pod.leased.returned("me", NOW + 2)
    assert (returned.use, returned.held) == (-1.0, wanted.held)
    assert pod.leased.needs_none
    assert pod.taken(NOW + 2) == 0


def test_alone_it_goes_on_with_what_is_left_and_then_with_its_fair_share() -> None:
    """First no faster than before; at the fair pace once no block can be left that was dealt out earlier."""
    pod = Asking()
    pod.give(NOW, rate=4.0, burst=1.0, level=1.0)
    pod.leased.wanted("me", NOW + 2.5, 0.0)
    pod.leased.failed(NOW + 2.5)
    assert pod.taken(NOW + 2.9) == 1  # Of the block.
    assert pod.taken(NOW + 3.1) == 0
    assert pod.leased.is_alone
    assert pod.taken(NOW + 3.2) == 1
    assert pod.leased.rate == 4.0
    pod.taken(NOW + 9.6)
    assert pod.leased.rate == 10.0
    assert pod.leased.burst == 1.0


def test_alone_from_the_start_it_waits_until_older_blocks_are_over() -> None:
    """A pod that never had a block knows of nobody's, so it lets their longest pass."""
    pod = Asking()
    pod.leased.wanted("me", NOW, 1.0)
    pod.leased.failed(NOW + 0.01)
    assert pod.taken(NOW + 6.9) == 0
    assert pod.leased.wait(NOW + 6.9, 1.0, 0.0) == pytest.approx(0.2)
    assert pod.taken(NOW + 7.2) == 1


def test_alone_the_longer_windows_are_shared_by_what_was_left() -> None:
    """A tenth of the count each, of which as much is used as of the whole."""
    pod = Asking((100.0, 3600.0))
    pod.give(NOW, permits=1.0, left=(50.0,))
    pod.leased.wanted("me", NOW + 2.5, 0.0)
    pod.leased.failed(NOW + 2.5)
    total = sum(pod.taken(NOW + 10 + second) for second in range(60))
    assert total == 5


def test_an_answer_that_does_not_come_is_not_waited_for_without_end() -> None:
    """Half a second without a block and without an answer: it goes on alone, and a failed question is asked again."""
    pod = Asking()
    pod.taken(NOW)
    pod.leased.wanted("me", NOW, 1.0)
    pod.taken(NOW + PATIENCE_S - 0.01)
    states = [pod.leased.snapshot(NOW)["shared"]]
    pod.taken(NOW + PATIENCE_S)
    states.append(pod.leased.snapshot(NOW)["shared"])
    assert states == ["none", "alone"]
    pod.leased.failed(NOW + 2)
    assert pod.leased.wanted("me", NOW + 2 + RETRY_S, 1.0).away == pytest.approx(2 + RETRY_S)


def test_back_with_the_store_nobody_begins_with_a_burst() -> None:
    """What a pod spent alone is not known there: it gets a pace, and nothing at once."""
    ledger = Ledger(10.0, NOW)
    pod = Asking()
    pod.leased.wanted("me", NOW, 1.0)
    pod.leased.failed(NOW)
    pod.taken(NOW + 20)
    block = ledger.lease(pod.leased.wanted("me", NOW + 20, 5.0), NOW + 20)
    assert (block.rate, block.level) == (10.0, 0.0)
    assert ledger.careful_until == NOW + 28


def test_who_stops_with_a_block_of_which_it_never_heard_keeps_it_until_its_end() -> None:
    """Two questions may overtake each other; what may be spent stays claimed."""
    ledger = Ledger(10.0, NOW)
    pod = Asking()
    first = ledger.lease(pod.leased.wanted("me", NOW, 1.0), NOW)
    assert first.rate > 0
    ledger.lease(pod.leased.returned("me", NOW + 0.1), NOW + 0.1)
    assert [claim.rate for claim in ledger.pods["me"].claims] == [first.rate]


def test_what_another_pod_was_told_is_closed_here_too() -> None:
    """Until then nothing goes; the same told again is no news."""
    announced = silent()
    assert announced.close("", NOW + 10, NOW)
    assert not announced.close("", NOW + 10, NOW)
    assert announced.wait(NOW + 4, 1.0, 0.0, "") == pytest.approx(6)
    assert announced.close("search", NOW + 9_999, NOW)
    assert announced.wait(NOW + 20, 1.0, 0.0, "search") == pytest.approx(880)
