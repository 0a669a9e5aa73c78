"""The demo's vendor over real sockets: each resource, each fault."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator

import pytest

from sidecar.demo.memory import METERED
from sidecar.demo.vendor import EVENT_EVERY, EVENTS, FLAKY, OUTAGE, SLOW, SLOWISH, UNEVEN, Vendor
from tests.kit.app import App, Reply
from tests.kit.clock import ManualClock
from tests.kit.message import CutOff, NotHttp


class WatchedClock(ManualClock):
    """Tells when somebody has begun to wait for time."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved by `seconds`."""
        self.asleep.set()
        await super().sleep(seconds)


@pytest.fixture
def clock() -> WatchedClock:
    """Time that moves by hand, and tells who waits for it."""
    return WatchedClock()


@pytest.fixture
async def vendor(clock: WatchedClock) -> AsyncIterator[Vendor]:
    """Serve on loopback for the length of a test."""
    async with Vendor(clock) as vendor:
        yield vendor


def entitled(vendor: Vendor) -> str:
    """Give the header that the vendor wants."""
    return f"Authorization: Bearer {vendor.token.reveal().decode()}"


async def ask(vendor: Vendor, target: str, *headers: str, method: str = "GET", body: bytes = b"") -> Reply:
    """Ask as somebody who has the token."""
    async with App.to(vendor.url) as app:
        return await app.ask(method, target, entitled(vendor), *headers, body=body)


async def asked_in_time(vendor: Vendor, clock: WatchedClock, target: str, seconds: float) -> Reply:
    """Ask for what takes `seconds`, and let that time pass once the vendor waits for it."""
    async with App.to(vendor.url) as app:
        await app.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{entitled(vendor)}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            await clock.asleep.wait()
        await clock.advance(seconds)
        return await app.read_answer()


@pytest.mark.parametrize("said", [[], ["Authorization: Bearer placeholder"], ["Authorization: Basic dXNlcjpwYXNz"]])
async def test_whoever_has_no_token_gets_401(vendor: Vendor, said: list[str]) -> None:
    """So that a 200 in the tour proves that the sidecar put the credential in."""
    async with App.to(vendor.url) as app:
        reply = await app.ask("GET", "/v1/charges", *said)
    assert reply.status == 401
    assert reply.value("WWW-Authenticate") == "Bearer"


async def test_a_second_credential_beside_the_right_one_gets_401(vendor: Vendor) -> None:
    """A placeholder of the app's that was added to, not replaced, must show."""
    assert (await ask(vendor, "/v1/charges", "Authorization: Bearer placeholder")).status == 401


async def test_the_token_is_made_anew_for_each_vendor(clock: WatchedClock) -> None:
    """Nothing in the source is a credential."""
    assert Vendor(clock).token.reveal() != Vendor(clock).token.reveal()


async def test_charges_are_listed_with_the_rate_limit_announced(vendor: Vendor) -> None:
    """The headers by which a limiter can adapt, as GitHub sends them."""
    first, second = await ask(vendor, "/v1/charges"), await ask(vendor, "/v1/charges")
    assert [charge["id"] for charge in first.json()["data"]] == ["ch_1", "ch_2", "ch_3"]
    assert first.value("X-RateLimit-Limit") == "1000"
    assert [reply.value("X-RateLimit-Remaining") for reply in (first, second)] == ["999", "998"]
    assert first.value("X-RateLimit-Reset") == "1767225660"


async def test_a_charge_is_made_and_has_an_absolute_location(vendor: Vendor) -> None:
    """An absolute URL in an answer is what leads apps past a sidecar."""
    reply = await ask(vendor, "/v1/charges", "Idempotency-Key: one", method="POST", body=b'{"amount":4200}')
    assert reply.status == 201
    assert reply.json() == {"id": "ch_new_1", "asked": {"amount": 4200}, "idempotency_key": "one"}
    assert reply.value("Location") == f"{vendor.url}/v1/charges/ch_new_1"
    assert (await ask(vendor, "/v1/charges/ch_new_1")).json()["id"] == "ch_new_1"


async def test_a_body_that_is_not_json_gets_400(vendor: Vendor) -> None:
    """The vendor judges what it gets, as a real one does."""
    assert (await ask(vendor, "/v1/charges", method="POST", body=b"amount=4200")).status == 400


async def test_a_redirect_is_absolute(vendor: Vendor) -> None:
    """It is the sidecar's to rewrite."""
    reply = await ask(vendor, "/v1/redirect")
    assert (reply.status, reply.value("Location")) == (307, f"{vendor.url}/v1/charges")


async def test_pages_are_linked_and_the_last_one_is_not(vendor: Vendor) -> None:
    """Pagination by Link, as GitHub has it."""
    first, last = await ask(vendor, "/v1/pages?page=1"), await ask(vendor, "/v1/pages?page=3")
    assert first.value("Link") == f'<{vendor.url}/v1/pages?page=2>; rel="next"'
    assert last.values("Link") == []
    assert (await ask(vendor, "/v1/pages?page=4")).status == 404


async def test_echo_tells_what_it_saw_with_the_credential_masked(vendor: Vendor) -> None:
    """What the app can see of the vendor's side never holds the token."""
    reply = await ask(vendor, "/v1/echo?a=%2F", "X-Request-ID: one")
    seen = reply.json()
    assert (seen["method"], seen["target"]) == ("GET", "/v1/echo?a=%2F")
    assert ["X-Request-ID", "one"] in seen["headers"]
    assert ["Authorization", "Bearer ***"] in seen["headers"]
    assert vendor.token.reveal() not in reply.body


