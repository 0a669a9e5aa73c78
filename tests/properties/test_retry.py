"""Retry under any sequence of events: the budget holds, every attempt has every byte, all is given back in order."""

import asyncio
import itertools

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.advice import Advice
from sidecar.core.body import Body
from sidecar.core.call import Reply
from sidecar.core.errors import CircuitOpen, ConnectFailed, UpstreamReset
from sidecar.core.units import Duration
from sidecar.layers.retry.backoff import SETTLE
from sidecar.layers.retry.budget import WINDOW, Budget
from sidecar.layers.retry.replay import Replay
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for
from tests.layers.retry.trying import Trying, Turn

# The budget.

PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.1, 0.25, 1.0, 3.0, 9.9, 10.0, 30.0, 1e6])
STEPS = st.lists(st.tuples(PAUSES, st.integers(0, 30), st.integers(0, 10)), max_size=60)


@given(share=st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0]), floor=st.integers(0, 5), steps=STEPS)
def test_extra_attempts_are_never_more_than_their_share_and_the_floor(
    share: float, floor: int, steps: list[tuple[float, int, int]]
) -> None:
    """In every stretch of time: share x the calls of it and of the window before, floor x its length, one floor more.

    The one floor more is the second's worth that may lie there when the stretch begins. And what is left never is
    less than nothing, nor is any extra attempt refused while a whole one is left.
    """
    now = 1000.0
    budget = Budget(share, floor, now)
    calls: list[tuple[float, int]] = []
    extra: list[tuple[float, int]] = []
    for pause, called, wanted in steps:
        now += pause
        for _ in range(called):
            budget.count(now)
        calls.append((now, called))
        spent = 0
        for _ in range(wanted):
            left = budget.left(now)
            assert left >= 0
            is_granted = budget.spend(now)
            assert is_granted or left < 2  # Less than one of each kind.
            assert not is_granted or left >= 1
            spent += is_granted
        extra.append((now, spent))
        assert budget.left(now) >= 0
    instants = [at for at, _ in calls]
    for number, begins_at in enumerate(instants):
        spent = 0
        for ends_at, one in extra[number:]:
            spent += one
            paid = sum(count for at, count in calls if begins_at - WINDOW <= at <= ends_at)
            assert spent <= share * paid + floor * (ends_at - begins_at) + floor + 1e-6


@given(share=st.sampled_from([0.0, 0.2, 1.0]), floor=st.integers(0, 5), steps=STEPS)
def test_over_all_time_no_call_pays_twice(share: float, floor: int, steps: list[tuple[float, int, int]]) -> None:
    """From the start on: share x the calls so far, floor x the time so far, and the floor that lay there."""
    began_at = now = 1000.0
    budget = Budget(share, floor, now)
    calls = extra = 0
    for pause, called, wanted in steps:
        now += pause
        for _ in range(called):
            budget.count(now)
        calls += called
        extra += sum(budget.spend(now) for _ in range(wanted))
        assert extra <= share * calls + floor * (now - began_at) + floor + 1e-6


# The replay.


@given(
    pieces=st.lists(st.binary(min_size=1, max_size=20), max_size=12),
    early=st.integers(0, 12),
    reads=st.lists(st.integers(0, 12), max_size=5),
    bytes_max=st.integers(0, 150),
    is_finished_early=st.booleans(),
)
async def test_every_attempt_gets_exactly_the_bytes_of_the_source(
    pieces: list[bytes], early: int, reads: list[int], bytes_max: int, is_finished_early: bool
) -> None:
    """Whatever was there at the start, and however far the attempts before came until they were cut off."""
    whole = b"".join(pieces)
    coming = iter(pieces)
    source = Body()
    for piece in itertools.islice(coming, early):
        source.feed(piece)
    if is_finished_early:
        for piece in coming:
            source.feed(piece)
        source.finish()
    replay = Replay(source, bytes_max)

    async def read(count: float) -> bytes:
        """Read so many pieces as one attempt does, and be cut off in waiting for the next."""
        body, got = replay.fresh(), b""
        taken = body.take_all()
        if taken is not None:
            return taken
        while count > 0:
            count -= 1
            reading = asyncio.create_task(body.read())
            await settle(3)
            if not reading.done():
                fed = next(coming, None)
                if fed is None:
                    source.finish()
                else:
                    source.feed(fed)
            piece = await reading
            if not piece:
                return got
            got += piece
        reading = asyncio.create_task(body.read())
        await settle(3)
        reading.cancel()
        await asyncio.wait([reading])
        return got

    is_first = True
    for count in reads:
        if not is_first and not replay.may_repeat:
            assert len(whole) > bytes_max
            return
        is_first = False
        assert whole.startswith(await read(count))
    if is_first or replay.may_repeat:
        assert await read(float("inf")) == whole
    assert replay.may_repeat or len(whole) > bytes_max
    assert replay._kept is None or sum(map(len, replay._kept)) <= bytes_max


