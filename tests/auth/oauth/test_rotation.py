"""A refresh token that is replaced at each use: stored before use, shared by pods, saved where it can be."""

import asyncio
import json
import secrets

import pytest

from sidecar.auth.oauth.rotation import LOST_FOR
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret
from sidecar.telemetry.redact import Redactor
from tests.auth.oauth.minting import (
    MemoryStore,
    RotatingEndpoint,
    Sourced,
    broken_off,
    invalid_grant,
    rotation_of,
)
from tests.kit.clock import ManualClock, settle


@pytest.fixture
def store() -> MemoryStore:
    """A store with a first refresh token."""
    return MemoryStore(secrets.token_hex(16).encode())


@pytest.fixture
def endpoint(clock: ManualClock, store: MemoryStore) -> RotatingEndpoint:
    """An endpoint that takes each refresh token once."""
    return RotatingEndpoint(clock, store.value)


def newest(endpoint: RotatingEndpoint) -> bytes:
    """The refresh token that came with the last token."""
    token = endpoint.made[-1].refresh_token
    assert token is not None
    return token.reveal()


async def test_the_new_refresh_token_is_stored_before_the_token_is_given(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """Whoever dies afterwards, the store is never older than what calls rest on."""
    store.gate = asyncio.Event()
    sourced = Sourced(clock, endpoint, rotation_of(clock, endpoint, store))
    waiting = asyncio.create_task(sourced.get(seconds=5.0))
    await clock.advance(5.0)
    assert endpoint.made
    assert sourced.source.token(clock.now()) is None
    with pytest.raises(CredentialUnavailable, match="the step was: storing the new refresh token"):
        await waiting
    store.gate.set()
    token = await sourced.get()
    assert token is endpoint.made[0]
    assert store.value == newest(endpoint)
    await sourced.stop()


async def test_each_renewal_uses_what_is_stored(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """Three rotations in a row, each with the one before."""
    rotation = rotation_of(clock, endpoint, store)
    shown = [store.value]
    for _ in range(3):
        await rotation.mint()
        shown.append(store.value)
    assert endpoint.shown == shown[:-1]
    assert store.written == shown[1:]
    assert rotation.level == 0


async def test_the_log_masks_the_refresh_tokens_in_use(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """The stored one as soon as it is read, the new one before it is written."""
    redactor = Redactor()
    rotation = rotation_of(clock, endpoint, store, know=redactor.know)
    first = store.value
    store.failing_writes = StoreFailed("vault:crm cannot be written")
    with pytest.raises(CredentialUnavailable):
        await rotation.mint()
    assert redactor.text(first + b" " + newest(endpoint)) == "*** ***"
    rotation.forget()
    assert redactor.text(first) == first.decode()


async def test_an_answer_without_a_refresh_token_keeps_the_stored_one(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """Google, HubSpot and others send none: it is not erased. The same one again is not written either."""
    endpoint.does_rotate = False
    rotation = rotation_of(clock, endpoint, store)
    await rotation.mint()
    same = Secret(store.value, "")
    endpoint.turns = [Token(b"t", got_at=clock.now(), expires_at=clock.now() + 60, refresh_token=same)]
    await rotation.mint()
    assert (store.written, store.number) == ([], 1)


# Other pods.


async def test_another_pod_rotated_first(clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint) -> None:
    """Each pod reads the store before it asks, so they take turns without knowing of each other."""
    pods = [rotation_of(clock, endpoint, store) for _ in range(3)]
    for _ in range(4):
        for pod in pods:
            await pod.mint()
    assert len(set(endpoint.shown)) == 12


async def test_after_invalid_grant_the_store_is_read_again_first(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """The other pod rotated between our reading and our asking: its refresh token is tried once."""
    ours, theirs = rotation_of(clock, endpoint, store), rotation_of(clock, endpoint, store)
    first = store.value
    endpoint.takes = 1.0
    other = asyncio.create_task(theirs.mint())
    await clock.advance(0.1)
    mine = asyncio.create_task(ours.mint())
    await clock.advance(0.9)
    await other
    assert (store.written, endpoint.shown) == ([newest(endpoint)], [first, first])
    await clock.advance(2.0)
    await mine
    assert endpoint.shown[2] == store.written[0]
    assert store.value == newest(endpoint)
    assert ours.level == theirs.level == 0


async def test_the_other_pods_result_is_waited_for_a_little(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """It has its answer, and its write is on the way: that is no lost grant."""
    ours, theirs = rotation_of(clock, endpoint, store), rotation_of(clock, endpoint, store)
    store.gate = asyncio.Event()
    other = asyncio.create_task(theirs.mint())
    await settle()
    mine = asyncio.create_task(ours.mint())
    await clock.advance(1.0)
    assert not mine.done()
    store.gate.set()
    await clock.advance(2.0)
    await other
    await mine
    assert ours.level == 0


async def test_a_grant_that_nobody_replaced_is_lost_and_says_what_helps(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """Told once, visible in the metric; and the dead token is not shown to the vendor on every try."""
    lines: list[dict[str, object]] = []
    rotation = rotation_of(clock, endpoint, store, lambda level, msg, **fields: lines.append({"msg": msg, **fields}))
    endpoint.good.clear()
    minting = asyncio.create_task(rotation.mint())
    await clock.advance(3.0)
    with pytest.raises(TokenRefused, match="run `sidecar login crm`") as caught:
        await minting
    assert caught.value.is_invalid_grant
    assert not caught.value.is_retryable
    assert (rotation.level, rotation.snapshot()["refresh_token"]) == (2, "lost")
    for _ in range(5):
        with pytest.raises(TokenRefused, match="sidecar login"):
            await rotation.mint()
    assert len(endpoint.asked_at) == 1
    assert [line["msg"] for line in lines] == ["grant_lost"]
    assert store.value.decode() not in json.dumps(lines) + str(caught.value)


async def test_a_new_login_revives_a_lost_grant(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """What somebody stored is tried as soon as it is there."""
    rotation = rotation_of(clock, endpoint, store)
    endpoint.good.clear()
    minting = asyncio.create_task(rotation.mint())
    await clock.advance(3.0)
    assert isinstance(minting.exception(), TokenRefused)
    fresh = secrets.token_hex(16).encode()
    endpoint.good.add(fresh)
    store.change(fresh)
    await rotation.mint()
    assert rotation.level == 0


async def test_a_vendor_that_was_wrong_about_a_grant_is_asked_again_later(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """A bad hour of the vendor's must not need a person."""
    rotation = rotation_of(clock, endpoint, store)
    endpoint.turns = [invalid_grant()]
    minting = asyncio.create_task(rotation.mint())
    await clock.advance(3.0)
    assert isinstance(minting.exception(), TokenRefused)
    await clock.advance(LOST_FOR)
    await rotation.mint()
    assert rotation.level == 0


async def test_a_login_during_our_rotation_wins(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """What the store holds is what all pods share; ours was never used, and is given up."""
    fresh = secrets.token_hex(16).encode()
    endpoint.good.add(fresh)
    store.before_write = lambda: store.change(fresh)
    rotation = rotation_of(clock, endpoint, store)
    token = await rotation.mint()
    assert endpoint.shown[1] == fresh
    assert token is endpoint.made[1]
    assert store.value == newest(endpoint)


async def test_another_field_that_changed_is_no_conflict_about_ours(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """Somebody edits the same stored object: the write is done again with its new version."""
    store.before_write = lambda: store.change(store.value)
    rotation = rotation_of(clock, endpoint, store)
    await rotation.mint()
    assert store.value == newest(endpoint)
    assert len(endpoint.asked_at) == 1


async def test_pods_that_replace_each_other_without_end_are_not_followed(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """One conflict is followed up at once; the next waits for the next try."""

    def replace() -> None:
        fresh = secrets.token_hex(16).encode()
        endpoint.good.add(fresh)
        store.change(fresh)
        store.before_write = replace

    store.before_write = replace
    with pytest.raises(CredentialUnavailable, match="others keep replacing"):
        await rotation_of(clock, endpoint, store).mint()
    assert len(endpoint.asked_at) == 2


# What can be saved.


async def test_a_store_that_fails_does_not_lose_the_new_refresh_token(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """It is kept and offered again; the vendor is not asked meanwhile, and the token is not used."""
    sourced = Sourced(clock, endpoint, rotation := rotation_of(clock, endpoint, store))
    store.failing_writes = StoreFailed("vault:crm cannot be written")
    for _ in range(3):
        with pytest.raises(CredentialUnavailable, match="kept in memory until it can be: vault:crm cannot be written"):
            await sourced.get()
        assert (rotation.level, sourced.source.token(clock.now())) == (1, None)
        await clock.advance(30.0)
    store.failing_writes = None
    assert await sourced.get() is endpoint.made[0]
    assert (len(endpoint.asked_at), rotation.level, store.value) == (1, 0, newest(endpoint))
    await sourced.stop()


async def test_a_token_that_expired_before_its_refresh_token_was_stored_is_replaced(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """The chain goes on with the one that was kept in memory."""
    rotation = rotation_of(clock, endpoint, store)
    store.failing_writes = StoreFailed("vault:crm cannot be written")
    with pytest.raises(CredentialUnavailable):
        await rotation.mint()
    kept = newest(endpoint)
    await clock.advance(4000.0)
    store.failing_writes = None
    token = await rotation.mint()
    assert token is endpoint.made[1]
    assert endpoint.shown[1] == kept
    assert store.written == [kept, newest(endpoint)]


async def test_a_write_whose_answer_was_lost_is_recognised(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """The conflict at the next try is with ourselves."""
    rotation = rotation_of(clock, endpoint, store)
    store.loses_answers = True
    with pytest.raises(CredentialUnavailable, match="did not answer"):
        await rotation.mint()
    assert await rotation.mint() is endpoint.made[0]
    assert (len(endpoint.asked_at), rotation.level) == (1, 0)


async def test_a_lost_answer_costs_nothing_where_the_old_one_may_be_used_again(
    clock: ManualClock, store: MemoryStore
) -> None:
    """Within the leeway the next try, here or in the pod that takes over, uses the same refresh token."""
    endpoint = RotatingEndpoint(clock, store.value, leeway=60.0)
    endpoint.loses_answers = 1
    first = store.value
    with pytest.raises(TokenRefused, match="broke off"):
        await rotation_of(clock, endpoint, store).mint()
    successor = rotation_of(clock, endpoint, store)
    await clock.advance(1.0)
    await successor.mint()
    assert endpoint.shown == [first, first]
    assert store.value == newest(endpoint)


async def test_a_stop_in_the_middle_of_the_write_lets_it_land(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """The only copy of the new refresh token is on its way."""
    store.gate = asyncio.Event()
    rotation = rotation_of(clock, endpoint, store)
    minting = asyncio.create_task(rotation.mint())
    await settle()
    minting.cancel()
    await settle()
    assert not minting.done()
    store.gate.set()
    await settle()
    assert minting.cancelled()
    assert store.value == newest(endpoint)
    assert rotation.level == 0


async def test_a_store_that_is_away_does_not_stop_a_vendor_that_does_not_rotate(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """What was read once is still good; an outage of the store hurts as late as possible."""
    endpoint.does_rotate = False
    rotation = rotation_of(clock, endpoint, store)
    await rotation.mint()
    store.failing_reads = StoreFailed("vault:crm cannot be read")
    assert await rotation.mint() is endpoint.made[1]


async def test_a_store_that_is_away_stops_one_that_rotates_before_it_is_asked(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """Its answer could not be stored, and another pod may have rotated meanwhile."""
    rotation = rotation_of(clock, endpoint, store)
    await rotation.mint()
    store.failing_reads = StoreFailed("vault:crm cannot be read")
    with pytest.raises(CredentialUnavailable, match="reading the refresh token failed: vault:crm cannot be read"):
        await rotation.mint()
    assert len(endpoint.asked_at) == 1
    store.failing_reads = None
    await rotation.mint()


async def test_an_endpoint_that_fails_otherwise_is_no_matter_of_the_grant(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """A broken connection says nothing about the refresh token."""
    rotation = rotation_of(clock, endpoint, store)
    endpoint.turns = [broken_off()]
    with pytest.raises(TokenRefused, match="broke off"):
        await rotation.mint()
    assert (rotation.level, store.fetches) == (0, 1)


async def test_the_old_token_is_served_while_the_grant_is_lost(
    clock: ManualClock, store: MemoryStore, endpoint: RotatingEndpoint
) -> None:
    """A lost grant hurts when the last token expires, and not before."""
    sourced = Sourced(clock, endpoint, rotation := rotation_of(clock, endpoint, store))
    first = await sourced.get()
    endpoint.good.clear()
    await clock.advance(3590.0)
    assert rotation.level == 2
    assert await sourced.get() is first
    await clock.advance(100.0)
    failed = asyncio.create_task(sourced.get())
    await clock.advance(3.0)
    assert "sidecar login crm" in str(failed.exception())
    assert len(endpoint.asked_at) == 2
    await sourced.stop()
