"""A call waits for its credential, and goes once more when the vendor refuses what it carried."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from sidecar.auth.oauth.bearer import Proofs, TokenCredential
from sidecar.auth.oauth.token import Token
from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.errors import CircuitOpen, CredentialUnavailable
from sidecar.core.outcome import Outcome
from sidecar.layers.entitled import entitle, entitled
from tests.auth.oauth.minting import Endpoint, Sourced, broken_off
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for, read_all

INVALID_TOKEN: Headers = [(b"WWW-Authenticate", b'Bearer realm="crm", error="invalid_token"')]
REPLAY_MAX = 64


class Vendor:
    """Stands where the transport stands: accepts the tokens in `good`, refuses others as `refusal` says."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.good: Callable[[bytes], bool] = lambda _: True
        self.status = 401
        self.fields: Headers = INVALID_TOKEN
        self.reads_bodies = True
        self.takes = 0.0
        self.seen: list[Headers] = []
        self.bodies: list[bytes] = []
        self.ended: list[str] = []
        self.holding = self.holding_max = 0  # Slots, as a bulkhead gives them.

    async def __call__(self, call: Call) -> Reply:
        """Take an attempt."""
        record = AttemptRecord()
        record.started_at = self.clock.now()
        call.attempts.append(record)
        self.seen.append(call.headers)
        self.holding += 1
        self.holding_max = max(self.holding_max, self.holding)
        call.on_end(self.end)
        if self.takes:
            await self.clock.sleep(self.takes)
        if self.reads_bodies:
            self.bodies.append(await read_all(call.body))
        sent = next(value for name, value in call.headers if name == b"Authorization")
        if self.good(sent):
            return Reply(200, b"OK", [], Body.of(b""))
        return Reply(self.status, b"No", list(self.fields), Body.of(b"who are you?"))

    def end(self, outcome: Outcome) -> None:
        """Give the slot back."""
        self.holding -= 1
        self.ended.append(outcome.value)

    def tokens(self) -> list[bytes]:
        """Give what came as Authorization."""
        return [value for headers in self.seen for name, value in headers if name == b"Authorization"]


