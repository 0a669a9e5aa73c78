"""Single entries that come at the same time go in few questions, and each is judged by itself."""

import asyncio

import pytest

from sidecar.store.backlog import Bounds, NewEntry
from sidecar.store.base import StoreDown, StoreFull
from sidecar.store.valkey.appending import GROUP_BYTES_MAX, GROUP_MAX, Appending
from tests.kit.clock import settle

WIDE = Bounds(1000, 10**9)


class Server:
    """Answers when it is let, and remembers what it was asked."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.there: set[str] = set()
        self.open = asyncio.Event()
        self.failure: StoreDown | None = None

    async def ask(self, line: str, bounds: Bounds, entries: list[NewEntry]) -> list[object]:
        """Take a group."""
        assert line == "l"
        self.groups.append([entry.id for entry in entries])
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        answers: list[object] = []
        for entry in entries:
            if entry.id in self.there:
                answers.append(1)
            elif len(self.there) >= bounds.length_max:
                answers.append([len(self.there) + 1, 10])
            else:
                self.there.add(entry.id)
                answers.append(0)
        return answers


def new(name: str, size: int = 1) -> NewEntry:
    """An entry."""
    return NewEntry(name, "", b"x" * size)


async def test_what_comes_while_one_is_on_its_way_goes_together() -> None:
    """The first goes at once; the others wait for nobody but it."""
    server = Server()
    appending = Appending(server.ask)
    tasks = [asyncio.create_task(appending.append("l", new(f"{n}"), WIDE)) for n in range(300)]
    await settle()
    server.open.set()
    assert await asyncio.gather(*tasks) == [False] * 300
    sizes = [len(group) for group in server.groups]
    assert sum(sizes) == 300
    assert len(sizes) <= 4
    assert max(sizes) <= GROUP_MAX
    assert [name for group in server.groups for name in group] == [f"{n}" for n in range(300)], "in their order"
    await appending.close(1.0)


async def test_each_is_judged_by_itself() -> None:
    """One that was there, and those that are too many, say so; the others are in."""
    server = Server()
    server.there = {"a"}
    server.open.set()
    appending = Appending(server.ask)
    results = await asyncio.gather(
        *(appending.append("l", new(name), Bounds(3, 99)) for name in "abcde"), return_exceptions=True
    )
    assert results[:3] == [True, False, False]
    assert all(isinstance(result, StoreFull) for result in results[3:])
    assert "length_max of 3" in str(results[3])
    await appending.close(1.0)


async def test_a_large_one_goes_alone() -> None:
    """No question grows without bound."""
    server = Server()
    appending = Appending(server.ask)
    sizes = [1, 1, GROUP_BYTES_MAX, 1, GROUP_BYTES_MAX + 1, 1]
    tasks = [asyncio.create_task(appending.append("l", new(f"{n}", size), WIDE)) for n, size in enumerate(sizes)]
    await settle()
    server.open.set()
    await asyncio.gather(*tasks)
    assert all(sum(sizes[int(name)] for name in group) <= GROUP_BYTES_MAX or len(group) == 1 for group in server.groups)
    await appending.close(1.0)


async def test_a_failure_is_everybodys_own_and_the_next_are_asked_anew() -> None:
    """Nobody waits for ever, and no two raise the same error."""
    server = Server()
    server.failure = StoreDown("it is away")
    server.open.set()
    appending = Appending(server.ask)
    results = await asyncio.gather(
        *(appending.append("l", new(f"{n}"), WIDE) for n in range(5)), return_exceptions=True
    )
    assert all(isinstance(result, StoreDown) for result in results)
    assert len({id(result) for result in results}) == 5
    server.failure = None
    assert await appending.append("l", new("again"), WIDE) is False
    await appending.close(1.0)


async def test_who_goes_away_takes_nobody_along() -> None:
    """What was asked is done, and the others have their answers."""
    server = Server()
    appending = Appending(server.ask)
    leaver, stayer = (asyncio.create_task(appending.append("l", new(name), WIDE)) for name in "ab")
    await settle()
    leaver.cancel()
    server.open.set()
    assert await stayer is False
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert server.there == {"a", "b"}
    await appending.close(1.0)


async def test_a_close_leaves_nobody_waiting() -> None:
    """A server that never answers is given up."""
    server = Server()
    appending = Appending(server.ask)
    tasks = [asyncio.create_task(appending.append("l", new(f"{n}"), WIDE)) for n in range(3)]
    await settle()
    await appending.close(0.0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
