"""Once: what the app asks twice under one key is done once, and answered twice.

It stands inside of the layer that puts the key on, and outside of all that costs something: a repeated answer takes no
permit, no verdict, no slot and no credential, and however many attempts a call has, it has one record. Two calls are
the same when service, method, path and query (as they go to the vendor), `Sidecar-App` and key are. A made key is new
with each call, so only a key of the app's has a record.

- The body is received before the call is sent, and hashed. A longer one than `body_max` passes without a record: to
  hash it on its way would tell of a wrong body only when the vendor has it.
- Whoever is first claims the name. Until the app is told how that call ended it is under way: the second gets 409, or
  waits. A claim that nobody ends (the pod was killed, or the app hung up while the vendor was at work) ends by itself a
  little after the deadline; the next call goes to the vendor then, with the same key, which is what the key is for.
- An answer is final if another try would not help: then it is stored before the app gets its first byte. All else
  takes the claim away, so the app may try again: what the sidecar refused; every failure on the way; 408, 409, 425,
  429, 5xx and what `retry.statuses` has beside them; and 401, 403 and 407, since the credential is ours, and nothing
  was done for who has none.
- A final answer that is a stream, or longer than `answer_max`, goes on at once. That it was given is stored before; the
  answer itself at its end, if it has come whole and is short enough. If not, the vendor is not asked a second time: the
  second call gets 409 with a code of its own.
- The store fails open. Who would rather have no answer than an unguarded call watches `sidecar_idempotency_total`.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, NoReturn

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Handler, Reply
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded, IdempotencyInFlight, IdempotencyMismatch, IdempotencyNotKept
from sidecar.core.outcome import Outcome
from sidecar.layers.gather import has_whole_body
from sidecar.layers.idempotency.keeper import Holding, Keeper
from sidecar.layers.idempotency.receiving import receive
from sidecar.layers.idempotency.record import Entry, answered, completed, name_of, repeated

Keyed = Callable[[Call, bytes], Awaitable[Reply]]

MARGIN = 5.0  # Seconds that a claim outlives its call's deadline: for the store, and for pods that are a little late.
PAUSE_MIN = 0.05  # Seconds between two looks at a claim of another process.
PAUSE_MAX = 1.0
RETRY_AFTER = 1.0  # Seconds after which it is worth asking again; nobody knows when the first call ends.
_RECEIVING = "receiving the request's body, to know its hash"
_WAITING = "waiting for the first call with this idempotency key"
_FAILURE_FROM = 500
NOT_FINAL = frozenset({401, 403, 407, 408, 409, 425, 429})
_NO_BODY_HASH = hashlib.sha256().digest()


class OnceRules(NamedTuple):
    """The section's numbers, and what else tells calls apart."""

    life: float  # Seconds for which an answer is repeated.
    waits: bool
    body_max: int
    answer_max: int
    not_final: frozenset[int]  # Statuses beside the 5xx after which the app may try again.
    own: frozenset[bytes]  # Which of the app's own credentials go to the vendor: lower-case names.


