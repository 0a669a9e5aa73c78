"""What holds for every secret store, over real servers: the protocol in sidecar/auth/secrets/store.py."""

import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sidecar.auth.secrets.store import SecretStore, StoreConflict, StoreFailed
from sidecar.core.tasks import Tasks
from tests.contract.stores import ALL, STORES, Place
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers

OTHERS = {"text": "1.50", "number": 1.5, "list": [True, None, {"deep": "é"}]}


class Opened(NamedTuple):
    """A place and a store on it."""

    place: Place
    store: SecretStore

    def named(self, name: str) -> str:
        """Give a path of this kind of store."""
        return f"{self.place.folder_name}{self.place.slash}{name}"

    @property
    def path(self) -> str:
        """The path that most tests use."""
        return self.named("stripe")


@contextlib.asynccontextmanager
async def opening(kind: type[Place], servers: Servers, folder: Path, clock: ManualClock) -> AsyncIterator[Opened]:
    """A store on an empty place of its own."""
    place = kind(servers.get(kind.serve), folder, clock)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(place.stop)
        store = await place.start()
        stack.push_async_callback(store.close)
        yield Opened(place, store)


@pytest.fixture(params=STORES, ids=lambda place: place.name)
async def opened(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Opened]:
    """Each store whose values somebody writes in turn, empty."""
    async with opening(request.param, servers, tmp_path, clock) as opened:
        yield opened


@pytest.fixture(params=ALL, ids=lambda place: place.name)
async def any_opened(
    request: pytest.FixtureRequest, servers: Servers, tmp_path: Path, clock: ManualClock
) -> AsyncIterator[Opened]:
    """Each store in turn, also one that makes its values by itself."""
    async with opening(request.param, servers, tmp_path, clock) as opened:
        yield opened


def fresh() -> str:
    """A value that stands nowhere else."""
    return secrets.token_hex(16)


async def fields(opened: Opened, name: str = "stripe") -> Any:
    """What the store gives, read as an object."""
    return json.loads((await opened.store.fetch(opened.named(name))).reveal())


async def test_what_was_written_is_fetched_as_an_object(opened: Opened) -> None:
    """Field selection is the caller's, so every kind of store gives the whole object."""
    value = {"api_key": fresh(), "other": 'quotes " and é \n'}
    await opened.place.write(opened.path, value)
    assert await fields(opened) == value


async def test_a_version_stays_while_the_value_stays(any_opened: Opened) -> None:
    """Otherwise each poll would be a rotation."""
    await any_opened.place.write(any_opened.path, {"api_key": fresh()})
    first = await any_opened.store.fetch(any_opened.path)
    assert first.version
    assert (await any_opened.store.fetch(any_opened.path)).version == first.version
    assert not await any_opened.store.has_changed(any_opened.path, first.version)


async def test_a_rotation_is_seen_by_its_version(opened: Opened) -> None:
    """The old version has changed, the new one has not."""
    await opened.place.write(opened.path, {"api_key": fresh()})
    first = await opened.store.fetch(opened.path)
    rotated = {"api_key": fresh()}
    await opened.place.write(opened.path, rotated)
    assert await opened.store.has_changed(opened.path, first.version)
    second = await opened.store.fetch(opened.path)
    assert second.version != first.version
    assert json.loads(second.reveal()) == rotated
    assert not await opened.store.has_changed(opened.path, second.version)


async def test_neither_version_nor_repr_tells_the_value(any_opened: Opened) -> None:
    """They stand in log lines."""
    await any_opened.place.write(any_opened.path, {"api_key": fresh()})
    secret = await any_opened.store.fetch(any_opened.path)
    values = json.loads(secret.reveal()).values()
    assert values
    assert [value for value in values if value in secret.version or value in repr(secret)] == []


async def test_what_is_not_there_is_told_with_its_path(any_opened: Opened) -> None:
    """The operator looks for the typing error by it."""
    with pytest.raises(StoreFailed, match=any_opened.named("missing")):
        await any_opened.store.fetch(any_opened.named("missing"))


