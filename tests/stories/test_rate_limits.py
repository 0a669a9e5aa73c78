"""Limits, our own and the vendor's: calls wait in order or are told when to come, and the vendor is not asked in vain.

Time is moved by hand; sockets are real.
"""

import asyncio
import itertools
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.kit.app import Reply
from tests.kit.clock import ManualClock
from tests.kit.exchange import Request
from tests.kit.message import Fields
from tests.kit.pod import Pod
from tests.kit.standing import Standing
from tests.kit.vendor import Vendor, answer

OK = answer(b"done")
SETTLE = 0.02  # Seconds that are waited beyond a reset.


def assert_limited(reply: Reply) -> int:
    """Assert that the sidecar refused by itself, with all that the app needs; gives the seconds of Retry-After."""
    assert (reply.status, reply.value("Sidecar-Error")) == (429, "rate_limited"), reply.body
    assert (reply.value("Sidecar-Source"), reply.value("Sidecar-Attempts")) == ("sidecar", "0")
    assert reply.value("Proxy-Status").startswith("sidecar; error=")
    problem = reply.json()
    assert (problem["code"], problem["service"]) == ("rate_limited", "vendor")
    assert problem["retry_after"] == int(reply.value("Retry-After"))
    return int(problem["retry_after"])


def limited(*fields: tuple[bytes, bytes], status: int = 429) -> bytes:
    """Write an answer that says "slow down"."""
    return answer(b"slow down", status=status, headers=list(fields))


# Our own.


async def test_calls_over_the_rate_wait_for_their_permits_in_order(clock: ManualClock, tmp_path: Path) -> None:
    """Two at once, then one each half second, first come, first served; the line of each tells its wait."""
    service = 'rate_limit = { rate = "2/s", burst = 2, wait_max = "10s" }'
    async with Standing(clock, tmp_path, service) as it:
        began_at = clock.now()
        tasks = [await it.begin(f"/vendor/{number}") for number in range(6)]
        assert [reply.status for reply in await it.finish(tasks)] == [200] * 6
        assert [at - began_at for at in it.vendor.at] == pytest.approx([0, 0, 0.5, 1.0, 1.5, 2.0], abs=0.001)
        assert [request.target for request in it.vendor.requests] == [b"/%d" % number for number in range(6)]
        lines = await it.calls(6)
        assert sorted(line["waited_rate_ms"] for line in lines) == pytest.approx([0, 0, 500, 1000, 1500, 2000], abs=1)


async def test_what_would_wait_too_long_is_refused_at_once(clock: ManualClock, tmp_path: Path) -> None:
    """Nothing is sent; Retry-After is when a permit is free, rounded up; it is a rejection, not a failure."""
    async with Standing(clock, tmp_path, 'rate_limit = { rate = "1/10s", burst = 1, wait_max = "500ms" }') as it:
        assert (await it.ask()).status == 200
        began_at = clock.now()
        reply = await it.ask()
        assert clock.now() == began_at
        assert assert_limited(reply) == 10
        assert "the rate limit of 1/10s is reached; a permit is free in 10.00 s" in reply.json()["detail"]
        assert len(it.vendor.at) == 1
        line = (await it.calls(2))[-1]
        assert (line["outcome"], line["code"], line["attempts"]) == ("rejected", "rate_limited", 0)
        await it.pod.advance(9)
        assert assert_limited(await it.ask()) == 1
        await it.pod.advance(1)
        assert (await it.ask()).status == 200


async def test_no_call_waits_past_its_deadline(clock: ManualClock, tmp_path: Path) -> None:
    """Whoever has a second does not wait for a permit that comes in two."""
    async with Standing(clock, tmp_path, 'rate_limit = { rate = "1/2s", burst = 1, wait_max = "20s" }') as it:
        assert (await it.ask()).status == 200
        began_at = clock.now()
        assert assert_limited(await it.ask("/vendor/x", "GET", "Sidecar-Timeout: 1s")) == 2
        assert clock.now() == began_at
        assert (await it.ask()).status == 200


