"""One attempt at a vendor, over real sockets: reuse, stale connections, time limits, and what is counted."""

import asyncio

import pytest

from sidecar.core.body import NO_BODY, Body
from sidecar.core.errors import ConnectFailed, DeadlineExceeded, Shed, UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.upstream.connection import Connection
from sidecar.upstream.pool import PoolConfig
from tests.kit.clock import ManualClock, settle
from tests.kit.exchange import Exchange, Script
from tests.kit.process import free_ports
from tests.kit.vendor import Vendor, answer
from tests.upstream.dialing import black_hole
from tests.upstream.sending import Way, call_of, until

KEPT, CLOSED = (1, 0, 0), (0, 0, 0)


# What is sent.


async def test_a_request_is_sent_with_what_the_sidecar_adds() -> None:
    """Host first, the app's headers in their order, request id, trace; nothing that closes the connection."""
    async with Vendor.echoing() as vendor, Way(f"{vendor.url}/v2/") as way:
        call = call_of("GET", b"/contacts?q=%20a", headers=[(b"X-b", b"1"), (b"x-B", b"2")])
        await way.finish(call, await way.begin(call))
        request = vendor.requests[0]
        assert request.target == b"/v2/contacts?q=%20a"
        names = [name for name, _ in request.headers]
        assert names == [b"Host", b"X-b", b"x-B", b"X-Request-ID", b"traceparent"]
        assert request.values("Host") == [f"localhost:{vendor.port}".encode()]
        assert request.values("X-Request-ID") == [b"request-1"]
        version, trace, span, flags = request.values("traceparent")[0].split(b"-")
        assert (version, trace, flags) == (b"00", b"0" * 31 + b"1", b"00")
        assert len(span) == 16


async def test_trailers_are_asked_for_only_if_the_app_does() -> None:
    """TE is the connection's own, so it is made anew."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        call = call_of()
        call.wants_trailers = True
        await way.finish(call, await way.begin(call))
        assert vendor.requests[0].values("TE") == [b"trailers"]
        assert vendor.requests[0].values("Connection") == [b"TE"]


# Reuse.


async def test_the_second_call_goes_over_the_same_connection() -> None:
    """And its record says so, without times for steps that did not happen."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        first, second = await way.ask(), await way.ask()
        assert vendor.connections_opened == 1
        record = first.call.attempts[0]
        assert not record.is_reused
        assert record.connect_s > 0
        record = second.call.attempts[0]
        assert record.is_reused
        assert record.connect_s == record.dns_s == 0.0
        assert way.results == ["2xx", "2xx"]


async def test_calls_at_the_same_time_have_a_connection_each() -> None:
    """No pipelining; afterwards all are idle."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        await asyncio.gather(*(way.ask() for _ in range(5)))
        assert vendor.connections_opened == 5
        assert way.counts() == (5, 0, 0)


async def test_a_connection_is_held_until_the_call_ends() -> None:
    """Not given back with the head, nor with the last byte that came."""
    async with Vendor.answering(answer(b"hello")) as vendor, Way(vendor.url) as way:
        call = call_of()
        reply = await way.begin(call)
        assert way.counts() == (0, 1, 0)
        await way.finish(call, reply)
        assert way.counts() == KEPT


# Stale connections.


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    """The pool hears of it; even a POST goes through, since nothing was sent in vain."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(answer(b"ok"))
        await exchange.close()

    async with Vendor(play) as vendor, Way(vendor.url) as way:
        for method in ("GET", "POST"):
            assert (await way.ask(method)).body == b"ok"
            await way.until_counts(*CLOSED)
        assert vendor.connections_opened == 2


