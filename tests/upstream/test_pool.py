"""The pool's arithmetic: who gets which connection, what is kept, and that each place comes back."""

import asyncio
from collections.abc import Callable

import pytest

from sidecar.core.errors import ConnectFailed, DeadlineExceeded, Shed
from sidecar.core.units import Duration
from sidecar.upstream.pool import PoolConfig
from tests.kit.clock import ManualClock, settle
from tests.upstream.pooled import Lines

Make = Callable[..., Lines]


@pytest.fixture
def lines(clock: ManualClock) -> Make:
    """Make a pool with the given bounds."""
    return lambda **bounds: Lines(clock, PoolConfig(**bounds))


async def test_the_connection_used_last_is_lent_first(lines: Make) -> None:
    """It is the one least likely to be stale; the others may grow old and go."""
    pool = lines()
    first, second = await pool.take(), await pool.take()
    pool.give_back(first)
    pool.give_back(second)
    assert pool.counts() == (2, 0, 0)
    assert await pool.take() is second
    assert await pool.take() is first
    assert pool.counts() == (0, 2, 0)


async def test_over_idle_max_the_oldest_idle_one_is_closed(lines: Make) -> None:
    """The bound is on idle ones alone, and the newest stays."""
    pool = lines(idle_max=2)
    taken = [await pool.take() for _ in range(3)]
    for line in taken:
        pool.give_back(line)
    assert [line.is_closed for line in taken] == [True, False, False]
    assert pool.counts() == (2, 0, 0)


async def test_lent_connections_do_not_count_as_idle(lines: Make) -> None:
    """However many are busy, one that comes back is kept while fewer than idle_max are idle (httpcore 1000)."""
    pool = lines(idle_max=1)
    first, *_ = [await pool.take() for _ in range(4)]
    pool.give_back(first)
    assert not first.is_closed
    assert pool.counts() == (1, 3, 0)
    assert await pool.take() is first


async def test_idle_max_of_zero_keeps_nothing(lines: Make) -> None:
    """A vendor that dislikes kept connections gets a fresh one per call."""
    pool = lines(idle_max=0)
    first = await pool.take()
    pool.give_back(first)
    assert first.is_closed
    assert pool.counts() == (0, 0, 0)


async def test_an_idle_connection_is_closed_when_its_time_is_over(lines: Make, clock: ManualClock) -> None:
    """Not before, and without anybody asking for it."""
    pool = lines(idle_timeout=Duration(30))
    first = await pool.take()
    pool.give_back(first)
    await clock.advance(29.9)
    assert pool.open == 1
    await clock.advance(0.2)
    assert first.is_closed
    assert pool.counts() == (0, 0, 0)


async def test_each_idle_connection_has_its_own_end(lines: Make, clock: ManualClock) -> None:
    """The timer goes on to the next one after it closed the first."""
    pool = lines(idle_timeout=Duration(30))
    first, second = await pool.take(), await pool.take()
    pool.give_back(first)
    await clock.advance(10)
    pool.give_back(second)
    await clock.advance(20.1)
    assert (first.is_closed, second.is_closed) == (True, False)
    await clock.advance(10)
    assert second.is_closed


async def test_a_lent_connection_has_no_idle_timeout(lines: Make, clock: ManualClock) -> None:
    """A long download is not idle, whenever it was idle last."""
    pool = lines(idle_timeout=Duration(30))
    first = await pool.take()
    pool.give_back(first)
    await clock.advance(20)
    assert await pool.take() is first
    await clock.advance(100)
    assert pool.open == 1
    assert pool.counts() == (0, 1, 0)


async def test_a_keep_alive_hint_shortens_the_idle_time_by_a_second_more(lines: Make, clock: ManualClock) -> None:
    """The vendor's clock started earlier than ours; a connection used at its last moment would be stale."""
    pool = lines(idle_timeout=Duration(30))
    first = await pool.take()
    first.keepalive_hint = 5.0
    pool.give_back(first)
    await clock.advance(3.9)
    assert pool.open == 1
    await clock.advance(0.2)
    assert first.is_closed


async def test_a_hint_is_kept_also_beside_an_older_connection_without_one(lines: Make, clock: ManualClock) -> None:
    """The timer follows the earliest end, not the first one it was set to."""
    pool = lines(idle_timeout=Duration(30))
    first, second = await pool.take(), await pool.take()
    pool.give_back(first)
    second.keepalive_hint = 5.0
    pool.give_back(second)
    await clock.advance(4.1)
    assert (first.is_closed, second.is_closed) == (False, True)
    assert pool.counts() == (1, 0, 0)


@pytest.mark.parametrize("hint", [0.0, 0.5, 1.0])
async def test_a_hint_of_a_second_or_less_keeps_nothing(lines: Make, hint: float) -> None:
    """There is no time left in which it could safely be used."""
    pool = lines()
    first = await pool.take()
    first.keepalive_hint = hint
    pool.give_back(first)
    assert first.is_closed
    assert pool.counts() == (0, 0, 0)


