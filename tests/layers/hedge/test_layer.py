"""A late attempt gets a second one beside it; the first good answer wins, and the loser leaves nothing behind."""

import asyncio
from collections.abc import Callable

import pytest

from sidecar.core.advice import Advice
from sidecar.core.body import Body
from sidecar.core.call import Call, Reply
from sidecar.core.errors import CircuitOpen, Draining, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.layers.hedge.layer import Lateness
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for
from tests.layers.hedge.hedged import LATE, Hedged


async def test_a_call_that_is_not_late_gets_one_attempt(clock: ManualClock) -> None:
    """The timer that watched it is gone with it."""
    hedged = Hedged(clock)
    call, task = await hedged.ask()
    await clock.advance(LATE - 0.001)
    assert len(hedged.tried) == 1
    reply = hedged.tried[0].answer()
    assert await task is reply
    await clock.advance(1)
    assert (len(hedged.tried), hedged.spent, hedged.counted()) == (1, [], (0, 0, 0))
    await hedged.assert_quiet(call)


async def test_the_second_attempt_wins_when_it_answers_first(clock: ManualClock) -> None:
    """The loser is cancelled: no failure of the vendor's; the winner lives until the call's last byte."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    assert hedged.spent == [clock.now()]
    reply = second.answer()
    assert await task is reply
    assert (first.outcome(), second.outcome()) == (Outcome.CANCELLED, None)
    assert hedged.counted() == (1, 1, 0)
    assert (len(call.attempts), call.upstream_s) == (2, 2)  # What the loser took is told, too.
    await hedged.assert_quiet(call)
    assert second.outcome() is Outcome.SUCCESS


async def test_the_first_attempt_wins_when_it_answers_first(clock: ManualClock) -> None:
    """The second was in vain, and is cancelled."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    reply = first.answer()
    assert await task is reply
    assert (first.outcome(), second.outcome()) == (None, Outcome.CANCELLED)
    assert hedged.counted() == (1, 0, 0)
    await hedged.assert_quiet(call)


async def test_when_both_answer_in_one_moment_one_wins_and_the_other_is_given_back(clock: ManualClock) -> None:
    """Its connection would otherwise stay with nobody."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    second.answer()
    reply = first.answer()
    assert await task is reply
    assert second.outcome() is Outcome.CANCELLED
    await hedged.assert_quiet(call)


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("status", [200, 503])
async def test_a_loser_that_answers_in_the_turn_after_is_given_back_once(
    clock: ManualClock, turns: int, status: int
) -> None:
    """Its task may be done when it is dropped, though what hangs on the task's end has not run yet."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    first.answer()
    await settle(turns)
    if not second.future.done():
        second.answer(status)
    await task
    await hedged.assert_quiet(call)
    assert faults == []
    assert call.upstream_s == 2, "what each took is told once"


async def test_there_is_no_third_attempt(clock: ManualClock) -> None:
    """However long both take."""
    hedged = Hedged(clock)
    call, task, first, _ = await hedged.both()
    await clock.advance(5)
    assert len(hedged.tried) == 2
    first.answer()
    await task
    await hedged.assert_quiet(call)


# Failures.


async def test_a_failure_before_the_second_attempt_goes_back_at_once(clock: ManualClock) -> None:
    """What follows it is the retry's business."""
    hedged = Hedged(clock)
    call, task = await hedged.ask()
    hedged.tried[0].answer(503)
    assert (await task).status == 503
    call.end(Outcome.FAILURE)
    call, task = await hedged.ask()
    hedged.tried[1].future.set_exception(UpstreamReset("gone"))
    with pytest.raises(UpstreamReset):
        await task
    assert hedged.tried[1].outcome() is Outcome.FAILURE
    await hedged.assert_quiet(call)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("is_answer", [True, False])
async def test_a_failure_that_comes_first_waits_for_the_other(
    clock: ManualClock, number: int, *, is_answer: bool
) -> None:
    """A quick 503 is no win over an answer that is on its way."""
    hedged = Hedged(clock)
    call, task, *both = await hedged.both()
    loser, winner = both[number], both[1 - number]
    if is_answer:
        loser.answer(503)
    else:
        loser.future.set_exception(UpstreamReset("gone"))
    await settle()
    assert not task.done()
    reply = winner.answer()
    assert await task is reply
    assert (loser.outcome(), winner.outcome()) == (Outcome.FAILURE, None)
    assert hedged.counted() == (1, 1 - number, 0)
    await hedged.assert_quiet(call)


async def test_an_answer_that_says_slow_down_does_not_win(clock: ManualClock) -> None:
    """Some vendors say so with a status that is no failure elsewhere."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    throttled = Reply(403, b"Forbidden", [], Body.of(b""))
    throttled.advice = Advice()
    throttled.advice.is_throttled = True
    first.future.set_result(throttled)
    await settle()
    assert not task.done()
    second.answer()
    assert (await task).status == 200
    await hedged.assert_quiet(call)


async def test_when_both_fail_the_first_ones_failure_counts(clock: ManualClock) -> None:
    """Also when it came last: the second was never asked for by the app."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    second.future.set_exception(CircuitOpen("open"))
    await settle()
    first.answer(502)
    assert (await task).status == 502
    assert (first.outcome(), second.outcome()) == (None, Outcome.REJECTED)
    await hedged.assert_quiet(call)

    call, task, first, second = await Hedged(clock).both()
    second.answer(503)
    first.future.set_exception(UpstreamReset("gone"))
    with pytest.raises(UpstreamReset):
        await task
    assert (first.outcome(), second.outcome()) == (Outcome.FAILURE, Outcome.FAILURE)