def closing_on_the_second(*, by_reset: bool, after: bytes = b"") -> Vendor:
    """Make a vendor that answers the first request of its first connection and breaks off at the next."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.number == 1 and exchange.request.number > 1:
            if after:
                await exchange.send(after)
            if by_reset:
                exchange.reset()
            else:
                await exchange.close()
        else:
            await exchange.send(answer())

    return Vendor(play)


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "HEAD"])
async def test_a_stale_connection_is_replaced_once_for_a_safe_method(method: str, by_reset: bool) -> None:
    """It closed while the request was on its way: the app sees nothing of it, and it counts as one attempt."""
    async with closing_on_the_second(by_reset=by_reset) as vendor, Way(vendor.url) as way:
        await way.ask()
        got = await way.ask(method)
        assert got.status == 200
        assert len(got.call.attempts) == 1
        assert not got.call.attempts[0].is_reused
        assert vendor.connections_opened == 2
        assert way.results == ["2xx", "2xx"]
        assert way.counts() == KEPT


@pytest.mark.parametrize("by_reset", [False, True])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_stale_connection_is_never_replaced_for_a_method_that_is_not_safe(method: str, by_reset: bool) -> None:
    """The vendor may have done what was asked: only the retry policy, or the app, may ask again."""
    async with closing_on_the_second(by_reset=by_reset) as vendor, Way(vendor.url) as way:
        await way.ask()
        with pytest.raises(UpstreamReset, match="before it answered"):
            await way.ask(method)
        assert len(vendor.requests) == 2
        assert way.counts() == CLOSED


@pytest.mark.parametrize("by_reset", [False, True])
async def test_a_connection_on_which_a_byte_came_back_is_not_replaced(by_reset: bool) -> None:
    """It was not stale: the vendor had begun to answer."""
    async with closing_on_the_second(by_reset=by_reset, after=b"H") as vendor, Way(vendor.url) as way:
        await way.ask()
        with pytest.raises(UpstreamReset, match="in the middle"):
            await way.ask()
        assert len(vendor.requests) == 2
        assert way.counts() == CLOSED


async def test_a_fresh_connection_that_breaks_off_is_not_replaced() -> None:
    """That is no stale connection but a vendor that is down."""
    async with Vendor.cutting(b"", 0) as vendor, Way(vendor.url) as way:
        with pytest.raises(UpstreamReset):
            await way.ask()
        assert len(vendor.requests) == 1
        assert way.counts() == CLOSED


async def test_a_replacement_that_is_stale_too_ends_the_attempt() -> None:
    """Once, never in a loop."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number == 1:
            await exchange.send(answer(b"ok"))
        else:
            exchange.reset()

    async with Vendor(play) as vendor, Way(vendor.url) as way:
        await way.ask()
        with pytest.raises(UpstreamReset):
            await way.ask()
        assert len(vendor.requests) == 3
        assert way.counts() == CLOSED


async def test_a_safe_method_with_a_body_is_replaced_only_while_the_body_is_whole() -> None:
    """A body that was partly sent is gone."""
    async with closing_on_the_second(by_reset=True) as vendor, Way(vendor.url) as way:
        vendor._reads_body = False
        await way.ask()
        body = Body(10)
        body.feed(b"hello")
        with pytest.raises(UpstreamReset):
            await way.ask("GET", body=body)
        assert way.counts() == CLOSED


async def test_a_replacement_pushes_an_idle_connection_out_of_a_full_pool() -> None:
    """All places are taken by idle connections of which the newest was stale: a place is made, none is waited for."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.number > 2 and exchange.number <= 2:
            exchange.reset()
        else:
            await gate.wait()
            await exchange.send(answer(b"ok"))

    gate = asyncio.Event()
    async with Vendor(play) as vendor, Way(vendor.url, pool=PoolConfig(connections_max=2)) as way:
        both = [asyncio.create_task(way.ask()) for _ in range(2)]
        await vendor.wait_for_request(2)
        gate.set()
        await asyncio.gather(*both)
        assert way.counts() == (2, 0, 0)
        assert (await way.ask()).body == b"ok"
        assert way.counts() in {(2, 0, 0), (1, 0, 0)}


async def test_a_stale_connection_handed_over_in_line_is_replaced_too() -> None:
    """Whoever waited for a place gets a used connection, which may be as stale as an idle one."""

    async def play(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.number == 1 and exchange.request.number > 1:
            exchange.reset()
            return
        await gate.wait()
        await exchange.send(answer(b"ok"))

    gate = asyncio.Event()
    async with Vendor(play) as vendor, Way(vendor.url, pool=PoolConfig(connections_max=1)) as way:
        first = asyncio.create_task(way.ask())
        await vendor.wait_for_request()
        second = asyncio.create_task(way.ask())
        await until(lambda: way.counts() == (0, 1, 1))
        gate.set()
        assert (await first).body == b"ok"
        assert (await second).body == b"ok"
        assert vendor.connections_opened == 2


async def test_a_connection_that_is_gone_before_it_is_used_fails_at_once() -> None:
    """The vendor accepted and hung up in the same moment: an error now, not at the deadline."""

    async def lose(connection: Connection) -> None:
        assert connection.transport is not None
        connection.transport.abort()
        await until(lambda: connection.is_closed)

    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        way.on_dialled = lose
        with pytest.raises(UpstreamReset):
            await way.ask("POST")
        assert way.counts() == CLOSED


async def test_a_connection_that_the_pool_is_closing_is_not_lent() -> None:
    """A byte came while idle; the loop has not told of the close yet, and the next call is there already."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        await way.ask()
        connection = way.connections[0]
        connection.get_buffer(-1)[0:1] = b"!"
        connection.buffer_updated(1)
        assert (await way.ask("POST")).status == 200
        assert vendor.connections_opened == 2