class Once:
    """Has a call with a key of the app's done once, and repeats its answer."""

    __slots__ = ("_clock", "_inner", "_jitter", "_keeper", "_rules")

    def __init__(
        self, rules: OnceRules, keeper: Keeper, clock: Clock, jitter: Callable[[], float], inner: Handler
    ) -> None:
        self._rules = rules
        self._keeper = keeper
        self._clock = clock
        self._jitter = jitter
        self._inner = inner

    async def __call__(self, call: Call, key: bytes) -> Reply:
        """Send the call, or give the answer that is there.

        Raises IdempotencyInFlight, IdempotencyMismatch, IdempotencyNotKept, and DeadlineExceeded for who waits in vain.
        """
        payload = await self._payload(call)
        if payload is None:
            self._keeper.count("passed")
            return await self._inner(call)
        own = self._rules.own
        name = name_of(call, key, [field for field in call.app_credentials if field[0].lower() in own])
        while (other := self._keeper.held(name)) is not None:
            await self._meet(call, other, payload)
        holding = self._keeper.hold(name, payload, [value for _, value in call.app_credentials])
        entry = await self._claim(call, holding)
        if entry is None:
            holding.asked.set()
            return await self._send(call, holding)
        self._keeper.let_go(holding)
        return self._repeat(entry, payload)

    async def _payload(self, call: Call) -> bytes | None:
        """Give the hash of the request's body; None when it is too long, or broke off."""
        if call.body is NO_BODY:
            return _NO_BODY_HASH
        body_max = self._rules.body_max
        if not await receive(call, body_max, self._clock, _RECEIVING):
            return None
        return hashlib.sha256(await call.body.ahead(body_max)).digest()

    # The second call.

    async def _meet(self, call: Call, other: Holding, payload: bytes) -> None:
        """Wait for a call of this process, or refuse."""
        if not other.asked.is_set():  # It does not know yet whether it is the first.
            await self._wait(call, other.asked.wait())
            return
        self._compare(other.payload, payload)
        if not self._rules.waits:
            self._refuse_in_flight()
        await self._wait(call, other.over.wait())

    async def _claim(self, call: Call, holding: Holding) -> Entry | None:
        """Claim the name; where another process has it, wait until it is done, if that is wished.

        Whoever else of this process waits, waits for this one, so one of them asks the store.
        """
        pause = PAUSE_MIN
        while True:
            life = max(0.0, call.deadline_at - self._clock.now()) + MARGIN
            entry = await self._keeper.claim(holding, life)
            if entry is None or entry.status or entry.payload != holding.payload or not self._rules.waits:
                return entry
            try:
                await self._wait(call, self._clock.sleep(pause * (1 + self._jitter()) / 2))
            except BaseException:
                self._keeper.let_go(holding)
                raise
            pause = min(PAUSE_MAX, 2 * pause)

    async def _wait(self, call: Call, what: Awaitable[object]) -> None:
        call.step = _WAITING
        try:
            async with self._clock.timeout_at(call.deadline_at):
                await what
        except TimeoutError:
            raise DeadlineExceeded(f"the call's time is used up; the step was: {_WAITING}", is_ours=True) from None

    def _compare(self, first: bytes, payload: bytes) -> None:
        if first != payload:
            self._keeper.count("mismatch")
            raise IdempotencyMismatch(
                "this idempotency key was used for a request with another body; a new operation takes a new key"
            )

    def _refuse_in_flight(self) -> NoReturn:
        self._keeper.count("in_flight")
        raise IdempotencyInFlight(
            "the first call with this idempotency key has not ended; ask again in a moment, for its answer",
            retry_after=RETRY_AFTER,
        )

    def _repeat(self, entry: Entry, payload: bytes) -> Reply:
        """Give what the first call got."""
        self._compare(entry.payload, payload)
        if not entry.status:
            self._refuse_in_flight()
        if entry.answer is None:
            self._keeper.count("not_kept")
            raise IdempotencyNotKept(
                f"the vendor answered the first call with this idempotency key by {entry.status}, so it is not asked"
                " again; that answer is on its way still, was longer than idempotency.answer_max, or broke off:"
                " ask the vendor what came of it"
            )
        self._keeper.count("replayed")
        return repeated(entry.status, entry.answer)

    # The first call.

    async def _send(self, call: Call, holding: Holding) -> Reply:
        """Send it, and keep what comes of it."""
        keeper = self._keeper
        try:
            reply = await self._inner(call)
        except asyncio.CancelledError:  # The app hung up.
            if _was_sent(call):
                keeper.let_go(holding)  # Nobody knows what the vendor does; the claim ends by itself.
            else:
                keeper.begin_to_release(holding)
            raise
        except BaseException:
            await keeper.release(holding)
            raise
        if not self._is_final(reply):
            await keeper.release(holding)
            return reply
        return await self._keep(call, holding, reply)

    def _is_final(self, reply: Reply) -> bool:
        """Whether another try would end the same way, as far as anybody knows."""
        if reply.status >= _FAILURE_FROM or reply.status in self._rules.not_final:
            return False
        advice = reply.advice
        return advice is None or not (advice.is_throttled or advice.should_retry is True)

    async def _keep(self, call: Call, holding: Holding, reply: Reply) -> Reply:
        """Have the answer stored before the app gets it; of a stream, that there was one."""
        rules, keeper, body = self._rules, self._keeper, reply.body
        done = Entry(holding.payload, reply.status)
        try:
            is_whole = await has_whole_body(reply, rules.answer_max, call.deadline_at, self._clock)
            content = await body.ahead(rules.answer_max) if is_whole else b""
        except BaseException:
            keeper.begin_to_keep(holding, done, rules.life)
            raise
        if is_whole:
            await keeper.keep(holding, answered(holding.payload, reply, content), rules.life)
            return reply
        may_fit = body.received_bytes <= rules.answer_max and (body.length is None or body.length <= rules.answer_max)
        start = body.keep_start(rules.answer_max) if may_fit else bytearray()
        call.on_end(partial(self._ended, holding, answered(holding.payload, reply), body, start))
        await keeper.keep(holding, done, rules.life, is_last=False)
        return reply

    def _ended(self, holding: Holding, head: Entry, body: Body, start: bytearray, outcome: Outcome) -> None:  # noqa: ARG002
        """Keep a streamed answer that has come whole, also if its app left before the end."""
        if body.is_complete and not body.is_failed and body.received_bytes == len(start):
            self._keeper.begin_to_keep(holding, completed(head, body, bytes(start)), self._rules.life)
        else:
            self._keeper.let_go(holding)


def _was_sent(call: Call) -> bool:
    """Whether the vendor may have seen the call."""
    return any(record.request_head for record in call.attempts)


def once(rules: OnceRules, keeper: Keeper, clock: Clock, jitter: Callable[[], float]) -> Callable[[Handler], Keyed]:
    """Remember the answers of calls with a key of the app's."""
    return lambda inner: Once(rules, keeper, clock, jitter, inner)