# The layer.

TURNS = st.one_of(
    st.sampled_from([200, 404, 429, 500, 503, 503]),
    st.sampled_from(["reset", "refused", "open", "fault"]),
    st.floats(0, 30).map(lambda seconds: ("told", seconds)),
)
_ERRORS: dict[str, type[Exception]] = {
    "reset": UpstreamReset,
    "refused": ConnectFailed,
    "open": CircuitOpen,
    "fault": RuntimeError,
}


def turn_of(turn: int | str | tuple[str, float]) -> Turn:
    """Make a turn anew, since an answer or an error belongs to one attempt."""
    if isinstance(turn, int):
        return turn
    if isinstance(turn, str):
        return _ERRORS[turn]("as it was drawn")
    reply = Reply(429, b"", [], Body.of(b""))
    reply.advice = Advice()
    reply.advice.retry_after = turn[1]
    return reply


@given(
    turns=st.lists(TURNS, min_size=1, max_size=6),
    chance=st.floats(0, 1, exclude_max=True),
    takes=st.sampled_from([0.0, 0.01, 1.0, 7.0]),
    seconds=st.sampled_from([0.05, 1.0, 10.0, 60.0]),
    attempts_max=st.integers(1, 6),
    leaves_at=st.one_of(st.none(), st.floats(0, 30)),
)
async def test_attempts_follow_each_other_in_order_and_in_time(
    turns: list[int | str | tuple[str, float]],
    chance: float,
    takes: float,
    seconds: float,
    attempts_max: int,
    leaves_at: float | None,
) -> None:
    """Each attempt ends exactly once and before the next begins; no wait is early; none begins past the deadline.

    Under any answers and errors, and wherever the app hangs up.
    """
    clock = ManualClock()
    trying = Trying(clock, *map(turn_of, turns), chance=chance, attempts_max=attempts_max, backoff=Duration(1))
    attempts = trying.attempts
    attempts.takes = takes
    call = call_for("GET", body=Body.of(b"hello"))
    call.deadline_at = clock.now() + seconds
    sent = asyncio.create_task(trying.send(call))  # `Attempts` and `send` assert the order of begins and ends.
    if leaves_at is not None:
        await clock.advance(leaves_at)
        sent.cancel()
    await clock.advance(400)
    await asyncio.wait([sent])
    assert clock.pending == 0
    assert 1 <= len(attempts.calls) <= attempts_max
    assert attempts.bodies == [b"hello"] * len(attempts.bodies)
    assert max(attempts.begun_at[1:], default=0.0) < call.deadline_at
    for number, (earlier, later) in enumerate(itertools.pairwise(attempts.begun_at)):
        turn = turns[min(number, len(turns) - 1)]
        wanted = turn[1] + SETTLE if isinstance(turn, tuple) else min(10.0, 2.0**number) * chance
        assert later - earlier - takes >= wanted - 1e-9
    assert {outcome for _, outcome in attempts.ended[:-1]} <= {"failure"}
    if not sent.cancelled():
        assert attempts.ended[-1][1] != "cancelled"