# Failing, leaving, waiting.


def until_left(sent: bytes) -> Script:
    """Make a script that sends `sent` and then waits for the peer to leave."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(sent)
        assert not await exchange.read_some()

    return play


async def test_a_vendor_that_refuses_leaves_nothing_behind() -> None:
    """The place is free again, and the error is counted under its code."""
    async with Way(f"http://localhost:{free_ports(1)[0]}") as way:
        with pytest.raises(ConnectFailed, match="refused"):
            await way.ask()
        assert way.counts() == CLOSED
        assert way.results == ["connect_failed"]


async def test_an_app_that_leaves_ends_the_exchange() -> None:
    """Before the head: the connection is closed, since its answer belongs to nobody."""
    async with Vendor(until_left(b"")) as vendor, Way(vendor.url) as way:
        asked = asyncio.create_task(way.ask())
        await vendor.wait_for_request()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await vendor.wait_for_closed()
        await way.until_counts(*CLOSED)
        assert way.results == ["cancelled"]


async def test_an_app_that_leaves_in_the_body_closes_the_connection() -> None:
    """The rest of the answer is not read for nobody."""
    sent = answer(b"hello")
    async with Vendor(until_left(sent[:-2])) as vendor, Way(vendor.url) as way:
        call = call_of()
        await way.begin(call)
        call.end(Outcome.CANCELLED)
        await vendor.wait_for_closed()
        await way.until_counts(*CLOSED)


async def test_an_app_that_leaves_while_its_body_is_sent_leaves_no_task() -> None:
    """The body's sender ends with its exchange."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        body = Body(100)
        body.feed(b"x")
        asked = asyncio.create_task(way.ask("POST", body=body))
        await vendor.wait_for_head()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await settle()
        assert not len(way.tasks)
        assert (await vendor.wait_for_request()).is_cut_off


async def test_an_app_that_leaves_at_any_moment_leaves_no_connection() -> None:
    """While looking up, connecting, sending, waiting: at each turn of the loop, with somebody in line behind it."""
    async with (
        Vendor.echoing() as vendor,
        Way(vendor.url, pool=PoolConfig(connections_max=1, idle_max=0)) as way,
    ):
        for turns in range(60):
            asked, in_line = asyncio.create_task(way.ask()), asyncio.create_task(way.ask())
            await settle(turns)
            asked.cancel()
            assert (await in_line).status == 200
            await asyncio.gather(asked, return_exceptions=True)
            await way.until_counts(*CLOSED)
        await vendor.wait_for_closed(vendor.connections_opened)
        assert vendor.connections_open == 0


async def test_over_the_pools_bounds_a_call_is_shed() -> None:
    """One connection and nobody in line: the second call is refused at once."""
    async with (
        Vendor.stalling(answer(b"ok"), 0, asyncio.Event()) as vendor,
        Way(vendor.url, pool=PoolConfig(connections_max=1, waiting_max=0)) as way,
    ):
        asked = asyncio.create_task(way.ask())
        await vendor.wait_for_request()
        with pytest.raises(Shed):
            await way.ask()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)


# Time: what the record tells of it.