class Guarded:
    """Both layers over a vendor, with a token source."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.endpoint = Endpoint(clock)
        self.sourced = Sourced(clock, self.endpoint)
        self.vendor = Vendor(clock)
        self.credential = TokenCredential(self.sourced.source, clock)
        self.build()

    def build(self) -> None:
        """Fold the layers."""
        self.handler = entitled(self.credential, REPLAY_MAX)(entitle(self.credential)(self.vendor))

    def ask(self, method: str = "GET", body: Body = NO_BODY) -> Call:
        """Make a call with twenty seconds."""
        call = call_for(method, body=body, headers=[(b"Accept", b"*/*"), (b"authorization", b"Bearer dummy")])
        call.deadline_at = self.clock.now() + 20
        return call

    async def send(self, call: Call | None = None) -> Reply:
        """Send a call, and end it as the door would."""
        call = call or self.ask()
        try:
            reply = await self.handler(call)
        except BaseException:
            call.end(Outcome.FAILURE)
            raise
        call.end(Outcome.SUCCESS)
        return reply


@pytest.fixture
async def guarded(clock: ManualClock) -> AsyncIterator[Guarded]:
    """A service whose tokens come from an endpoint."""
    guarded = Guarded(clock)
    yield guarded
    await guarded.sourced.stop()
    assert guarded.vendor.holding == 0


def bearer(token: Token) -> bytes:
    """Give the token as it travels."""
    return b"Bearer " + token.value


# The credential on the call.


async def test_the_token_takes_the_place_of_what_the_app_sent(guarded: Guarded) -> None:
    """An SDK's placeholder is replaced, never added to; the kind is the endpoint's."""
    await guarded.send()
    (token,) = guarded.endpoint.made
    assert guarded.vendor.seen == [[(b"Accept", b"*/*"), (b"Authorization", bearer(token))]]


async def test_header_and_prefix_are_the_vendors(clock: ManualClock, guarded: Guarded) -> None:
    """Shopify wants the bare token in a header of its own."""
    await guarded.sourced.get()
    credential = TokenCredential(guarded.sourced.source, clock, header="X-Shopify-Access-Token", prefix="")
    call = guarded.ask()
    credential.put_on(call)
    assert call.headers[-1] == (b"X-Shopify-Access-Token", guarded.endpoint.made[0].value)


async def test_a_call_waits_for_the_first_token_and_holds_nothing_meanwhile(
    clock: ManualClock, guarded: Guarded
) -> None:
    """Permits and slots are taken after it."""
    guarded.endpoint.takes = 2.0
    call = guarded.ask()
    sending = asyncio.create_task(guarded.send(call))
    await clock.advance(1.0)
    assert (call.step, guarded.vendor.seen) == ("waiting for a token", [])
    await clock.advance(1.0)
    assert (await sending).status == 200


async def test_a_token_that_expires_while_the_call_stands_in_line_is_not_sent(
    clock: ManualClock, guarded: Guarded
) -> None:
    """Innermost it is looked at again, at the moment of sending."""
    innermost = entitle(guarded.credential)(guarded.vendor)

    async def line(call: Call) -> Reply:
        await clock.sleep(5.0)
        return await innermost(call)

    guarded.endpoint.life = 3.0
    handler = entitled(guarded.credential, REPLAY_MAX)(line)
    await guarded.sourced.get()
    guarded.endpoint.failing = broken_off()
    call = guarded.ask()
    sending = asyncio.ensure_future(handler(call))
    await clock.advance(4.0)
    guarded.endpoint.failing = None
    await clock.advance(30.0)
    await sending
    call.end(Outcome.SUCCESS)
    assert guarded.vendor.tokens() == [bearer(guarded.endpoint.made[1])]


async def test_without_a_token_nothing_is_sent(guarded: Guarded) -> None:
    """The error names the step that failed."""
    guarded.endpoint.failing = broken_off()
    with pytest.raises(CredentialUnavailable, match="getting a token for crm failed: the token endpoint broke off"):
        await guarded.send()
    assert guarded.vendor.seen == []


# Refused.


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (401, []),
        (401, INVALID_TOKEN),
        (401, [(b"WWW-Authenticate", b"Basic realm=x")]),
        (403, INVALID_TOKEN),
        (400, [(b"www-authenticate", b"Bearer error=invalid_token")]),
    ],
)
async def test_a_refused_token_is_replaced_and_the_call_goes_once_more(
    guarded: Guarded, status: int, fields: Headers
) -> None:
    """The app sees the second answer; the first attempt gave back all it held before the second began."""
    first = await guarded.sourced.get()
    guarded.vendor.good = lambda sent: sent != bearer(first)
    guarded.vendor.status, guarded.vendor.fields = status, fields
    call = guarded.ask("POST", Body.of(b"order"))
    assert (await guarded.send(call)).status == 200
    assert guarded.vendor.tokens() == [bearer(first), bearer(guarded.endpoint.made[1])]
    assert guarded.vendor.bodies == [b"order", b"order"]
    assert (guarded.vendor.ended, guarded.vendor.holding_max) == (["failure", "success"], 1)
    assert len(call.attempts) == 2


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (403, []),
        (400, []),
        (404, INVALID_TOKEN),
        (429, []),
        (500, []),
        (401, [(b"WWW-Authenticate", b'Bearer error="insufficient_scope", scope="admin"')]),
    ],
)
async def test_other_answers_say_nothing_of_the_token(guarded: Guarded, status: int, fields: Headers) -> None:
    """What another token would not change costs none."""
    guarded.vendor.good = lambda _: False
    guarded.vendor.status, guarded.vendor.fields = status, fields
    assert (await guarded.send()).status == status
    assert (len(guarded.vendor.seen), len(guarded.endpoint.asked_at)) == (1, 1)


async def test_a_call_goes_once_more_and_no_more(guarded: Guarded) -> None:
    """The second refusal is the answer; the next call is not sent twice either, so soon after."""
    guarded.vendor.good = lambda _: False
    reply = await guarded.send()
    assert (reply.status, await read_all(reply.body)) == (401, b"who are you?")
    assert (len(guarded.vendor.seen), len(guarded.endpoint.asked_at)) == (2, 2)
    await guarded.send()
    assert (len(guarded.vendor.seen), len(guarded.endpoint.asked_at)) == (3, 2)


async def test_two_hundred_refused_calls_share_one_renewal(clock: ManualClock, guarded: Guarded) -> None:
    """A token revoked under load: each call is sent twice, the endpoint is asked once, and none fails."""
    first = await guarded.sourced.get()
    guarded.vendor.good = lambda sent: sent != bearer(first)
    guarded.vendor.takes, guarded.endpoint.takes = 0.1, 0.3
    calls = [asyncio.create_task(guarded.send()) for _ in range(200)]
    await clock.advance(5.0)
    assert {(await call).status for call in calls} == {200}
    assert (len(guarded.vendor.seen), len(guarded.endpoint.asked_at)) == (400, 2)


async def test_a_call_refused_after_another_replaced_the_token_goes_with_the_new_one(
    clock: ManualClock, guarded: Guarded
) -> None:
    """A renewal may end the old token's life (GitHub, GitLab): the new one is not dropped for it."""
    first = await guarded.sourced.get()
    guarded.vendor.good = lambda sent: sent != bearer(first)
    guarded.vendor.takes = 5.0
    slow = asyncio.create_task(guarded.send())
    await settle()
    guarded.vendor.takes = 0.0
    assert (await guarded.send()).status == 200
    await clock.advance(5.0)
    assert (await slow).status == 200
    assert len(guarded.endpoint.asked_at) == 2