async def test_a_hint_does_not_lengthen_the_idle_time(lines: Make, clock: ManualClock) -> None:
    """The operator's bound stands."""
    pool = lines(idle_timeout=Duration(30))
    first = await pool.take()
    first.keepalive_hint = 600.0
    pool.give_back(first)
    await clock.advance(30.1)
    assert first.is_closed


async def test_who_comes_first_is_served_first(lines: Make) -> None:
    """The waiting line is in order of arrival."""
    pool = lines(connections_max=1)
    only = await pool.take()
    asks = [pool.ask() for _ in range(3)]
    await settle()
    assert pool.counts() == (0, 1, 3)
    for turn, ask in enumerate(asks):
        pool.give_back(only)
        await settle()
        assert [other.done() for other in asks] == [True] * (turn + 1) + [False] * (2 - turn)
        assert ask.result() is only
    pool.give_back(only)
    assert pool.counts() == (1, 0, 0)
    assert len(pool.dialled) == 1


async def test_a_newcomer_does_not_overtake_the_line(lines: Make) -> None:
    """What is handed over never lies idle in between, so nobody who comes later can take it."""
    pool = lines(connections_max=1)
    only = await pool.take()
    waiting = pool.ask()
    await settle()
    pool.give_back(only)
    late = pool.ask()
    await settle()
    assert waiting.result() is only
    assert not late.done()
    pool.give_back(only)
    assert await late is only


async def test_a_full_line_sheds_at_once(lines: Make) -> None:
    """Over waiting_max nobody waits: the call is refused with the sentence that names the setting."""
    pool = lines(connections_max=1, waiting_max=1)
    only = await pool.take()
    waiting = pool.ask()
    await settle()
    with pytest.raises(Shed, match=r"pool\.connections_max") as raised:
        await pool.take()
    assert raised.value.retry_after is not None
    pool.give_back(only)
    assert await waiting is only


async def test_who_leaves_the_line_makes_room_in_it(lines: Make) -> None:
    """A cancelled waiter counts no more, neither in the bound nor in the snapshot."""
    pool = lines(connections_max=1, waiting_max=1)
    only = await pool.take()
    gone = pool.ask()
    await settle()
    gone.cancel()
    await settle()
    assert pool.counts() == (0, 1, 0)
    stays = pool.ask()
    await settle()
    pool.give_back(only)
    assert await stays is only


async def test_a_waiter_cancelled_after_the_hand_over_passes_it_on(lines: Make) -> None:
    """The connection was on its way to a call that left in the same moment: the next in line gets it."""
    pool = lines(connections_max=1)
    only = await pool.take()
    gone, stays = pool.ask(), pool.ask()
    await settle()
    pool.give_back(only)
    gone.cancel()
    await settle()
    assert gone.cancelled()
    assert stays.result() is only
    pool.give_back(only)
    assert pool.counts() == (1, 0, 0)


async def test_a_waiter_cancelled_after_it_got_a_free_place_passes_it_on(lines: Make) -> None:
    """The same for a place without a connection."""
    pool = lines(connections_max=1)
    only = await pool.take()
    gone, stays = pool.ask(), pool.ask()
    await settle()
    only.may_go_on = False
    pool.give_back(only)
    gone.cancel()
    await settle()
    fresh = stays.result()
    assert fresh is not only
    pool.give_back(fresh)
    assert pool.counts() == (1, 0, 0)


async def test_a_hand_over_nobody_else_waits_for_becomes_idle(lines: Make) -> None:
    """The last in line left in the same moment: nothing is lost."""
    pool = lines(connections_max=1)
    only = await pool.take()
    gone = pool.ask()
    await settle()
    pool.give_back(only)
    gone.cancel()
    await settle()
    assert pool.counts() == (1, 0, 0)


async def test_waiting_too_long_ends_at_the_deadline(lines: Make, clock: ManualClock) -> None:
    """The error says that it was a connection that the call waited for."""
    pool = lines(connections_max=1)
    only = await pool.take()
    ask = pool.ask(seconds=2.0)
    await clock.advance(1.9)
    assert not ask.done()
    await clock.advance(0.2)
    with pytest.raises(DeadlineExceeded, match="waiting for one of 1 connections") as refused:
        ask.result()
    assert not refused.value.blames_vendor, "the line was ours, so no circuit may count it"
    pool.give_back(only)
    assert pool.counts() == (1, 0, 0)


async def test_a_dial_that_fails_frees_its_place(lines: Make) -> None:
    """The error goes to the call, and the next call dials."""
    pool = lines(connections_max=1)
    pool.fail_next_dial()
    with pytest.raises(ConnectFailed):
        await pool.take()
    assert pool.counts() == (0, 0, 0)
    assert (await pool.take()).number == 1


