"""Stores under any sequence of questions: nobody's answer depends on who else is in the group, and room is counted."""

import asyncio
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.units import Size
from sidecar.store.base import StoreFailed, StoreFull
from sidecar.store.config import StoreConfig
from sidecar.store.memory import RECORD_BYTES, MemoryRecords
from sidecar.store.memory_room import Room
from sidecar.store.sqlite.store import SqliteStore
from sidecar.store.valkey.reach import PAUSE_MAX, PAUSE_MIN, Reach
from tests.kit.clock import ManualClock

ROOM = 2**20
LIFE = 1e6
KEYS = st.sampled_from("abcdef")
QUESTIONS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 300_000)),
    st.tuples(st.just("put new"), KEYS, st.integers(0, 300_000)),
    st.tuples(st.just("delete"), KEYS, st.just(0)),
    st.tuples(st.just("get"), KEYS, st.just(0)),
    st.tuples(st.just("wrong"), KEYS, st.just(0)),
)
GROUPS = st.lists(st.lists(QUESTIONS, max_size=12), max_size=4)


async def ask(store: SqliteStore, kind: str, key: str, size: int) -> Any:
    """Ask one question, and give its answer or its error."""

    def wrong(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM records")
        raise ZeroDivisionError

    records = store.records
    try:
        match kind:
            case "put":
                return await records.put(key, b"x" * size, LIFE)
            case "put new":
                return await records.put(key, b"x" * size, LIFE, over=0)
            case "delete":
                return await records.delete(key)
            case "get":
                return await records.get(key)
            case _:
                return await store._file.run(wrong)
    except (StoreFailed, ZeroDivisionError) as error:
        return error


def hold(there: dict[str, int], kind: str, key: str, size: int, answer: Any) -> None:
    """Hold an answer to what is there, and note what it changed."""
    match kind:
        case "wrong":
            assert isinstance(answer, ZeroDivisionError)
        case "delete":
            assert answer is (there.pop(key, None) is not None)
        case "get":
            assert (None if answer is None else len(answer.value)) == there.get(key)
        case "put new" if key in there:
            assert answer is None
        case _ if isinstance(answer, StoreFull):
            assert sum(there.values()) + size > ROOM / 3  # Nothing small is refused while there is room.
        case _:
            assert isinstance(answer, int)
            there[key] = size


@settings(max_examples=60)
@given(GROUPS)
def test_a_group_answers_as_if_each_had_asked_alone(groups: list[list[tuple[str, str, int]]]) -> None:
    """In order, with others that raise or do not fit between them; and what was answered is there after a restart."""

    async def run(path: str) -> None:
        config = StoreConfig(kind="sqlite", bytes_max=Size(ROOM))
        there: dict[str, int] = {}
        for group in groups:
            store = SqliteStore(config, path, ManualClock(), lambda *_, **__: None)
            await store.open()
            answers = await asyncio.gather(*(ask(store, *question) for question in group))
            for question, answer in zip(group, answers, strict=True):
                hold(there, *question, answer)
            await store.close()
        store = SqliteStore(config, path, ManualClock(), lambda *_, **__: None)
        await store.open()
        for key in "abcdef":
            record = await store.records.get(key)
            assert (None if record is None else len(record.value)) == there.get(key)
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(str(Path(folder) / "state.db")))


MEMORY = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "pass"]), KEYS, st.integers(0, 600), st.floats(0.1, 50)), max_size=80
)


@given(MEMORY)
def test_memory_counts_its_bytes_and_stays_below_its_bound(steps: list[tuple[str, str, int, float]]) -> None:
    """Whatever is written anew, taken away or ended; what ended makes room for what comes."""
    bytes_max = 2_500

    async def run() -> None:
        clock = ManualClock()
        room = Room(bytes_max)
        records = MemoryRecords(room, clock)
        there: dict[str, tuple[int, float]] = {}  # Size and end.
        for kind, key, size, seconds in steps:
            there = {name: one for name, one in there.items() if one[1] > clock.now()}
            if kind == "pass":
                clock.tick(seconds)
            elif kind == "delete":
                assert await records.delete(key) is (there.pop(key, None) is not None)
            else:
                others = sum(one[0] + RECORD_BYTES + 1 for name, one in there.items() if name != key)
                try:
                    await records.put(key, b"x" * size, seconds)
                    there[key] = (size, clock.now() + seconds)
                except StoreFull:
                    assert others + RECORD_BYTES + 1 + size > bytes_max
            assert room.used_bytes <= bytes_max
            assert room.used_bytes >= sum(one[0] + RECORD_BYTES + 1 for one in there.values() if one[1] > clock.now())
            assert len(records._ends) <= 2 * len(records._there) + 65

    asyncio.run(run())


@given(st.lists(st.floats(0, 1, exclude_max=True), max_size=40))
def test_the_pauses_between_looks_grow_and_are_bounded(chances: list[float]) -> None:
    """The first look is at once; then each pause is within its half of twice the one before."""
    reach = Reach()
    assert reach.failed("away")
    assert not reach.failed("away still")
    for number, chance in enumerate(chances):
        pause = reach.pause(chance)
        if number == 0:
            assert pause == 0
        else:
            whole = min(PAUSE_MAX, PAUSE_MIN * 2 ** (number - 1))
            assert whole / 2 <= pause <= whole
    reach.answered()
    assert reach.is_up
    assert reach.problem == ""
    assert reach.pause(0.5) == 0