async def test_if_no_new_token_can_be_had_the_error_says_so(guarded: Guarded) -> None:
    """The vendor's 401 would send the app looking for a credential that it does not have."""
    await guarded.sourced.get()
    guarded.vendor.good = lambda _: False
    guarded.endpoint.failing = broken_off()
    with pytest.raises(CredentialUnavailable, match="broke off"):
        await guarded.send()
    assert guarded.vendor.ended == ["failure"]


async def test_an_app_that_counts_attempts_gets_no_second(guarded: Guarded) -> None:
    """But the token is replaced for the next call."""
    first = await guarded.sourced.get()
    guarded.vendor.good = lambda sent: sent != bearer(first)
    call = guarded.ask()
    call.attempts_max = 1
    assert (await guarded.send(call)).status == 401
    assert call.not_retried == "the app allows no further attempt"
    assert (await guarded.send()).status == 200


async def test_a_refusal_of_our_own_after_the_vendors_counts_as_a_failure(guarded: Guarded) -> None:
    """The call was sent; a circuit that opened meanwhile does not make it unsent."""
    guarded.vendor.good = lambda _: False
    innermost, tries = entitle(guarded.credential)(guarded.vendor), 0

    async def breaker(call: Call) -> Reply:
        nonlocal tries
        tries += 1
        if tries > 1:
            raise CircuitOpen("crm is not asked now", retry_after=3.0)
        return await innermost(call)

    call = guarded.ask()
    with pytest.raises(CircuitOpen) as caught:
        await entitled(guarded.credential, REPLAY_MAX)(breaker)(call)
    assert caught.value.detail == "the vendor refused the credential, and with a new one: crm is not asked now"
    assert caught.value.outcome is Outcome.FAILURE
    call.end(Outcome.FAILURE)


# Bodies.


async def fed(pieces: list[bytes], *, length: int | None = None) -> Body:
    """Give a body that has not come in yet, with a task that feeds it."""
    body = Body(length)

    def feed() -> None:
        for piece in pieces:
            body.feed(piece)
        body.finish()

    asyncio.get_running_loop().call_soon(feed)
    return body


async def test_a_body_that_streams_is_kept_up_to_the_bound(guarded: Guarded) -> None:
    """And sent again from its first byte."""
    first = await guarded.sourced.get()
    guarded.vendor.good = lambda sent: sent != bearer(first)
    body = await fed([b"a" * 20, b"b" * 20])
    assert (await guarded.send(guarded.ask("POST", body))).status == 200
    assert guarded.vendor.bodies == [b"a" * 20 + b"b" * 20] * 2


