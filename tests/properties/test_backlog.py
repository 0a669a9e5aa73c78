"""Backlog: any sequence of questions is answered by every store as a plain list would answer it."""

import asyncio
import tempfile
from collections.abc import Collection
from math import inf
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.store.backlog import RUNNING, UNFINISHED, WAITING, Backlog, Bounds, Entry, NewEntry, Settlement
from sidecar.store.base import StoreFull
from tests.contract.state_stores import InMemory, InSqlite, InValkey, Place, new_place
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers

LEASE = 15.0  # Time passes in tens, so an end of a lease and an instant when something is due are never the same.
BOUNDS = Bounds(5, 70)
STATES = [WAITING, "done", "failed"]


class Listed:
    """An entry of the model."""

    def __init__(self, new: NewEntry, now: float) -> None:
        self.new = new
        self.also = new.also
        self.state = WAITING
        self.created_at = now
        self.wanted_at = now + new.delay
        self.ends_at = inf  # Of its lease.
        self.settled_at: float | None = None
        self.holder = ""
        self.attempts = 0
        self.is_ahead = False


class Model:
    """What the protocol says, told with a list."""

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self.now = 0.0
        self.entries: list[Listed] = []

    def find(self, name: str) -> Listed | None:
        """Give the one of an id."""
        return next((entry for entry in self.entries if entry.new.id == name), None)

    def knows(self, new: NewEntry) -> bool:
        """Whether it is there, by its id or as another's second; a nameless one of its second id takes its id."""
        if any(new.id in {entry.new.id, entry.also} for entry in self.entries):
            return True
        nameless = self.find(new.also) if new.also else None
        if nameless is None or nameless.also:
            return False
        nameless.also = new.id
        return True

    def unfinished(self) -> list[Listed]:
        """Those that have not ended."""
        return [entry for entry in self.entries if entry.state in UNFINISHED]

    def due_at(self, entry: Listed) -> float | None:
        """When it may be claimed."""
        first = next((one for one in self.unfinished() if one.new.key == entry.new.key), None)
        is_due = not entry.new.key or entry.is_ahead or first is entry
        return entry.wanted_at if entry.state == WAITING and is_due else None

    def append(self, entries: list[NewEntry]) -> set[str] | None:
        """Append; None where it is full."""
        new = {entry.id: entry for entry in reversed(entries) if not self.knows(entry)}
        after = [entry.new for entry in self.unfinished()] + list(new.values())
        if new and (len(after) > BOUNDS.length_max or sum(entry.size for entry in after) > BOUNDS.bytes_max):
            return None
        there = {entry.id for entry in entries} - new.keys()
        for entry in entries:
            if entry.id in new:
                self.entries.append(Listed(new.pop(entry.id), self.now))
        return there

    def release(self, entry: Listed) -> None:
        """End a claim that has not been kept."""
        if entry.state == RUNNING and entry.ends_at <= self.now:
            entry.state = WAITING

    def claim(self, holder: str, count: int, claimed: list[Entry]) -> None:
        """Hold what was claimed to what was due: of several that were due at one time any may come first."""
        for entry in self.entries:
            self.release(entry)
        due = {entry.new.id: at for entry in self.entries if (at := self.due_at(entry)) is not None and at <= self.now}
        assert [due[entry.id] for entry in claimed] == sorted(due.values())[:count]
        for one in claimed:
            entry = self.held_by(one.id)
            entry.state, entry.holder, entry.ends_at = RUNNING, holder, self.now + self.lease
            entry.attempts += 1

    def held_by(self, name: str) -> Listed:
        """Give one that must be there."""
        found = self.find(name)
        assert found is not None
        return found

    def held(self, name: str, holder: str) -> Listed | None:
        """Give it if it is the holder's."""
        entry = self.find(name)
        return entry if entry is not None and entry.state == RUNNING and entry.holder == holder else None

    def movable(self, name: str, states: Collection[str]) -> Listed | None:
        """Give it if people may touch it."""
        entry = self.find(name)
        if entry is not None:
            self.release(entry)
        return entry if entry is not None and entry.state in states and entry.state != RUNNING else None

    def change(self, entry: Listed, state: str, delay: float, *, is_moved: bool) -> None:
        """Bring it to a state."""
        entry.state = state
        if state == WAITING:
            entry.wanted_at, entry.settled_at = self.now + delay, None
            entry.is_ahead = entry.is_ahead or is_moved
        else:
            entry.settled_at = self.now if entry.settled_at is None else entry.settled_at
            entry.is_ahead = False

    def purge(self, state: str, older_than: float, count: int) -> int:
        """Take away what ended."""
        before = self.now - older_than
        of_state = [one for one in self.entries if one.state == state and one.settled_at is not None]
        return min(count, len([one for one in of_state if one.settled_at is not None and one.settled_at <= before]))


