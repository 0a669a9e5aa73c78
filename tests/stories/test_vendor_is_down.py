"""The vendor is down, or too slow to be of use: it is left alone, looked for, and used again when it is back.

Time is moved by hand; sockets are real.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.kit.app import Reply
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange
from tests.kit.standing import Standing
from tests.kit.vendor import answer

OK = answer(b"done")
DOWN = answer(b"down", status=503)


def circuit(down: Standing) -> Any:
    """Give the circuit's snapshot."""
    return down.snapshot["circuit"]


def assert_refused(reply: Reply) -> float:
    """Assert that the circuit refused, with all that the app needs to know; gives the seconds of Retry-After."""
    assert (reply.status, reply.value("Sidecar-Error")) == (503, "circuit_open"), reply.body
    assert reply.value("Sidecar-Source") == "sidecar"
    assert "error=destination_unavailable" in reply.value("Proxy-Status")
    problem = reply.json()
    assert (problem["code"], problem["service"]) == ("circuit_open", "vendor")
    assert problem["retry_after"] == int(reply.value("Retry-After"))
    return float(problem["retry_after"])


# Down, and back.


async def test_a_vendor_that_goes_down_and_comes_back(clock: ManualClock, tmp_path: Path) -> None:
    """Closed, open, refusing at once, half-open, closed; each change has its line and its count."""
    async with Standing(clock, tmp_path) as down:
        assert await down.ask_often(10) == [200] * 10
        down.vendor.says = DOWN
        # Ten good ones in the window: the circuit opens when a fifth of all are failures.
        assert await down.ask_often(3) == [503] * 3
        assert assert_refused(await down.ask()) == 33  # 30 s, and by chance a tenth more, rounded up.
        asked = len(down.vendor.at)
        assert circuit(down)["state"] == "open"
        assert len(down.vendor.at) == asked

        # For as long as it is open nobody asks, and Retry-After counts down.
        await down.pod.advance(20)
        assert assert_refused(await down.ask()) == 13
        assert len(down.vendor.at) == asked

        # The first probe finds it down still: open again, for twice as long.
        await down.pod.advance(13)
        assert (await down.ask()).status == 503
        assert len(down.vendor.at) == asked + 1
        assert assert_refused(await down.ask()) == 66

        # It is back, which the next probes find out; three in a row close the circuit.
        down.vendor.says = OK
        await down.pod.advance(66)
        assert await down.ask_often(3) == [200] * 3
        assert circuit(down)["state"] == "closed"
        assert await down.ask_often(5) == [200] * 5

        opened = await down.lines("circuit_opened")
        assert [line["why"] for line in opened] == ["3 of 13 calls failed within 30 s", "a probe failed"]
        assert [line["service"] for line in opened] == ["vendor", "vendor"]
        assert len(await down.lines("circuit_half_open")) == 2
        assert len(await down.lines("circuit_closed")) == 1
        assert [down.counted("sidecar_circuit_transitions_total", to) for to in ("open", "half_open", "closed")] == [
            2,
            2,
            1,
        ]


async def test_a_refusal_is_quick_says_why_and_sends_nothing(clock: ManualClock, tmp_path: Path) -> None:
    """A refusal without a reason, once even as 200, was another's (dapr 4454); no attempt, no connection, no wait."""
    async with Standing(clock, tmp_path) as down:
        down.vendor.says = b""
        assert await down.ask_often(10) == [502] * 10
        opened = down.vendor.connections_opened
        began_at = clock.now()
        reply = await down.ask()
        assert_refused(reply)
        assert clock.now() == began_at
        assert "10 of 10 calls failed within 30 s" in reply.json()["detail"]
        assert reply.json()["detail"] in reply.value("Proxy-Status")
        assert reply.value("Sidecar-Attempts") == "0"
        assert down.vendor.connections_opened == opened
        line = (await down.calls(11))[-1]
        assert (line["outcome"], line["code"], line["attempts"]) == ("rejected", "circuit_open", 0)