async def test_several_windows_hold_at_once(clock: ManualClock, tmp_path: Path) -> None:
    """Ten in a second, and no more than twelve in an hour."""
    service = 'rate_limit = { rate = ["12/h", "10/s"], burst = 10, wait_max = "2s" }'
    async with Standing(clock, tmp_path, service) as it:
        assert await it.ask_often(12) == [200] * 12
        await it.pod.advance(5)
        assert assert_limited(await it.ask()) > 3000
        await it.pod.advance(3700)
        assert (await it.ask()).status == 200


async def test_the_rate_is_divided_by_the_number_of_pods(clock: ManualClock, tmp_path: Path) -> None:
    """Three replicas with 30 a second each would be three times the limit (litellm 40291)."""
    service = 'rate_limit = { rate = "30/s", burst = 3, wait_max = "0s" }'
    async with Standing(clock, tmp_path, service, sidecar="replicas = 3") as it:
        seconds = 4
        for _ in range(seconds * 20):
            await it.ask()
            await it.pod.advance(0.05)
        assert 9 * seconds <= len(it.vendor.at) <= 10 * seconds + 3


async def test_a_route_has_its_own_price(clock: ManualClock, tmp_path: Path) -> None:
    """A search that costs five takes what five others would."""
    service = """rate_limit = { rate = "10/min", burst = 10, wait_max = "0s" }
[services.vendor.routes.search]
match = "GET /search"
cost = 5
"""
    async with Standing(clock, tmp_path, service) as it:
        assert await it.ask_often(2, "/vendor/search") == [200, 200]
        assert_limited(await it.ask())


async def test_an_app_that_leaves_the_line_gives_its_place_and_permit_back(clock: ManualClock, tmp_path: Path) -> None:
    """Those behind it move up."""
    async with Standing(clock, tmp_path, 'rate_limit = { rate = "1/s", burst = 1, wait_max = "10s" }') as it:
        tasks = [await it.begin(f"/vendor/{number}") for number in range(4)]
        assert it.snapshot["rate_limit"]["waiting"] == 3
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        await it.pod.advance(0)
        assert it.snapshot["rate_limit"]["waiting"] == 2
        began_at = it.vendor.at[0]
        await it.finish([tasks[0], tasks[2], tasks[3]])
        assert [at - began_at for at in it.vendor.at] == pytest.approx([0, 1, 2], abs=0.001)
        assert {line["outcome"] for line in await it.calls(4)} == {"success", "cancelled"}


async def test_a_connection_that_is_refused_spends_no_permit(clock: ManualClock, tmp_path: Path) -> None:
    """The vendor did not see it, so it does not count there."""
    service = 'circuit_breaker = false\nrate_limit = { rate = "1/h", burst = 1, wait_max = "0s" }'
    async with Standing(clock, tmp_path, service) as it:
        server = it.vendor._server
        assert server is not None
        server.close()
        await server.wait_closed()
        assert await it.ask_often(3) == [502] * 3


async def test_each_attempt_takes_a_permit(clock: ManualClock, tmp_path: Path) -> None:
    """Each costs the vendor one request."""
    service = 'retry = { backoff = "10ms" }\nrate_limit = { rate = "1/s", burst = 1, wait_max = "5s" }'
    async with Standing(clock, tmp_path, service) as it:
        it.vendor.says = answer(status=500)
        assert (await it.ask()).value("Sidecar-Attempts") == "3"
        gaps = [later - earlier for earlier, later in itertools.pairwise(it.vendor.at)]
        assert gaps == pytest.approx([1, 1], abs=0.001)


# The vendor's word.


def window(remaining: int, limit: int, reset: bytes) -> Fields:
    """Announce a window."""
    return [
        (b"X-RateLimit-Limit", b"%d" % limit),
        (b"X-RateLimit-Remaining", b"%d" % remaining),
        (b"X-RateLimit-Reset", reset),
    ]