NAMES = st.sampled_from("abcdefg")
HOLDERS = st.sampled_from(["w", "v"])
NEW = st.builds(
    NewEntry, NAMES, st.sampled_from(["", "k", "k", "}"]), st.sampled_from([b"", b"head"]),
    st.sampled_from([b"", b"x" * 20]), st.sampled_from([0.0, 0.0, 10.0, 20.0]),
    st.just(""),
)  # fmt: skip
NAMED = NAMES.flatmap(lambda name: NAMES.map(lambda also: NewEntry(name, "", b"", also=also)))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(NEW, min_size=1, max_size=3)),
        st.tuples(st.just("append"), st.lists(NAMED, min_size=1, max_size=1)),
        st.tuples(st.just("claim"), HOLDERS, st.integers(1, 3)),
        st.tuples(st.just("settle"), NAMES, HOLDERS, st.sampled_from(STATES), st.sampled_from([0.0, 10.0])),
        st.tuples(st.just("move"), NAMES, st.sets(st.sampled_from(STATES)), st.sampled_from(STATES)),
        st.tuples(st.just("discard"), NAMES, st.sets(st.sampled_from(STATES))),
        st.tuples(st.just("keep"), st.sets(NAMES), HOLDERS),
        st.tuples(st.just("purge"), st.sampled_from(STATES), st.sampled_from([-1.0, 5.0, 15.0]), st.integers(1, 3)),
        st.tuples(st.just("pass"), st.sampled_from([10.0, 20.0])),
    ),
    min_size=5,
    max_size=40,
)


async def ask(backlog: Backlog, model: Model, place: Place, step: tuple[object, ...]) -> None:
    """Ask both, and hold the answers to each other."""
    match step:
        case ("append", list(entries)):
            try:
                answer = await backlog.append("l", entries, BOUNDS)
            except StoreFull:
                assert model.append(entries) is None
            else:
                assert model.append(entries) == answer
        case ("claim", str(holder), int(count)):
            model.claim(holder, count, await backlog.claim("l", holder, count, LEASE))
        case ("settle", str(name), str(holder), str(state), float(delay)):
            held = model.held(name, holder)
            assert await backlog.settle("l", name, holder, Settlement(state, delay)) == (held is not None)
            if held is not None:
                model.change(held, state, delay, is_moved=False)
        case ("move", str(name), set(states), str(to)):
            movable = model.movable(name, states)
            assert await backlog.move("l", name, states, to) == (movable is not None)
            if movable is not None:
                model.change(movable, to, 0.0, is_moved=True)
        case ("discard", str(name), set(states)):
            movable = model.movable(name, states)
            assert await backlog.discard("l", name, states) == (movable is not None)
            if movable is not None:
                model.entries.remove(movable)
        case ("keep", set(names), str(holder)):
            kept = {name: held for name in names if (held := model.held(name, holder)) is not None}
            assert await backlog.keep("l", names, holder, LEASE) == kept.keys()
            for entry in kept.values():
                entry.ends_at = model.now + model.lease
        case ("purge", str(state), float(older_than), int(count)):
            assert await backlog.purge("l", state, older_than, count) == model.purge(state, older_than, count)
            there = {entry.id for entry in await backlog.find("l", None, "", 99)}
            model.entries = [entry for entry in model.entries if entry.new.id in there or entry.settled_at is None]
        case ("pass", float(seconds)):
            await place.pass_time(seconds)
            model.now += seconds
        case _:
            raise AssertionError(step)


async def compare(backlog: Backlog, model: Model) -> None:
    """See that both show the same."""
    shown = await backlog.find("l", None, "", 99)
    assert [entry.id for entry in shown] == [entry.new.id for entry in reversed(model.entries)]
    for entry, listed in zip(shown, reversed(model.entries), strict=True):
        assert (entry.state, entry.attempts, entry.key) == (listed.state, listed.attempts, listed.new.key), entry.id
        due_at = model.due_at(listed)
        assert (entry.due_at is None) == (due_at is None), entry.id
        if entry.due_at is not None and due_at is not None:
            assert abs(entry.due_at - entry.created_at - (due_at - listed.created_at)) < 5
        assert (entry.settled_at is None) == (listed.settled_at is None)
    for state in [*STATES, RUNNING]:
        assert await backlog.find("l", state, "", 99) == [entry for entry in shown if entry.state == state]
    tally = await backlog.tally("l")
    assert sum(tally.states.values()) == len(shown)
    assert all(sum(entry.state == state for entry in shown) == count for state, count in tally.states.items())
    assert tally.bytes == sum(entry.new.size for entry in model.unfinished())
    assert (tally.oldest_at is None) == (not model.unfinished())
    times = [at for entry in model.entries if (at := model.due_at(entry)) is not None]
    times += [entry.ends_at for entry in model.entries if entry.state == RUNNING and entry.ends_at < inf]
    left = await backlog.next_due("l")
    assert (left is None) == (not times)
    if left is not None:
        assert abs(left - max(0.0, min(times) - model.now)) < 5


async def play(kind: type[Place], servers: Servers, steps: list[tuple[object, ...]]) -> None:
    """Play a sequence."""
    with tempfile.TemporaryDirectory() as folder:
        place = await new_place(kind, servers, Path(folder), ManualClock())
        store = await asyncio.to_thread(place.make)
        await store.open()
        model = Model(LEASE if kind is InValkey else inf)
        try:
            for step in steps:
                await ask(store.backlog, model, place, step)
                await compare(store.backlog, model)
        finally:
            await store.close()


def run(kind: type[Place], servers: Servers, steps: list[tuple[object, ...]]) -> None:
    """Play it in a loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play(kind, servers, steps))


@settings(max_examples=150)
@given(steps=STEPS)
def test_memory_answers_as_a_list_would(servers: Servers, steps: list[tuple[object, ...]]) -> None:
    """Order, states, counts and times."""
    run(InMemory, servers, steps)


@pytest.mark.parametrize("kind", [InSqlite, InValkey], ids=lambda kind: kind.name)
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps=STEPS)
def test_so_do_the_others(servers: Servers, kind: type[Place], steps: list[tuple[object, ...]]) -> None:
    """The same, with fewer examples, since each asks a disk or a server."""
    run(kind, servers, steps)