async def test_retries_stop_at_an_open_circuit(clock: ManualClock, tmp_path: Path) -> None:
    """The attempt that opens it is the last: a refusal is no failure that another attempt would mend."""
    service = 'retry = { attempts_max = 10, backoff = "10ms", budget_min = 100 }\ncircuit_breaker = { calls_min = 4 }'
    async with Standing(clock, tmp_path, service) as down:
        down.vendor.says = DOWN
        reply = await down.ask()
        assert (reply.status, reply.value("Sidecar-Error")) == (503, "circuit_open")
        assert reply.value("Sidecar-Attempts") == "4"
        assert "attempt 4 failed, and the next was refused" in reply.json()["detail"]
        assert len(down.vendor.at) == 4
        assert reply.value("Retry-After") == "33"
        [line] = await down.calls()
        assert (line["outcome"], line["attempts"]) == ("failure", 4)


async def test_it_takes_calls_enough_to_judge_by(clock: ManualClock, tmp_path: Path) -> None:
    """Nine failures are nine failures; the tenth makes it a share."""
    async with Standing(clock, tmp_path) as down:
        down.vendor.says = DOWN
        assert await down.ask_often(9) == [503] * 9
        assert circuit(down)["state"] == "closed"
        assert (await down.ask()).status == 503
        assert_refused(await down.ask())


async def test_the_window_forgets(clock: ManualClock, tmp_path: Path) -> None:
    """Failures of a while ago do not open it today: a window that never clears was another's (Dapr `interval 0`)."""
    async with Standing(clock, tmp_path) as down:
        down.vendor.says = DOWN
        for _ in range(5):
            assert await down.ask_often(9) == [503] * 9
            await down.pod.advance(31)
        assert circuit(down)["state"] == "closed"


# What is no failure of the vendor's.


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 425, 429])
async def test_what_the_app_got_wrong_never_opens_it(status: int, clock: ManualClock, tmp_path: Path) -> None:
    """Nor does a vendor that says "slow down": it is up."""
    service = "hints = false"
    async with Standing(clock, tmp_path, service) as down:
        down.vendor.says = answer(status=status)
        assert await down.ask_often(15) == [status] * 15
        assert circuit(down)["state"] == "closed"


async def test_our_own_refusals_never_open_it(clock: ManualClock, tmp_path: Path) -> None:
    """Own rejections counted as the vendor's failures were another's bug (envoy 25487)."""
    service = 'rate_limit = { rate = "1/h", burst = 1 }\nbulkhead = { slots = 1, waiting_max = 0 }'
    async with Standing(clock, tmp_path, service) as down:
        assert await down.ask_often(20) == [200] + [429] * 19
        assert (circuit(down)["state"], circuit(down)["calls"]) == ("closed", 1)

    other = tmp_path / "other"
    other.mkdir()
    async with Standing(clock, other, "bulkhead = { slots = 1, waiting_max = 0 }") as down:
        down.vendor.takes = 5.0
        first = asyncio.create_task(down.asking())
        await down.pod.advance(0)
        for _ in range(20):
            async with down.pod.app() as app:
                assert (await app.ask("GET", "/vendor/x")).value("Sidecar-Error") == "bulkhead_full"
        [reply] = await down.finish([first])
        assert reply.status == 200
        assert (circuit(down)["state"], circuit(down)["calls"]) == ("closed", 1)