async def test_a_dial_that_fails_wakes_the_next_in_line(lines: Make) -> None:
    """Who waits behind it dials for itself, rather than waiting for ever."""
    pool = lines(connections_max=1)
    hold = asyncio.Event()
    pool.holds.append(hold)
    pool.fail_next_dial()
    first, second = pool.ask(), pool.ask()
    await settle()
    assert pool.counts() == (0, 1, 1)
    hold.set()
    await settle()
    with pytest.raises(ConnectFailed):
        first.result()
    assert second.result().number == 1


async def test_a_cancelled_dial_frees_its_place(lines: Make) -> None:
    """The app hung up while we connected."""
    pool = lines(connections_max=1)
    pool.holds.append(asyncio.Event())
    first, second = pool.ask(), pool.ask()
    await settle()
    first.cancel()
    await settle()
    assert second.result().number == 1
    assert pool.counts() == (0, 1, 0)


async def test_a_broken_connection_given_back_frees_its_place(lines: Make) -> None:
    """It is not lent again, and it does not count."""
    pool = lines()
    first = await pool.take()
    first.may_go_on = False
    pool.give_back(first)
    assert pool.counts() == (0, 0, 0)
    assert (await pool.take()).number == 2


async def test_a_connection_closed_while_idle_is_forgotten_at_once(lines: Make) -> None:
    """The vendor closed it: idle connections are those that stand."""
    pool = lines()
    first = await pool.take()
    pool.give_back(first)
    pool.lose(first)
    assert pool.counts() == (0, 0, 0)
    assert (await pool.take()).number == 2


async def test_a_connection_that_closed_itself_is_not_lent(lines: Make) -> None:
    """Before the pool hears of it, it looks."""
    pool = lines()
    first = await pool.take()
    pool.give_back(first)
    first.is_closed = True
    assert (await pool.take()).number == 2
    pool.lose(first)
    assert pool.counts() == (0, 1, 0)


async def test_a_connection_that_closes_while_lent_keeps_its_place_until_it_is_given_back(lines: Make) -> None:
    """The place is the borrower's, and comes back once."""
    pool = lines()
    first = await pool.take()
    pool.lose(first)
    assert pool.counts() == (0, 1, 0)
    pool.give_back(first)
    assert pool.counts() == (0, 0, 0)


async def test_a_connection_that_closes_during_the_hand_over_is_not_lent(lines: Make) -> None:
    """The one in line dials anew: a dead connection would cost it its attempt."""
    pool = lines(connections_max=1)
    only = await pool.take()
    waiting = pool.ask()
    await settle()
    pool.give_back(only)
    pool.lose(only)
    await settle()
    assert waiting.result().number == 2
    assert pool.counts() == (0, 1, 0)


async def test_a_caller_that_insists_on_a_fresh_one_pushes_out_the_oldest_idle(lines: Make) -> None:
    """With all places taken by idle connections, a replacement does not wait for one of them."""
    pool = lines(connections_max=2)
    first, second = await pool.take(), await pool.take()
    pool.give_back(first)
    pool.give_back(second)
    await pool.take(insists=True)
    assert (first.is_closed, second.is_closed) == (True, False)
    assert pool.counts() == (1, 1, 0)


async def test_a_retired_pool_closes_what_is_idle_and_what_comes_back(lines: Make) -> None:
    """A newer generation took over: nothing is kept, and no timer stands."""
    pool = lines()
    first, second = await pool.take(), await pool.take()
    pool.give_back(first)
    pool.pool.retire()
    assert (first.is_closed, second.is_closed) == (True, False)
    pool.give_back(second)
    assert second.is_closed
    assert pool.counts() == (0, 0, 0)


async def test_a_retired_pool_still_serves_who_waits(lines: Make) -> None:
    """Calls of the old generation finish with the old generation's settings."""
    pool = lines(connections_max=1)
    only = await pool.take()
    first, second = pool.ask(), pool.ask()
    await settle()
    pool.pool.retire()
    pool.give_back(only)
    assert await first is only
    only.may_go_on = False
    pool.give_back(only)
    fresh = await second
    assert fresh.number == 2
    pool.give_back(fresh)
    assert fresh.is_closed
    assert pool.counts() == (0, 0, 0)


async def test_no_timer_stands_when_nothing_is_idle_and_the_pool_is_retired(lines: Make, clock: ManualClock) -> None:
    """A retired generation is garbage as soon as its calls are over."""
    pool = lines()
    pool.give_back(await pool.take())
    pool.pool.retire()
    assert clock.pending == 0


async def test_the_line_may_move_while_it_is_counted(lines: Make) -> None:
    """A scrape counts in a thread of its own: metrics must not fail just when calls wait."""
    pool = lines()

    class Moving(asyncio.Future[None]):
        def done(self) -> bool:
            pool.pool._waiting.popleft()
            return super().done()

    futures = [Moving() for _ in range(4)]
    pool.pool._waiting.extend(futures)  # type: ignore[arg-type]
    assert pool.pool.snapshot()["waiting"] == 4
    pool.pool._waiting.clear()