async def test_what_was_removed_has_changed_and_cannot_be_fetched(opened: Opened) -> None:
    """So it is read, and the reading says what is wrong."""
    await opened.place.write(opened.path, {"api_key": fresh()})
    version = (await opened.store.fetch(opened.path)).version
    await opened.place.remove(opened.path)
    assert await opened.store.has_changed(opened.path, version)
    with pytest.raises(StoreFailed, match=opened.path):
        await opened.store.fetch(opened.path)


@pytest.mark.parametrize("path", ["../outside", "production/../../sys/mounts", "a/../b", ".."])
async def test_a_path_does_not_lead_out(path: str, any_opened: Opened) -> None:
    """A reference names something in this store."""
    with pytest.raises(StoreFailed):
        await any_opened.store.fetch(path)
    with pytest.raises(StoreFailed):
        await any_opened.store.put(path, "api_key", b"value", "")


async def test_put_writes_one_field_and_keeps_the_others(opened: Opened) -> None:
    """A rotated refresh token stands beside the client secret."""
    kept = {"client_secret": fresh(), "others": OTHERS}
    await opened.place.write(opened.path, {"refresh_token": fresh(), **kept})
    before = await opened.store.fetch(opened.path)
    token = fresh()
    version = await opened.store.put(opened.path, "refresh_token", token.encode(), before.version)
    after = await opened.store.fetch(opened.path)
    assert json.loads(after.reveal()) == {"refresh_token": token, **kept}
    assert after.version == version != before.version
    assert not await opened.store.has_changed(opened.path, version)


async def test_put_adds_a_field_that_was_not_there(opened: Opened) -> None:
    """A login writes its first refresh token."""
    await opened.place.write(opened.path, {"client_id": "pod"})
    token = fresh()
    await opened.store.put(
        opened.path, "refresh_token", token.encode(), (await opened.store.fetch(opened.path)).version
    )
    assert await fields(opened) == {"client_id": "pod", "refresh_token": token}


async def test_put_without_a_field_writes_the_whole(opened: Opened) -> None:
    """The whole is an object in every store."""
    await opened.place.write(opened.path, {"refresh_token": fresh(), "old": "1"})
    whole = {"refresh_token": fresh()}
    version = (await opened.store.fetch(opened.path)).version
    await opened.store.put(opened.path, None, json.dumps(whole).encode(), version)
    assert await fields(opened) == whole


async def test_put_of_the_second_writer_is_a_conflict(opened: Opened) -> None:
    """Another pod rotated in between; its value stands, and ours is not written."""
    await opened.place.write(opened.path, {"refresh_token": fresh()})
    version = (await opened.store.fetch(opened.path)).version
    theirs = {"refresh_token": fresh()}
    await opened.place.write(opened.path, theirs)
    ours = fresh()
    with pytest.raises(StoreConflict, match=opened.path) as conflict:
        await opened.store.put(opened.path, "refresh_token", ours.encode(), version)
    assert ours not in str(conflict.value)
    assert await fields(opened) == theirs


async def test_a_whole_is_compared_too_before_it_is_written(opened: Opened) -> None:
    """Here nothing has to be read first, so it is the server alone that compares, where it can."""
    await opened.place.write(opened.path, {"refresh_token": fresh()})
    version = (await opened.store.fetch(opened.path)).version
    theirs = {"refresh_token": fresh()}
    await opened.place.write(opened.path, theirs)
    for stale in (version, ""):
        with pytest.raises(StoreConflict, match=opened.path):
            await opened.store.put(opened.path, None, json.dumps({"refresh_token": fresh()}).encode(), stale)
    assert await fields(opened) == theirs


async def test_two_puts_one_after_the_other_go_on_from_each_others_version(opened: Opened) -> None:
    """A put gives the version for the next, with no reading in between."""
    await opened.place.write(opened.path, {"refresh_token": fresh()})
    version = (await opened.store.fetch(opened.path)).version
    tokens = [fresh(), fresh()]
    for token in tokens:
        version = await opened.store.put(opened.path, "refresh_token", token.encode(), version)
    assert await fields(opened) == {"refresh_token": tokens[1]}


