"""Two attempts under any sequence of events: each is given back once, and only when it is gone."""

import asyncio

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.call import Call, Reply
from sidecar.core.errors import SidecarError, UpstreamReset
from sidecar.core.outcome import Outcome
from tests.kit.clock import ManualClock, settle
from tests.layers.hedge.hedged import LATE, Hedged, Tried

WORDS = ["good", "good", "bad", "fail", "fault", "late", "late", "turn", "settle", "cancel", "hold", "release", "stop"]
STEPS = st.lists(st.tuples(st.sampled_from(WORDS), st.integers(0, 1)), max_size=20)


def step(hedged: Hedged, task: "asyncio.Task[Reply]", word: str, tried: Tried | None) -> None:
    """Do one thing that takes no time."""
    is_open = tried is not None and not tried.future.done()
    match word:
        case "good" if tried is not None and is_open:
            tried.answer()
        case "bad" if tried is not None and is_open:
            tried.answer(503)
        case "fail" if tried is not None and is_open:
            tried.future.set_exception(UpstreamReset("gone"))
        case "fault" if tried is not None and is_open:
            tried.future.set_exception(ZeroDivisionError("a fault"))
        case "cancel":
            task.cancel()
        case "hold" if tried is not None:
            tried.cancels.clear()
        case "release" if tried is not None:
            tried.cancels.set()


async def play(steps: list[tuple[str, int]], *, may_spend: bool) -> None:
    """Play a sequence to its end, and end the call as the exchange does."""
    clock = ManualClock()
    hedged = Hedged(clock, may_spend=may_spend)
    call, task = await hedged.ask()
    for word, number in steps:
        tried = hedged.tried[number] if number < len(hedged.tried) else None
        if word == "late":
            await clock.advance(LATE)
        elif word in {"turn", "settle"}:
            await settle(1 if word == "turn" else 50)
        elif word == "stop":
            for one in hedged.tried:
                one.cancels.set()
            await hedged.tasks.stop()
        else:
            step(hedged, task, word, tried)
    for tried in hedged.tried:
        tried.cancels.set()
        if not tried.future.done():
            tried.answer()
    await settle()
    assert task.done(), "somebody waits for ever"
    kept = [tried for tried in hedged.tried if tried.outcome() is None]
    judge(call, task, kept)
    await hedged.assert_quiet(call)
    assert len(hedged.tried) <= (2 if may_spend else 1)


def judge(call: Call, task: "asyncio.Task[Reply]", kept: list[Tried]) -> None:
    """Hold that what is kept is the one answer that goes to the app."""
    if task.cancelled():
        assert len(kept) <= 1  # The winner, when the app left while the loser was on its way out.
        return
    error = task.exception()
    if error is not None:
        assert isinstance(error, (SidecarError, ZeroDivisionError)), error
        assert kept == []
        return
    assert [tried.future.result() for tried in kept] == [task.result()]
    assert call.outcome is not Outcome.SUCCESS


@settings(max_examples=300)
@given(steps=STEPS, may_spend=st.booleans())
def test_every_attempt_is_given_back_once(steps: list[tuple[str, int]], *, may_spend: bool) -> None:
    """Any order of answers, failures, faults, time, cancellation, and attempts that are slow to go."""
    uvloop.run(play(steps, may_spend=may_spend))