@pytest.mark.parametrize("told", ["seconds", "epoch", "epoch ms", "date", "iso", "duration"])
async def test_after_the_first_429_nothing_is_sent_until_the_reset(
    told: str, clock: ManualClock, tmp_path: Path
) -> None:
    """However the vendor writes the instant, under one and the same name; and never a moment early."""
    async with Standing(clock, tmp_path, 'hints = { wait_max = "0s" }') as it:
        reset_at = clock.wall() + 30
        date = datetime.fromtimestamp(reset_at, UTC)
        reset = {
            "seconds": b"30",
            "epoch": b"%d" % reset_at,
            "epoch ms": b"%d" % (reset_at * 1000),
            "date": format_datetime(date, usegmt=True).encode(),
            "iso": date.strftime("%Y-%m-%dT%H:%M:%SZ").encode(),
            "duration": b"0m30s",
        }[told]
        it.vendor.says = limited(*window(0, 100, reset))
        assert (await it.ask()).status == 429
        it.vendor.says = answer(headers=window(99, 100, b"60"))
        for seconds in (0, 10, 19):
            await it.pod.advance(seconds)
            assert assert_limited(await it.ask()) >= 1
        assert len(it.vendor.at) == 1
        await it.pod.advance(1 + SETTLE - 0.001)
        assert_limited(await it.ask())
        await it.pod.advance(0.002)
        assert (await it.ask()).status == 200
        assert len(it.vendor.at) == 2


@pytest.mark.parametrize(
    "field",
    [(b"Retry-After", b"30"), (b"retry-after-ms", b"30000"), (b"Retry-After", b"Thu, 01 Jan 2026 00:00:30 GMT")],
)
async def test_a_storm_of_429_ends_with_the_first(
    field: tuple[bytes, bytes], clock: ManualClock, tmp_path: Path
) -> None:
    """A hundred calls in the thirty seconds after it: none reaches the vendor, each knows when to come again."""
    async with Standing(clock, tmp_path, "hints = {}") as it:
        it.vendor.says = limited(field)
        assert (await it.ask()).status == 429
        it.vendor.says = OK
        for _ in range(28):
            assert 1 <= assert_limited(await it.ask()) <= 31
            await it.pod.advance(1)
        assert len(it.vendor.at) == 1
        await it.pod.advance(3)
        assert (await it.ask()).status == 200
        [closed] = await it.lines("rate_limited_by_vendor")
        assert (closed["service"], closed["status"], closed["seconds"]) == ("vendor", 429, pytest.approx(30, abs=0.1))
        assert it.counted("sidecar_throttled_total") == 1


async def test_what_is_under_way_when_the_first_429_comes_does_not_hold_it_longer(
    clock: ManualClock, tmp_path: Path
) -> None:
    """Twenty at once get their 429 together: one storm, one wait."""
    async with Standing(clock, tmp_path, 'hints = { wait_max = "0s" }') as it:
        it.vendor.takes = 0.5
        it.vendor.says = limited((b"Retry-After", b"10"))
        replies = await it.finish([await it.begin() for _ in range(20)])
        assert [reply.status for reply in replies] == [429] * 20
        it.vendor.says, it.vendor.takes = OK, 0.0
        assert 10 <= assert_limited(await it.ask()) <= 11
        await it.pod.advance(10.5)
        assert (await it.ask()).status == 200
        assert len(it.vendor.at) == 21


async def test_at_remaining_zero_calls_wait_for_the_reset(clock: ManualClock, tmp_path: Path) -> None:
    """A good answer may say that it was the last: the next call waits, and is not refused by the vendor first."""
    async with Standing(clock, tmp_path, 'hints = { wait_max = "15s" }') as it:
        it.vendor.says = answer(headers=window(0, 100, b"10"))
        assert (await it.ask()).status == 200
        it.vendor.says = answer(headers=window(99, 100, b"60"))
        began_at = clock.now()
        assert (await it.ask()).status == 200
        assert 10 + SETTLE - 1e-6 <= clock.now() - began_at <= 10.1
        assert (await it.calls(2))[1]["waited_rate_ms"] == pytest.approx(10020, abs=100)


