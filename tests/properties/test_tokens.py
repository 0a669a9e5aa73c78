"""Tokens under any sequence of events: one request at a time, none expired, none thrown away, none before its grant."""

import asyncio
import math
import secrets

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.auth.oauth.renewal import BACKOFF_MAX, TOLD_MAX, WAIT_MIN, Renewal
from sidecar.auth.oauth.rotation import LOST_FOR, Rotation
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.errors import CredentialUnavailable
from tests.auth.oauth.minting import Endpoint, MemoryStore, RotatingEndpoint, Sourced, broken_off, rotation_of
from tests.kit.clock import ManualClock, settle

CHANCES = st.floats(0, 1, exclude_max=True)

# The times.


@given(life=st.floats(1e-3, 3e8), chance=CHANCES)
def test_a_token_is_renewed_in_the_last_third_of_its_life_and_before_its_end(life: float, chance: float) -> None:
    """Whatever its life: never at once, never late, never more than seven and a half minutes early."""
    machine = Renewal(lambda: chance)
    machine.succeeded(0.0, life)
    assert life * 0.69 <= machine.renew_at < life
    assert life - machine.renew_at <= 450 + 1e-6


@given(
    life=st.floats(0.01, 1e6),
    draws=st.lists(st.tuples(CHANCES, st.booleans(), st.none() | st.floats(-10, 1e9)), max_size=60),
)
def test_waits_after_failures_are_bounded_and_cost_no_good_token(
    life: float, draws: list[tuple[float, bool, float | None]]
) -> None:
    """Each is long enough not to hammer, and short enough to notice that an outage is over."""
    chance = 0.0
    machine = Renewal(lambda: chance)
    machine.succeeded(0.0, life)
    now = machine.renew_at
    for drawn, is_final, told in draws:
        chance = drawn
        machine.failed(now, is_final=is_final, retry_after=told)
        wait = machine.next_at - now
        assert WAIT_MIN - 1e-6 <= wait <= max(BACKOFF_MAX, TOLD_MAX) + 1e-6
        assert machine.expires_at == life
        now = machine.next_at
    assert machine.failures == len(draws)


# The source.

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.sampled_from([0.01, 0.3, 1.0, 5.0, 59.0, 300.0, 3000.0, 1e5])),
        st.tuples(st.just("call"), st.sampled_from([0.1, 2.0, 30.0, math.inf])),
        st.tuples(st.just("calls"), st.sampled_from([2.0])),
        st.tuples(st.just("hang up"), st.integers(0, 50)),
        st.tuples(st.just("refuse"), st.just(0)),
        st.tuples(st.just("state"), st.sampled_from(["well", "down", "wrong", "busy"])),
        st.tuples(st.just("life"), st.sampled_from([0.0, 0.5, 5.0, 60.0, 3600.0, math.inf, math.nan, -1.0])),
        st.tuples(st.just("takes"), st.sampled_from([0.0, 0.2, 4.0, 30.0])),
        st.tuples(st.just("encourage"), st.just(0)),
    ),
    max_size=40,
)
STATES = {
    "well": None,
    "down": broken_off(),
    "wrong": TokenRefused("invalid_client", error="invalid_client"),
    "busy": TokenRefused("slow down", is_retryable=True, retry_after=30.0),
}


class World:
    """A source, its endpoint, and the calls that ask it."""

    def __init__(self, clock: ManualClock, chance: float) -> None:
        self.clock = clock
        self.endpoint = Endpoint(clock)
        self.sourced = Sourced(clock, self.endpoint, chance=chance)
        self.calls: list[asyncio.Task[Token | CredentialUnavailable]] = []
        self.refused: set[int] = set()
        self.held: Token | None = None
        self.shortest = self.endpoint.life

    async def call(self, seconds: float) -> Token | CredentialUnavailable:
        """Ask as a call does."""
        began_at = self.clock.now()
        try:
            token = await self.sourced.source.get(began_at + seconds)
        except CredentialUnavailable as error:
            return error
        else:
            self.assert_good(token)
            return token
        finally:
            assert self.clock.now() <= began_at + seconds + 1e-6

    def assert_good(self, token: Token) -> None:
        """Assert that a token may be sent now."""
        assert id(token) not in self.refused
        assert not (token.life > 0 and token.expires_at <= self.clock.now()), "expired"

    async def step(self, word: str, number: float | str) -> None:
        """Play one step."""
        match word, number:
            case "wait", float(seconds):
                # Tokens of half a second over a day are no other thing than over a minute, only longer to watch.
                await self.clock.advance(min(seconds, 100 * self.shortest))
            case "call" | "calls", float(seconds):
                self.calls += [asyncio.create_task(self.call(seconds)) for _ in range(1 if word == "call" else 20)]
                await settle(2)
            case "hang up", int(which) if self.calls:
                self.calls[which % len(self.calls)].cancel()
            case "refuse", _:
                token = self.sourced.source.token(self.clock.now())
                if token is not None and self.sourced.source.drop(token):
                    self.refused.add(id(token))
                    self.held = None
            case "state", str(state):
                self.endpoint.failing = STATES[state]
            case "life", float(seconds):
                self.endpoint.life = seconds
                if seconds > 0:
                    self.shortest = min(self.shortest, seconds)
            case "takes", float(seconds):
                self.endpoint.takes = seconds
            case "encourage", _:
                self.sourced.source.encourage()
            case _:
                pass

    def assert_bounds(self) -> None:
        """Assert what holds at every moment."""
        assert self.endpoint.under_way_max <= 1
        token = self.sourced.source.token(self.clock.now())
        if token is not None:
            self.assert_good(token)
        before, self.held = self.held, token
        if before is not None and token is not before:
            # It went because it expired, or because another one came.
            assert token is not None or before.expires_at <= self.clock.now()