async def test_apps_that_hang_up_never_open_it(clock: ManualClock, tmp_path: Path) -> None:
    """Cancelled is an outcome of its own."""
    async with Standing(clock, tmp_path) as down:
        down.vendor.takes = 60.0
        for _ in range(15):
            async with down.pod.app() as app:
                await app.send(b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await down.pod.advance(1)
            await down.pod.advance(0)
        lines = await down.calls(15)
        assert {line["outcome"] for line in lines} == {"cancelled"}
        assert (circuit(down)["state"], circuit(down)["calls"]) == ("closed", 0)


async def test_an_app_that_does_not_send_its_body_never_opens_it(clock: ManualClock, tmp_path: Path) -> None:
    """The deadline passes in the middle of the upload, and the vendor waited as we did."""
    async with Standing(clock, tmp_path, 'timeout = "2s"') as down:
        for _ in range(12):
            async with down.pod.app() as app:
                await app.send(b"PUT /vendor/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf")
                assert (await down.pod.play(app.read_answer("PUT"))).status == 504
        assert (circuit(down)["state"], circuit(down)["calls"]) == ("closed", 0)


# Stragglers and probes.


async def test_a_straggler_from_before_the_trip_does_not_close_it(clock: ManualClock, tmp_path: Path) -> None:
    """Its good answer says how the vendor was, and it is no probe's either."""
    async with Standing(clock, tmp_path, 'timeout = "50s"\ncircuit_breaker = { successes = 1 }') as down:
        down.vendor.takes = 20.0
        slow = asyncio.create_task(down.asking("/vendor/slow"))
        await down.pod.advance(0)
        down.vendor.takes, down.vendor.says = 0.0, DOWN
        await down.ask_often(10)
        [reply] = await down.finish([slow])
        assert reply.status == 200
        assert circuit(down)["state"] == "open"
        assert_refused(await down.ask())


async def test_only_so_many_probes_go_at_once(clock: ManualClock, tmp_path: Path) -> None:
    """A vendor that just came back is not met by all who waited for it; the others are told to come again soon."""
    async with Standing(clock, tmp_path) as down:
        down.vendor.says = DOWN
        await down.ask_often(10)
        await down.pod.advance(34)
        down.vendor.says, down.vendor.takes = OK, 1.0
        seen = len(down.vendor.at)
        asked = [asyncio.create_task(down.asking()) for _ in range(20)]
        await down.pod.advance(0)
        assert len(down.vendor.at) - seen == 3
        replies = await down.finish(asked)
        assert sorted(reply.status for reply in replies) == [200] * 3 + [503] * 17
        assert {assert_refused(reply) for reply in replies if reply.status == 503} == {1}
        assert circuit(down)["state"] == "closed"


async def test_a_probe_whose_app_hangs_up_makes_room_for_another(clock: ManualClock, tmp_path: Path) -> None:
    """It never came to a verdict; the circuit must not wait for it for ever."""
    async with Standing(clock, tmp_path, "circuit_breaker = { probes_max = 1, successes = 1 }") as down:
        down.vendor.says = DOWN
        await down.ask_often(10)
        await down.pod.advance(34)
        down.vendor.says, down.vendor.takes = OK, 5.0
        async with down.pod.app() as app:
            await app.send(b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await down.pod.advance(1)
            assert_refused(await down.ask())
        await down.pod.advance(0)
        assert (await down.ask()).status == 200
        assert circuit(down)["state"] == "closed"


async def test_a_probe_whose_answer_breaks_off_is_a_failure(clock: ManualClock, tmp_path: Path) -> None:
    """A good head with half a body is what a vendor sends that is falling over."""
    async with Standing(clock, tmp_path, "circuit_breaker = { probes_max = 1 }") as down:
        down.vendor.says = DOWN
        await down.ask_often(10)
        await down.pod.advance(34)

        async def half(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            exchange.half_close()

        down.vendor._script = half
        reply = await down.ask()
        assert (reply.status, reply.is_cut_off) == (200, True)
        await down.pod.advance(0)
        assert circuit(down)["state"] == "open"


# Slow.


async def test_a_latency_spike_of_thirty_seconds_opens_it_by_attempts_that_time_out(
    clock: ManualClock, tmp_path: Path
) -> None:
    """Ten calls wait their two seconds; after that the app is answered at once, until the vendor is quick again."""
    async with Standing(clock, tmp_path, 'attempt_timeout = "2s"\ncircuit_breaker = { open_for = "10s" }') as down:
        down.vendor.takes = 30.0
        spike_at = clock.now()
        asked = [asyncio.create_task(down.asking()) for _ in range(10)]
        assert [reply.status for reply in await down.finish(asked)] == [504] * 10
        assert clock.now() - spike_at == pytest.approx(2)
        before = clock.now()
        assert_refused(await down.ask())
        assert clock.now() == before
        down.vendor.takes = 0.0
        await down.pod.advance(11)
        assert await down.ask_often(4) == [200] * 4
        assert circuit(down)["state"] == "closed"


async def test_a_latency_spike_opens_it_by_slow_calls_that_succeed(clock: ManualClock, tmp_path: Path) -> None:
    """With `slow_after` and `slow_rate`: an answer after thirty seconds helps nobody."""
    service = 'timeout = "50s"\ncircuit_breaker = { slow_after = "3s", slow_rate = 0.5, open_for = "10s" }'
    async with Standing(clock, tmp_path, service) as down:
        down.vendor.takes = 30.0
        asked = [asyncio.create_task(down.asking()) for _ in range(10)]
        assert [reply.status for reply in await down.finish(asked)] == [200] * 10
        reply = await down.ask()
        assert_refused(reply)
        assert "10 of 10 calls were slow" in reply.json()["detail"]
        down.vendor.takes = 1.0
        await down.pod.advance(11)
        assert await down.ask_often(4) == [200] * 4
        assert circuit(down)["state"] == "closed"


async def test_waiting_in_our_own_lines_is_not_the_vendors_slowness(clock: ManualClock, tmp_path: Path) -> None:
    """Calls that stand in line for a permit or a slot for ten seconds are quick ones for the circuit."""
    service = """timeout = "50s"
circuit_breaker = { slow_after = "3s", slow_rate = 0.5, calls_min = 2 }
bulkhead = { slots = 1 }
rate_limit = { rate = "1/5s", burst = 1, wait_max = "50s" }
"""
    async with Standing(clock, tmp_path, service) as down:
        down.vendor.takes = 2.0
        asked = [asyncio.create_task(down.asking()) for _ in range(5)]
        assert [reply.status for reply in await down.finish(asked)] == [200] * 5
        assert circuit(down)["state"] == "closed"


# What people do.


async def test_an_operator_opens_it_until_auto(clock: ManualClock, tmp_path: Path) -> None:
    """Whatever the vendor does, and over a reload; then the next calls are probes."""
    async with Standing(clock, tmp_path) as down:
        status, shown = await down.admin("POST", "/api/services/vendor/circuit", {"state": "open"})
        assert (status, shown["circuit"]["state"]) == (200, "forced")
        await down.pod.advance(3600)
        reply = await down.ask()
        assert (reply.status, reply.value("Sidecar-Error")) == (503, "circuit_open")
        assert reply.values("Retry-After") == [], "only the operator knows"
        assert "an operator opened the circuit" in reply.json()["detail"]
        assert down.vendor.at == []
        assert (await down.pod.sidecar.reload())["ok"]
        assert (await down.ask()).status == 503

        status, shown = await down.admin("POST", "/api/services/vendor/circuit", {"state": "auto"})
        assert (status, shown["circuit"]["state"]) == (200, "half_open")
        assert await down.ask_often(3) == [200] * 3
        assert circuit(down)["state"] == "closed"
        assert len(await down.lines("circuit_forced")) == 1


async def test_the_admin_api_shows_the_circuit(clock: ManualClock, tmp_path: Path) -> None:
    """What it counts, why it opened, and when it is asked again."""
    async with Standing(clock, tmp_path) as down:
        down.vendor.says = DOWN
        await down.ask_often(10)
        _, shown = await down.admin("GET", "/api/services/vendor")
        circuit = shown["circuit"]
        assert (circuit["state"], circuit["calls"], circuit["failures"]) == ("open", 10, 10)
        assert circuit["next_probe_in"] == 33.0
        assert circuit["why"] == "10 of 10 calls failed within 30 s"


async def test_in_shadow_it_counts_and_tells_and_refuses_nothing(clock: ManualClock, tmp_path: Path) -> None:
    """What it would have done can be read before anybody lets it."""
    async with Standing(clock, tmp_path, 'circuit_breaker = { mode = "shadow" }') as down:
        down.vendor.says = DOWN
        assert await down.ask_often(25) == [503] * 25
        assert len(down.vendor.at) == 25
        assert (circuit(down)["state"], circuit(down)["mode"]) == ("open", "shadow")
        assert circuit(down)["refused"] == 15
        [opened] = await down.lines("circuit_opened")
        assert opened["mode"] == "shadow"


async def test_a_circuit_for_each_route_leaves_the_others_alone(clock: ManualClock, tmp_path: Path) -> None:
    """One endpoint that is down does not take the whole vendor with it."""
    service = """circuit_breaker = { scope = "route" }
[services.vendor.routes.search]
match = "GET /search"
"""
    async with Standing(clock, tmp_path, service) as down:
        down.vendor.says = DOWN
        await down.ask_often(10, "/vendor/search")
        assert (await down.ask("/vendor/search")).value("Sidecar-Error") == "circuit_open"
        down.vendor.says = OK
        assert await down.ask_often(3) == [200] * 3


async def test_a_reload_that_does_not_touch_it_keeps_it_open(clock: ManualClock, tmp_path: Path) -> None:
    """What was learnt about the vendor is not thrown away with a config; a section that changed starts anew."""
    async with Standing(clock, tmp_path) as down:
        down.vendor.says = DOWN
        await down.ask_often(10)
        await down.reload('timeout = "7s"')
        assert_refused(await down.ask())
        await down.reload("circuit_breaker = { calls_min = 20 }")
        assert (await down.ask()).body == b"down"