async def test_githubs_403_with_nothing_remaining_is_a_rate_limit(clock: ManualClock, tmp_path: Path) -> None:
    """By its preset; and a 403 that is about permissions is not."""
    async with Standing(clock, tmp_path, 'provider = "github"\nhints = { wait_max = "0s" }') as it:
        it.vendor.says = answer(status=403, headers=window(4000, 5000, b"%d" % (clock.wall() + 600)))
        assert await it.ask_often(3) == [403] * 3
        it.vendor.says = answer(status=403, headers=window(0, 5000, b"%d" % (clock.wall() + 600)))
        assert (await it.ask()).status == 403
        it.vendor.says = OK
        assert assert_limited(await it.ask()) in {600, 601}
        assert len(it.vendor.at) == 4
        assert it.counted("sidecar_throttled_total") == 1
        await it.pod.advance(601)
        assert (await it.ask()).status == 200


async def test_a_403_with_nothing_remaining_is_one_without_a_preset_too(clock: ManualClock, tmp_path: Path) -> None:
    """Whoever announces a limit that is used up, and refuses, has said why."""
    async with Standing(clock, tmp_path, 'hints = { wait_max = "0s" }') as it:
        it.vendor.says = answer(status=403, headers=window(0, 60, b"30"))
        assert (await it.ask()).status == 403
        assert_limited(await it.ask())
        assert len(it.vendor.at) == 1


async def test_when_little_is_left_calls_are_paced(clock: ManualClock, tmp_path: Path) -> None:
    """A hundred calls for ten seconds: most go as they come, the last twenty evenly over the rest of the window.

    So nobody stands still for seconds in front of a wall, and the vendor refuses none.
    """
    left = 100
    reset_at = clock.wall() + 10

    def counting(_: Request) -> bytes:
        nonlocal left
        left -= 1
        return answer(status=200 if left >= 0 else 429, headers=window(max(0, left), 100, b"%d" % reset_at))

    async with Standing(clock, tmp_path, 'hints = { wait_max = "15s" }') as it:
        it.vendor.says = counting
        assert (await it.ask()).status == 200
        began_at = clock.now()
        replies = await it.finish([asyncio.create_task(it.asking()) for _ in range(99)])
        assert {reply.status for reply in replies} == {200}
        at = [one - began_at for one in it.vendor.at]
        assert at[75] < 0.5
        assert at[99] > 6
        assert max(later - earlier for earlier, later in itertools.pairwise(at)) < 1.5


@pytest.mark.parametrize(
    "fields",
    [
        [(b"Retry-After", b"999999999999")],
        [(b"Retry-After", b"-5")],
        [(b"Retry-After", b"soon")],
        [(b"Retry-After", b"nan")],
        [(b"Retry-After", b"1e400")],
        [(b"Retry-After", b"Fri, 31 Dec 9999 23:59:59 GMT")],
        [(b"Retry-After", b"Thu, 01 Jan 1970 00:00:00 GMT")],
        window(0, 100, b"99999999999999999999"),
        window(0, 100, b"-1"),
        window(-7, 100, b"30"),
        window(10**30, 1, b"30"),
        [(b"RateLimit", b'"a";r=0;t=99999999999999'), (b"RateLimit-Policy", b'"a";q=0;w=0')],
        [(b"RateLimit", b'"' + b"x" * 5000 + b'";r=0;t=1')],
        [(b"X-RateLimit-Remaining", b"\xff\xfe"), (b"X-RateLimit-Reset", b"?")],
    ],
    ids=itertools.count(),
)  # fmt: skip
async def test_a_hostile_hint_holds_nothing_up_for_long(fields: Fields, clock: ManualClock, tmp_path: Path) -> None:
    """At most `hint_max`, which is 15 minutes: then a call goes, whatever was said; and none breaks us."""
    async with Standing(clock, tmp_path, 'circuit_breaker = false\nhints = { wait_max = "0s" }') as it:
        it.vendor.says = limited(*fields)
        assert (await it.ask()).status == 429
        it.vendor.says = OK
        await it.pod.advance(15 * 60 + 1)
        assert (await it.ask()).status == 200
        assert [line for line in await it.pod.log_lines() if line["level"] == "error"] == []