@given(steps=STEPS, chance=CHANCES)
@settings(max_examples=300)
async def test_a_source_serves_what_is_good_whatever_happens(
    steps: list[tuple[str, float | str]], chance: float
) -> None:
    """One request at a time; nobody waits past its deadline; and once the endpoint is well, there is a token."""
    world = World(ManualClock(), chance)
    for word, number in steps:
        await world.step(word, number)
        world.assert_bounds()
    world.endpoint.failing, world.endpoint.takes, world.endpoint.life = None, 0.0, 3600.0
    await world.clock.advance(TOLD_MAX + 60.0)
    assert all(call.done() for call in world.calls)
    for call in world.calls:
        assert call.cancelled() or call.exception() is None
    assert isinstance(await world.call(1.0), Token)
    asked = len(world.endpoint.asked_at)
    assert isinstance(await world.call(1.0), Token)
    assert len(world.endpoint.asked_at) == asked
    await world.sourced.stop()
    assert (len(world.sourced.tasks), world.clock.pending) == (0, 0)


# The rotation.

ROTATION_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("mint"), st.integers(0, 2)),
        st.tuples(st.just("stop"), st.integers(0, 2)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.1, 1.0, 10.0, 4000.0])),
        st.tuples(st.just("reads fail"), st.booleans()),
        st.tuples(st.just("writes fail"), st.booleans()),
        st.tuples(st.just("write's answer is lost"), st.just(0)),
        st.tuples(st.just("other field"), st.just(0)),
        st.tuples(st.just("login"), st.just(0)),
        st.tuples(st.just("takes"), st.sampled_from([0.0, 0.2, 3.0])),
    ),
    max_size=30,
)


class Pods:
    """Three pods with one grant in one store."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.store = MemoryStore(secrets.token_hex(16).encode())
        self.endpoint = RotatingEndpoint(clock, self.store.value)
        self.pods: list[Rotation] = [rotation_of(clock, self.endpoint, self.store) for _ in range(3)]
        self.minting: list[asyncio.Task[bool] | None] = [None] * 3

    async def mint(self, number: int) -> bool:
        """Mint as a source does, one at a time; whatever is given was stored."""
        try:
            token = await self.pods[number].mint()
        except (TokenRefused, CredentialUnavailable):
            return False
        assert token.refresh_token is not None
        assert token.refresh_token.reveal() in self.store.written, "used before it was stored"
        return True

    async def step(self, word: str, number: float) -> None:
        """Play one step."""
        store = self.store
        match word:
            case "mint":
                running = self.minting[int(number)]
                if running is None or running.done():
                    self.minting[int(number)] = asyncio.create_task(self.mint(int(number)))
                    await settle(3)
            case "stop":
                running = self.minting[int(number)]
                # Stopped before it asks, or while it stores: what the vendor's answer held is not lost on the way.
                if running is not None and not self.endpoint.under_way:
                    running.cancel()
            case "wait":
                await self.clock.advance(number)
            case "reads fail":
                store.failing_reads = StoreFailed("vault:crm cannot be read") if number else None
            case "writes fail":
                store.failing_writes = StoreFailed("vault:crm cannot be written") if number else None
            case "write's answer is lost":
                store.loses_answers = True
            case "other field":
                store.change(store.value)
            case "login":
                fresh = secrets.token_hex(16).encode()
                self.endpoint.good.add(fresh)
                store.change(fresh)
            case _:
                self.endpoint.takes = number


@given(steps=ROTATION_STEPS)
@settings(max_examples=150)
async def test_no_token_is_used_before_its_refresh_token_is_stored_and_no_grant_is_lost(
    steps: list[tuple[str, float]],
) -> None:
    """Three pods, a vendor that takes each refresh token once, a store that fails: in the end every pod has a token.

    Only a pod that dies with the sole copy of a new refresh token can lose the grant, and none dies so here.
    """
    pods = Pods(ManualClock())
    for word, number in steps:
        await pods.step(word, number)
    pods.store.failing_reads = pods.store.failing_writes = None
    pods.endpoint.takes = 0.0
    await pods.clock.advance(100.0)
    assert all(task is None or task.done() for task in pods.minting)
    for task in pods.minting:
        assert task is None or task.cancelled() or task.exception() is None
    done: list[bool] = []
    for _ in range(3):  # The one that has the newest in memory stores it; then the others find it.
        done = []
        for number in range(3):
            minting = asyncio.create_task(pods.mint(number))
            await pods.clock.advance(10.0)
            done.append(await minting)
        await pods.clock.advance(LOST_FOR)
    assert done == [True] * 3
    assert [pod.level for pod in pods.pods] == [0] * 3
    assert pods.store.value in pods.endpoint.good