async def test_a_fault_of_ours_is_told_and_not_outrun(clock: ManualClock) -> None:
    """The exchange writes its line."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    second.future.set_exception(ZeroDivisionError("a fault"))
    with pytest.raises(ZeroDivisionError):
        await task
    assert (first.outcome(), second.outcome()) == (Outcome.CANCELLED, Outcome.FAILURE)
    await hedged.assert_quiet(call)


# When there is none.


@pytest.mark.parametrize(
    "change",
    [
        lambda call: setattr(call, "method", "POST"),
        lambda call: setattr(call, "method", "PUT"),
        lambda call: setattr(call, "body", Body.of(b"{}")),
        lambda call: setattr(call, "upgrade", b"websocket"),
        lambda call: setattr(call, "attempts_max", 2),
        lambda call: setattr(call, "deadline_at", 1000.0 + LATE),
    ],
    ids=["post", "put", "body", "upgrade", "attempts_max", "deadline"],
)
async def test_what_cannot_be_hedged_costs_no_task_and_no_timer(
    clock: ManualClock, change: Callable[[Call], None]
) -> None:
    """It goes straight through, as if the layer were not there."""
    hedged = Hedged(clock)
    call, task = await hedged.ask(change)
    assert (len(hedged.tasks), clock.pending) == (0, 0)
    assert hedged.tried[0].call is call
    await clock.advance(5)
    hedged.tried[0].answer()
    await task
    assert len(hedged.tried) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_safe_methods_are_hedged(clock: ManualClock, method: str) -> None:
    """Those of RFC 9110 section 9.2.1 that get here."""
    hedged = Hedged(clock)
    call, task = await hedged.ask(lambda call: setattr(call, "method", method))
    await clock.advance(LATE)
    assert len(hedged.tried) == 2
    hedged.tried[0].answer()
    await task
    await hedged.assert_quiet(call)


async def test_nothing_is_late_before_enough_is_known(clock: ManualClock) -> None:
    """After a start, a p95 of three attempts would be chance."""
    hedged = Hedged(clock, samples=19)
    _, task = await hedged.ask()
    await clock.advance(5)
    assert len(hedged.tried) == 1
    hedged.tried[0].answer()
    await task


async def test_a_budget_that_is_used_up_refuses_and_the_first_attempt_goes_on(clock: ManualClock) -> None:
    """When the vendor is slow altogether, everything is late; twice the load would not help."""
    hedged = Hedged(clock, may_spend=False)
    call, task = await hedged.ask()
    await clock.advance(5)
    assert (len(hedged.tried), len(hedged.spent), hedged.counted()) == (1, 1, (0, 0, 1))
    hedged.tried[0].answer()
    await task
    await hedged.assert_quiet(call)


async def test_never_earlier_than_delay_min(clock: ManualClock) -> None:
    """A vendor next door answers in a millisecond; its p95 is noise."""
    recent = Recent()
    for _ in range(64):
        recent.add(0.001)
    assert Lateness(recent, 0.95, 0.01, 20).delay() == 0.01


async def test_an_attempt_in_line_for_a_permit_is_not_late(clock: ManualClock) -> None:
    """A second one would stand behind it in the same line; lateness begins when it is sent."""
    hedged = Hedged(clock, is_sent=False)
    call, task = await hedged.ask()
    await clock.advance(1.05)
    assert len(hedged.tried) == 1
    hedged.send(hedged.tried[0].call)
    await clock.advance(LATE - 0.001)
    assert len(hedged.tried) == 1
    await clock.advance(0.001)
    assert len(hedged.tried) == 2
    hedged.tried[0].answer()
    await task
    await hedged.assert_quiet(call)


# Cancellation.


async def test_an_app_that_hangs_up_cancels_both_and_they_are_gone_before_the_call_ends(clock: ManualClock) -> None:
    """Neither is the vendor's failure."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (first.outcome(), second.outcome()) == (Outcome.CANCELLED, Outcome.CANCELLED)
    await hedged.assert_quiet(call)


async def test_an_app_that_hangs_up_before_it_is_late_leaves_no_timer(clock: ManualClock) -> None:
    """Nor a task, also in the very first turn."""
    hedged = Hedged(clock)
    for turns in range(4):
        call = call_for("GET")
        task = asyncio.create_task(hedged.layer(call))
        await settle(turns)
        task.cancel()
        await asyncio.wait([task])
        await hedged.assert_quiet(call)


async def test_a_loser_is_given_back_only_when_it_is_really_gone(clock: ManualClock) -> None:
    """Its connection may be in use until then."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    first.cancels.clear()
    second.answer()
    await settle()
    assert first.outcome() is None
    assert not task.done()
    first.cancels.set()
    await task
    assert first.outcome() is Outcome.CANCELLED
    await hedged.assert_quiet(call)


async def test_who_is_cancelled_while_it_waits_for_the_loser_gives_both_back(clock: ManualClock) -> None:
    """The winner ends with the call, the loser with its task, though nobody waits for it any more."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    first.cancels.clear()
    second.answer()
    await settle()
    task.cancel()
    await asyncio.wait([task])
    call.end(Outcome.CANCELLED)
    assert (first.outcome(), second.outcome()) == (None, Outcome.CANCELLED)
    first.cancels.set()
    await settle()
    assert first.outcome() is Outcome.CANCELLED
    assert len(hedged.tasks) == 0


async def test_a_process_that_stops_answers_those_who_wait(clock: ManualClock) -> None:
    """The tasks are cancelled by their owner, not by the call."""
    hedged = Hedged(clock)
    call, task, first, second = await hedged.both()
    await hedged.tasks.stop()
    with pytest.raises(Draining):
        await task
    assert {first.outcome(), second.outcome()} <= {Outcome.CANCELLED, Outcome.REJECTED}
    await hedged.assert_quiet(call)