async def test_an_absurd_hint_is_ignored_with_a_line(clock: ManualClock, tmp_path: Path) -> None:
    """Once a minute at most, however often it is said; and it is counted each time."""
    async with Standing(clock, tmp_path, 'hints = { wait_max = "0s" }') as it:
        it.vendor.says = answer(headers=[*window(90, 100, b"30"), (b"Retry-After", b"99999999999999")])
        assert await it.ask_often(5) == [200] * 5
        lines = await it.lines("hint_ignored")
        assert len(lines) == 1
        assert lines[0]["service"] == "vendor"
        assert "retry-after" in str(lines[0]["why"])
        assert it.counted("sidecar_hints_ignored_total") == 5
        await it.pod.advance(61)
        await it.ask()
        assert len(await it.lines("hint_ignored")) == 2


async def test_at_eighty_percent_a_line_is_written(clock: ManualClock, tmp_path: Path) -> None:
    """Before it hurts; once for each window of time, not for each call."""
    async with Standing(clock, tmp_path, "hints = {}") as it:
        it.vendor.says = answer(headers=window(30, 100, b"60"))
        await it.ask()
        await it.pod.advance(1)
        assert await it.lines("rate_limit_near") == []
        it.vendor.says = answer(headers=window(19, 100, b"58"))
        await it.ask()
        await it.pod.advance(1)
        for _ in range(3):
            await it.ask()
        [near] = await it.lines("rate_limit_near")
        assert (near["service"], near["used_ratio"] >= 0.8) == ("vendor", True)


async def test_without_hints_the_vendors_word_holds_nothing_back(clock: ManualClock, tmp_path: Path) -> None:
    """`hints = false`: all that it refuses reaches the app."""
    async with Standing(clock, tmp_path, "hints = false") as it:
        it.vendor.says = limited((b"Retry-After", b"30"), *window(0, 100, b"30"))
        assert await it.ask_often(5) == [429] * 5
        assert len(it.vendor.at) == 5


async def test_a_429_is_tried_again_when_the_vendor_says(clock: ManualClock, tmp_path: Path) -> None:
    """Retry waits the told time once; the limiter does not make it wait it twice, nor pass it early."""
    async with Standing(clock, tmp_path, 'retry = { backoff = "10ms" }') as it:

        def once(request: Request) -> bytes:
            return limited((b"Retry-After", b"3")) if request.number == 1 else OK

        it.vendor.says = once
        reply = await it.ask()
        assert (reply.status, reply.value("Sidecar-Attempts")) == (200, "2")
        assert 3.0 <= it.vendor.at[1] - it.vendor.at[0] <= 3.2


async def test_people_see_the_limits(clock: ManualClock, tmp_path: Path) -> None:
    """In the admin API and in the metrics: own and announced, with the used share."""
    service = 'rate_limit = { rate = "10/min", burst = 10 }'
    async with Standing(clock, tmp_path, service) as it:
        it.vendor.says = answer(headers=window(25, 100, b"60"))
        assert await it.ask_often(5) == [200] * 5
        _, shown = await it.admin("GET", "/api/services/vendor")
        assert "10/min" in shown["rate_limit"]
        assert shown["announced"]
        assert 'sidecar_rate_limit_used_ratio{service="vendor",window="10/min"} 0.5' in await it.metrics()


async def test_a_quota_outlives_a_change_of_how_long_calls_may_wait(tmp_path: Path) -> None:
    """An operator who lets calls wait longer at three must not give the whole day's quota out once more."""
    service = {"vendor": 'rate_limit = { rate = ["100/s", "5/day"], wait_max = "1s" }'}
    async with Vendor.answering(answer(b"ok")) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        async with pod.app() as app:
            for _ in range(5):
                assert (await app.ask("GET", "/vendor/x")).status == 200
            service["vendor"] = 'rate_limit = { rate = ["100/s", "5/day"], wait_max = "2s" }'
            pod.write_config()
            assert (await pod.sidecar.reload())["ok"]
            refused = await app.ask("GET", "/vendor/x")
        assert (refused.status, refused.value("Sidecar-Error")) == (429, "rate_limited")
        assert len(vendor.requests) == 5