async def test_put_creates_only_what_is_not_there(opened: Opened) -> None:
    """The empty version says that nothing is expected."""
    token = fresh()
    version = await opened.store.put(opened.named("new"), "refresh_token", token.encode(), "")
    assert (await opened.store.fetch(opened.named("new"))).version == version
    with pytest.raises(StoreConflict):
        await opened.store.put(opened.named("new"), "refresh_token", fresh().encode(), "")
    assert await fields(opened, "new") == {"refresh_token": token}


async def test_of_two_pods_that_put_at_once_one_wins(opened: Opened) -> None:
    """Each has a store of its own; the loser is told, and the winner's value stands."""
    if not opened.place.has_check_and_set:
        pytest.skip("this kind of store cannot compare and set, and its docstring says so")
    await opened.place.write(opened.path, {"refresh_token": fresh()})
    version = (await opened.store.fetch(opened.path)).version
    pods = [opened.store, await opened.place.start()]
    await pods[1].fetch(opened.path)
    tokens = [fresh(), fresh()]
    tasks = Tasks()
    puts = [
        tasks.spawn(pod.put(opened.path, "refresh_token", token.encode(), version), "put")
        for pod, token in zip(pods, tokens, strict=True)
    ]
    results = [await _result(put) for put in puts]
    await pods[1].close()
    assert [type(result) for result in results if isinstance(result, Exception)] == [StoreConflict]
    (winner,) = [token for token, result in zip(tokens, results, strict=True) if isinstance(result, str)]
    assert await fields(opened) == {"refresh_token": winner}


async def test_an_outage_is_told_and_its_end_needs_no_restart(opened: Opened) -> None:
    """The sentence is for the log; no value stands in it."""
    value = fresh()
    await opened.place.write(opened.path, {"api_key": value})
    version = (await opened.store.fetch(opened.path)).version
    await opened.place.break_off()
    for _ in range(2):
        with pytest.raises(StoreFailed) as failure:
            await opened.store.fetch(opened.path)
        assert value not in str(failure.value)
        assert failure.value.__cause__ is None
    with pytest.raises(StoreFailed):
        await opened.store.put(opened.path, "api_key", fresh().encode(), version)
    await opened.place.heal()
    assert await fields(opened) == {"api_key": value}
    assert not await opened.store.has_changed(opened.path, version)


async def test_an_outage_at_the_start_is_over_when_it_is_over(any_opened: Opened) -> None:
    """The pod may be there before its store."""
    await any_opened.place.write(any_opened.path, {"api_key": "here"})
    await any_opened.place.break_off()
    with pytest.raises(StoreFailed):
        await any_opened.store.fetch(any_opened.path)
    await any_opened.place.heal()
    read = await fields(any_opened)
    assert read == {"api_key": "here"} or (read and not any_opened.place.is_written)


async def test_the_value_before_the_current_one_can_be_read(opened: Opened) -> None:
    """In the middle of a rotation the vendor may know only the old one."""
    if not opened.place.has_previous:
        pytest.skip("this kind of store keeps no version but the current one")
    fetch_previous = opened.store.fetch_previous  # type: ignore[attr-defined]  # Not of every store.
    first = {"api_key": fresh()}
    await opened.place.write(opened.path, first)
    assert await fetch_previous(opened.path) is None
    await opened.place.write(opened.path, {"api_key": fresh()})
    previous = await fetch_previous(opened.path)
    assert json.loads(previous.reveal()) == first
    assert previous.version != (await opened.store.fetch(opened.path)).version


async def test_a_store_says_how_often_it_may_be_asked(any_opened: Opened) -> None:
    """Files every second, servers seldom; and a value outlives some failed questions."""
    assert any_opened.store.poll_s >= 1
    assert any_opened.store.stale_max >= any_opened.store.poll_s


async def test_a_store_that_was_never_asked_is_closed(any_opened: Opened) -> None:
    """A reload may replace it before it was used."""
    unused = await any_opened.place.start()
    await unused.close()
    await any_opened.place.write(any_opened.path, {"key": "made-up"})
    assert (await any_opened.store.fetch(any_opened.path)).reveal()  # The others go on.


async def _result(put: Any) -> Any:
    try:
        return await put
    except StoreFailed as failure:
        return failure