async def test_the_first_byte_and_the_whole_head_are_told_apart(clock: ManualClock) -> None:
    """A vendor that begins soon and then dawdles over its head is another trouble than one that is silent."""
    first, rest = asyncio.Event(), asyncio.Event()
    sent = answer(b"ok")

    async def play(exchange: Exchange) -> None:
        await first.wait()
        await exchange.send(sent[:5])
        await rest.wait()
        await exchange.send(sent[5:])

    async with Vendor(play) as vendor, Way(vendor.url, clock=clock) as way:
        call = call_of()
        begun = asyncio.create_task(way.begin(call))
        await vendor.wait_for_head()
        await clock.advance(1)
        first.set()
        await until(lambda: way.connections[0].received_bytes == 5)
        await clock.advance(2)
        rest.set()
        await way.finish(call, await begun)
        assert (call.attempts[0].first_byte_s, call.attempts[0].total_s) == (1.0, 3.0)


async def test_without_a_byte_there_is_no_time_of_the_first_one(clock: ManualClock) -> None:
    """The total is there; the first byte stays 0, as every step that did not happen."""
    async with (
        Vendor.stalling(answer(b"ok"), 0, asyncio.Event()) as vendor,
        Way(vendor.url, clock=clock, attempt=2.0) as way,
    ):
        call = call_of()
        begun = asyncio.create_task(way.begin(call))
        await vendor.wait_for_request()
        await clock.advance(3)
        with pytest.raises(DeadlineExceeded):
            await begun
        assert (call.attempts[0].first_byte_s, call.attempts[0].total_s) == (0.0, 2.0)


async def test_the_wait_for_a_connection_is_told_apart_from_the_vendor(clock: ManualClock) -> None:
    """A pool that is too small looks like a slow vendor otherwise."""
    go_on = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"ok"), 0, go_on) as vendor,
        Way(vendor.url, clock=clock, pool=PoolConfig(connections_max=1)) as way,
    ):
        first = asyncio.create_task(way.ask())
        await vendor.wait_for_request()
        second = asyncio.create_task(way.ask())
        await settle()
        await clock.advance(2)
        go_on.set()
        waited = [(await asked).call for asked in (first, second)]
        assert [call.waited_slot_s for call in waited] == [0.0, 2.0]
        assert [call.attempts[0].waited_s for call in waited] == [0.0, 2.0]


async def test_an_answer_in_one_piece_has_its_first_byte_with_its_head() -> None:
    """So nobody looks at the clock twice for it."""
    async with Vendor.echoing() as vendor, Way(vendor.url) as way:
        record = (await way.ask()).call.attempts[0]
        assert record.first_byte_s == record.total_s > 0


# Time: which limit ended it, and in which step.


@pytest.mark.parametrize(
    ("limits", "deadline", "at", "sentence"),
    [
        (
            {"first_byte": 2.0},
            30.0,
            2.0,
            "first_byte_timeout = 2 s passed; the step was: waiting for the answer's first",
        ),
        ({"attempt": 3.0}, 30.0, 3.0, "attempt_timeout = 3 s passed; the step was: waiting for the answer's first"),
        ({"attempt": 3.0, "first_byte": 2.0}, 30.0, 2.0, "first_byte_timeout = 2 s"),
        ({"attempt": 2.0, "first_byte": 3.0}, 30.0, 2.0, "attempt_timeout = 2 s"),
        ({}, 4.0, 4.0, "the call's time is used up; the step was: waiting for the answer's first"),
        ({"attempt": 9.0, "first_byte": 8.0}, 4.0, 4.0, "the call's time is used up"),
    ],
)
async def test_a_silent_vendor_is_left_at_the_first_limit(
    clock: ManualClock, limits: dict[str, float], deadline: float, at: float, sentence: str
) -> None:
    """The error names the limit which ended it and the step."""
    async with (
        Vendor.stalling(answer(b"ok"), 0, asyncio.Event()) as vendor,
        Way(vendor.url, clock=clock, first_byte=limits.get("first_byte"), attempt=limits.get("attempt")) as way,
    ):
        call = call_of()
        call.deadline_at = clock.now() + deadline
        begun = asyncio.create_task(way.begin(call))
        await vendor.wait_for_request()
        await clock.advance(at - 0.1)
        assert not begun.done()
        await clock.advance(0.2)
        with pytest.raises(DeadlineExceeded, match=sentence):
            await begun
        await way.until_counts(*CLOSED)