@pytest.mark.parametrize("length", [None, 100])
async def test_a_longer_one_streams_once(guarded: Guarded, length: int | None) -> None:
    """The vendor's answer goes to the app, and the token is replaced for the next call."""
    first = await guarded.sourced.get()
    guarded.vendor.good = lambda sent: sent != bearer(first)
    call = guarded.ask("POST", await fed([b"a" * 50, b"b" * 50], length=length))
    assert (await guarded.send(call)).status == 401
    assert call.not_retried == "the request's body is over 64 bytes, so it was sent once only"
    assert guarded.vendor.bodies == [b"a" * 50 + b"b" * 50]
    assert (await guarded.send()).status == 200


async def test_a_long_one_that_was_not_begun_goes_with_the_new_token(guarded: Guarded) -> None:
    """A vendor that refuses by the head alone (Expect: 100-continue) has all of it still to come."""
    first = await guarded.sourced.get()
    guarded.vendor.good = lambda sent: sent != bearer(first)
    guarded.vendor.reads_bodies = False
    call = guarded.ask("PUT", await fed([b"a" * 50, b"b" * 50], length=100))
    assert (await guarded.send(call)).status == 200
    assert await read_all(call.body) == b"a" * 50 + b"b" * 50


async def test_a_body_that_the_app_broke_off_is_not_sent_again(guarded: Guarded) -> None:
    """There is nothing whole to send."""
    guarded.vendor.good = lambda _: False
    guarded.vendor.reads_bodies = False
    body = Body(100)
    body.fail(ConnectionResetError("gone"))
    assert (await guarded.send(guarded.ask("PUT", body))).status == 401
    assert len(guarded.vendor.seen) == 1


# Bound to a key.


async def test_a_proof_without_the_vendors_nonce_is_made_again_with_it(clock: ManualClock, guarded: Guarded) -> None:
    """The token is good, so it is kept (RFC 9449 section 9); each sending has a proof of its own."""
    nonces: list[str] = []

    def hear(nonce: str) -> bool:
        nonces.append(nonce)
        return nonces.count(nonce) == 1

    def prove(call: Call, token: Token) -> bytes:
        return b"proof of %b for %b with %d" % (call.target, token.value, len(nonces))

    guarded.credential = TokenCredential(guarded.sourced.source, clock, proofs=Proofs(prove, hear))
    guarded.build()
    token = await guarded.sourced.get()
    guarded.vendor.fields = [(b"WWW-Authenticate", b'DPoP error="use_dpop_nonce"'), (b"DPoP-Nonce", b"n1")]
    guarded.vendor.good = lambda _: bool(nonces)
    assert (await guarded.send()).status == 200
    proofs = [value for headers in guarded.vendor.seen for name, value in headers if name == b"DPoP"]
    assert proofs == [b"proof of /x for %b with %d" % (token.value, number) for number in (0, 1)]
    assert len(guarded.endpoint.asked_at) == 1


# The endings of a call.


def test_what_an_attempt_took_is_given_back_and_the_rest_is_kept() -> None:
    """Last first, once; what was taken before the mark ends with the call."""
    call = call_for()
    ended: list[str] = []
    call.on_end(lambda outcome: ended.append(f"before {outcome.value}"))
    mark = call.mark()
    call.on_end(lambda outcome: ended.append(f"first {outcome.value}"))
    call.on_end(lambda outcome: ended.append(f"second {outcome.value}"))
    call.end_since(mark, Outcome.FAILURE)
    assert ended == ["second failure", "first failure"]
    call.end_since(mark, Outcome.FAILURE)
    call.end(Outcome.SUCCESS)
    assert ended == ["second failure", "first failure", "before success"]


def test_an_ending_that_raises_keeps_none_from_running() -> None:
    """All is given back, then the fault is told."""
    call = call_for()
    ended: list[str] = []
    mark = call.mark()
    call.on_end(lambda outcome: ended.append(outcome.value))

    def broken(outcome: Outcome) -> None:
        raise ZeroDivisionError(outcome.value)

    call.on_end(broken)
    with pytest.raises(ZeroDivisionError):
        call.end_since(mark, Outcome.FAILURE)
    assert ended == ["failure"]
