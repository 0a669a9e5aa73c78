"""Slots and their line, without a layer."""

import pytest

from sidecar.layers.bulkhead.slots import Slots


async def test_each_who_leaves_lets_the_first_in() -> None:
    """In order of arrival, and nobody overtakes."""
    slots = Slots(1, 5)
    assert slots.take()
    assert not slots.take()
    first, second = slots.stand_in_line(), slots.stand_in_line()
    slots.give_back()
    assert (first.done(), second.done()) == (True, False)
    assert not slots.take()
    slots.give_back()
    assert second.done()
    assert (slots.taken, slots.waiting) == (1, 0)


async def test_who_leaves_the_line_leaves_nothing_behind() -> None:
    """The next moves up."""
    slots = Slots(1, 5)
    slots.take()
    first, second = slots.stand_in_line(), slots.stand_in_line()
    slots.leave_line(first)
    assert slots.waiting == 1
    slots.give_back()
    assert second.done()
    assert not first.done()


async def test_a_slot_handed_over_to_one_who_leaves_goes_to_the_next() -> None:
    """The hand-over and the cancellation fell into one moment."""
    slots = Slots(1, 5)
    slots.take()
    first, second = slots.stand_in_line(), slots.stand_in_line()
    slots.give_back()
    assert first.done()
    slots.leave_line(first)
    assert second.done()
    assert slots.taken == 1


async def test_a_cancelled_one_is_passed_over() -> None:
    """Its task has not run since, so it still stands there."""
    slots = Slots(1, 5)
    slots.take()
    first, second = slots.stand_in_line(), slots.stand_in_line()
    first.cancel()
    slots.give_back()
    assert second.done()
    slots.leave_line(first)
    assert (slots.taken, slots.waiting) == (1, 0)


async def test_fewer_slots_than_are_taken_run_down() -> None:
    """Nobody is thrown out; and nobody comes in before there is room."""
    slots = Slots(3, 5)
    assert [slots.take() for _ in range(3)] == [True] * 3
    slots.resize(1)
    waiter = slots.stand_in_line()
    slots.give_back()
    slots.give_back()
    assert not waiter.done()
    slots.give_back()
    assert waiter.done()
    assert slots.taken == 1


async def test_more_slots_let_the_line_in_at_once() -> None:
    """As many as there is room for."""
    slots = Slots(1, 5)
    slots.take()
    waiters = [slots.stand_in_line() for _ in range(3)]
    slots.resize(3)
    assert [waiter.done() for waiter in waiters] == [True, True, False]


def test_a_slot_is_given_back_once() -> None:
    """A second time is a fault of ours."""
    slots = Slots(1, 5)
    slots.take()
    slots.give_back()
    with pytest.raises(AssertionError, match="once"):
        slots.give_back()