async def test_a_head_that_does_not_end_is_left_at_the_attempts_end(clock: ManualClock) -> None:
    """Bytes that trickle in do not lengthen the time for the head; the first byte's limit is met by the first byte."""
    sent = answer(b"ok")
    go_on = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await exchange.send(sent[:5])
        await go_on.wait()
        await exchange.send(sent[5:9])
        await asyncio.Event().wait()

    async with Vendor(play) as vendor, Way(vendor.url, clock=clock, attempt=3.0) as way:
        begun = asyncio.create_task(way.begin(call_of()))
        await until(lambda: bool(way.connections) and way.connections[0].received_bytes == 5)
        await clock.advance(2)
        go_on.set()
        await until(lambda: way.connections[0].received_bytes == 9)
        await clock.advance(1.1)
        with pytest.raises(DeadlineExceeded, match="receiving the answer's head"):
            await begun


async def test_a_first_byte_in_time_ends_the_first_bytes_limit(clock: ManualClock) -> None:
    """From then on the attempt's limit rules."""
    sent = answer(b"ok")
    go_on = asyncio.Event()
    async with Vendor.stalling(sent, 5, go_on) as vendor, Way(vendor.url, clock=clock, first_byte=2.0) as way:
        call = call_of()
        begun = asyncio.create_task(way.begin(call))
        await until(lambda: bool(way.connections) and way.connections[0].received_bytes == 5)
        await clock.advance(5)
        assert not begun.done()
        go_on.set()
        assert (await way.finish(call, await begun)).body == b"ok"


async def test_the_first_bytes_time_begins_with_the_last_byte_of_the_request(clock: ManualClock) -> None:
    """A long upload is not a slow answer."""
    async with Vendor.echoing() as vendor, Way(vendor.url, clock=clock, first_byte=2.0) as way:
        body = Body(2)
        call = call_of("POST", body=body)
        begun = asyncio.create_task(way.begin(call))
        await vendor.wait_for_head()
        body.feed(b"a")
        await clock.advance(10)
        assert not begun.done()
        body.feed(b"b")
        body.finish()
        assert (await way.finish(call, await begun)).status == 200


async def test_a_body_that_is_not_taken_is_left_at_the_deadline(clock: ManualClock) -> None:
    """The step says that it was the request that could not be sent."""
    stop = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await stop.wait()
        exchange.abort()

    async with Vendor(play, reads_body=False) as vendor, Way(vendor.url, clock=clock) as way:
        body = Body(10**9)
        for _ in range(64):
            body.feed(b"x" * 256 * 1024)
        begun = asyncio.create_task(way.begin(call_of("POST", body=body)))
        await vendor.wait_for_head()
        await clock.advance(30.1)
        with pytest.raises(DeadlineExceeded, match="sending the request"):
            await begun
        await way.until_counts(*CLOSED)
        assert not len(way.tasks)
        stop.set()


# Whose fault it was, and what the vendor can have seen: for the circuit, and for retry.


@pytest.mark.parametrize("attempt", [None, 2.0])
async def test_a_body_that_the_app_does_not_send_is_the_apps_fault(clock: ManualClock, attempt: float | None) -> None:
    """No circuit may open, and nothing is tried again, because an app stopped in the middle of its upload."""
    async with Vendor.echoing() as vendor, Way(vendor.url, clock=clock, attempt=attempt) as way:
        body = Body(10)
        body.feed(b"half")
        begun = asyncio.create_task(way.begin(call_of("POST", body=body)))
        await vendor.wait_for_head()
        await clock.advance(30.1)
        with pytest.raises(DeadlineExceeded, match="sending the request") as ended:
            await begun
        assert not ended.value.blames_vendor
        assert not ended.value.is_unsent