async def test_events_come_one_by_one_with_a_pause_after_each(vendor: Vendor, clock: WatchedClock) -> None:
    """The first event is there while the vendor still waits to send the next."""
    async with App.to(vendor.url) as app:
        await app.send(f"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n{entitled(vendor)}\r\n\r\n".encode())
        start = await app.read_some()
        while b"data:" not in start:
            start += await app.read_some()
        assert start.count(b"data:") == 1
        async with asyncio.timeout(10):
            await clock.asleep.wait()
        await clock.advance(EVENT_EVERY * EVENTS)
        rest = await app.read_some()
        while b"0\r\n\r\n" not in rest:
            rest += await app.read_some()
        assert rest.count(b"data:") == EVENTS
        assert b"data: [DONE]" in rest


async def test_slow_answers_take_their_time(vendor: Vendor, clock: WatchedClock) -> None:
    """One is slow and fine, the other slower than the app wants to wait."""
    assert (await asked_in_time(vendor, clock, "/v1/slow", SLOWISH)).json()["took_s"] == SLOWISH
    clock.asleep.clear()
    assert (await asked_in_time(vendor, clock, "/v1/faults/slow", SLOW)).json()["took_s"] == SLOW


async def test_429_comes_with_retry_after_and_500_without(vendor: Vendor) -> None:
    """The first is a hint for the retry, the second is none."""
    refused, broken = await ask(vendor, "/v1/faults/429"), await ask(vendor, "/v1/faults/500")
    assert (refused.status, refused.value("Retry-After")) == (429, "1")
    assert (broken.status, broken.values("Retry-After")) == (500, [])


async def test_drop_ends_in_the_middle_of_the_head(vendor: Vendor) -> None:
    """The first bytes of an answer come, and then the end."""
    with pytest.raises(CutOff) as cut:
        await ask(vendor, "/v1/faults/drop")
    assert cut.value.raw.startswith(b"HTTP/1.1 200")


async def test_garbage_is_not_http(vendor: Vendor) -> None:
    """No client may take it for an answer."""
    with pytest.raises(NotHttp):
        await ask(vendor, "/v1/faults/garbage")


async def test_an_unknown_fault_names_the_known(vendor: Vendor) -> None:
    """For whoever tries with curl."""
    reply = await ask(vendor, "/v1/faults/flood")
    assert (reply.status, json.loads(reply.body)["error"]) == (
        404,
        "there are the faults slow, 429, 500, drop, garbage",
    )


async def test_flaky_goes_through_its_moods_in_order_and_begins_again(vendor: Vendor, clock: WatchedClock) -> None:
    """Two runs tell the same story: nothing is left to chance."""
    seen: list[str] = []
    for turn in FLAKY + FLAKY[:1]:
        if turn == "slowish":
            seen.append(str((await asked_in_time(vendor, clock, "/v1/flaky", SLOWISH)).json()["took_s"]))
            continue
        try:
            seen.append(str((await ask(vendor, "/v1/flaky")).status))
        except CutOff:
            seen.append("cut")
    assert seen == ["200", "500", "200", "429", "200", "cut", "200", "0.3", "200"]


async def test_uneven_is_slow_now_and_then(vendor: Vendor, clock: WatchedClock) -> None:
    """So that an attempt beside the slow one is worth it."""
    for _ in UNEVEN[:-1]:
        assert (await ask(vendor, "/v1/uneven")).status == 200
        assert not clock.asleep.is_set()
    assert (await asked_in_time(vendor, clock, "/v1/uneven", SLOW)).json()["took_s"] == SLOW
    assert (await ask(vendor, "/v1/uneven")).json()["call"] == len(UNEVEN) + 1


async def test_an_outage_is_over_for_good(vendor: Vendor) -> None:
    """What a circuit opens on, and closes after."""
    seen = [(await ask(vendor, "/v1/outage")).status for _ in range(2 * len(OUTAGE))]
    assert seen == [500] * len(OUTAGE) + [200] * len(OUTAGE)


async def test_a_metered_address_announces_its_own_limit_and_keeps_to_it(vendor: Vendor, clock: WatchedClock) -> None:
    """A sidecar that does not listen gets 429 here, until the window is over."""
    limit, seconds = METERED
    replies = [await ask(vendor, "/v1/metered") for _ in range(limit + 1)]
    assert [reply.status for reply in replies] == [200] * limit + [429]
    assert [reply.value("X-RateLimit-Remaining") for reply in replies[-2:]] == ["0", "0"]
    assert replies[0].values("X-RateLimit-Limit") == [b"%d" % limit]
    assert int(replies[0].value("X-RateLimit-Reset")) == clock.wall() + seconds
    await clock.advance(seconds)
    assert (await ask(vendor, "/v1/metered")).status == 200


async def test_a_payout_is_made_and_its_answer_lost_unless_the_key_is_known(vendor: Vendor) -> None:
    """The case for which idempotency keys were invented."""
    for _ in range(2):
        with pytest.raises(CutOff):
            await ask(vendor, "/v1/payouts", method="POST")
    assert vendor.payouts.made == 2
    with pytest.raises(CutOff):
        await ask(vendor, "/v1/payouts", "Idempotency-Key: one", method="POST")
    again = await ask(vendor, "/v1/refunds", "Idempotency-Key: one", method="POST")
    assert (again.status, again.json()) == (201, {"id": "po_3", "idempotency_key": "one", "requests": 2})
    assert vendor.payouts.made == 3


async def test_unknown_addresses_and_large_bodies_are_refused_as_json(vendor: Vendor) -> None:
    """The vendor's own refusals carry its rate limit, too."""
    unknown = await ask(vendor, "/v2/charges")
    assert (unknown.status, unknown.json()) == (404, {"error": "Not Found"})
    assert unknown.values("X-RateLimit-Remaining")
    large = await ask(vendor, "/v1/charges", method="POST", body=secrets.token_bytes(65 * 1024))
    assert large.status == 413