async def test_a_body_that_the_vendor_does_not_take_is_the_vendors_fault(clock: ManualClock) -> None:
    """The same step, the other side: the bytes are there and nobody reads them."""
    stop = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await stop.wait()
        exchange.abort()

    async with Vendor(play, reads_body=False) as vendor, Way(vendor.url, clock=clock) as way:
        body = Body(10**9)
        for _ in range(64):
            body.feed(b"x" * 256 * 1024)
        begun = asyncio.create_task(way.begin(call_of("POST", body=body)))
        await vendor.wait_for_head()
        await clock.advance(30.1)
        with pytest.raises(DeadlineExceeded, match="sending the request") as ended:
            await begun
        assert ended.value.blames_vendor
        assert not ended.value.is_unsent
        stop.set()


async def test_a_vendor_that_is_silent_has_seen_the_request(clock: ManualClock) -> None:
    """It may be at work on it, so only what may be done twice goes again."""
    async with Vendor.stalling(answer(b"ok"), 0, asyncio.Event()) as vendor, Way(vendor.url, clock=clock) as way:
        begun = asyncio.create_task(way.begin(call_of("POST")))
        await vendor.wait_for_request()
        await clock.advance(31)
        with pytest.raises(DeadlineExceeded) as ended:
            await begun
        assert (ended.value.blames_vendor, ended.value.is_unsent) == (True, False)


async def test_a_time_used_up_before_the_request_was_written_is_told(clock: ManualClock) -> None:
    """In connecting, nothing can have been done: any method may go again."""
    with black_hole() as port:
        async with Way(f"http://127.0.0.1:{port}", clock=clock, attempt=1.5) as way:
            begun = asyncio.create_task(way.begin(call_of("POST")))
            await until(lambda: way.counts() == (0, 1, 0))
            await clock.advance(1.6)
            with pytest.raises(DeadlineExceeded, match="the step that used it: connecting") as ended:
                await begun
            assert (ended.value.blames_vendor, ended.value.is_unsent) == (True, True)


async def test_a_time_used_up_in_line_for_a_connection_is_ours(clock: ManualClock) -> None:
    """The pool was too small or the vendor too slow for it: this attempt did not get there, and says so."""
    async with (
        Vendor.stalling(answer(b"ok"), 0, asyncio.Event()) as vendor,
        Way(vendor.url, clock=clock, attempt=5.0, pool=PoolConfig(connections_max=1)) as way,
    ):
        first = asyncio.create_task(way.ask())
        await vendor.wait_for_request()
        call = call_of()
        call.deadline_at = clock.now() + 1
        second = asyncio.create_task(way.begin(call))
        await clock.advance(2)
        with pytest.raises(DeadlineExceeded, match="waiting for one of 1 connections") as ended:
            await second
        assert (ended.value.blames_vendor, ended.value.is_unsent) == (False, True)
        first.cancel()
        await asyncio.wait([first])


# How long an attempt usually takes.


async def test_answered_attempts_are_remembered_by_their_length_and_others_are_not(clock: ManualClock) -> None:
    """To the answer's head; an attempt that ran into its limit says what the limit is, not what is usual."""
    go_on = asyncio.Event()
    async with Vendor.stalling(answer(b"ok"), 0, go_on) as vendor, Way(vendor.url, clock=clock, attempt=9.0) as way:
        late = asyncio.create_task(way.ask())
        await vendor.wait_for_request()
        await clock.advance(9.1)
        with pytest.raises(DeadlineExceeded):
            await late
        assert len(way.recent) == 0
        asked = asyncio.create_task(way.ask())
        await vendor.wait_for_request(2)
        await clock.advance(2)
        go_on.set()
        await asked
        assert (len(way.recent), way.recent.quantile(0.5)) == (1, 2.0)


async def test_the_start_of_an_attempt_is_told(clock: ManualClock) -> None:
    """The instant behind every wait for permit and slot."""
    async with Vendor.echoing() as vendor, Way(vendor.url, clock=clock) as way:
        await clock.advance(5)
        assert (await way.ask()).call.attempts[0].started_at == 1005.0


async def test_no_timer_is_left_when_all_is_over(clock: ManualClock) -> None:
    """Neither a connection's nor the pool's."""
    async with Vendor.echoing() as vendor, Way(vendor.url, clock=clock) as way:
        await way.ask(body=NO_BODY)
    await until(lambda: clock.pending == 0)
