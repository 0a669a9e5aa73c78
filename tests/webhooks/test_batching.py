"""Many events in one delivery: how a batch fills, and what the app's answer means for each."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.secret import SecretRef
from sidecar.store.backlog import RUNNING, Entry
from sidecar.webhooks.batching import LINES, Basket, Batches, answers_of
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.delivery import Means
from sidecar.webhooks.event import Head, encode
from sidecar.webhooks.taker import Said
from sidecar.webhooks.target import Target
from sidecar.working.verdict import Ended
from tests.kit.clock import ManualClock, settle

HEAD = encode(Head([], "t", None, "r", b""))


def entry(name: str, body: bytes = b"{}") -> Entry:
    """An event that was claimed."""
    return Entry(f"crm.{name}", "", RUNNING, HEAD, body, b"", 1, 1.0, None, None)


class Posts:
    """An app that holds each batch until it is let go."""

    def __init__(self, said: Said = Said(204)) -> None:  # noqa: B008 - it does not change
        self.said = said
        self.batches: list[list[str]] = []
        self.may = asyncio.Event()

    async def post(self, _: Target, __: Any, body: bytes, ___: float, ____: int) -> Said:
        """Take one."""
        self.batches.append([json.loads(line)["id"] for line in body.splitlines()])
        await self.may.wait()
        return self.said


def batches(clock: ManualClock, posts: Any, size: int = 3, concurrency: int = 1) -> tuple[Batches, list[str]]:
    """Deliveries by so many, and the list of their results."""
    config = WebhookConfig(
        secret=SecretRef("files:x"), deliver_to=Target("http://127.0.0.1:1/x"), deliver_batch=size,
        concurrency=concurrency,
    )  # fmt: skip
    results: list[str] = []
    return Batches(config, None, Means(clock, lambda: 0.0, posts, results.append)), results


async def test_a_batch_goes_when_it_is_full_and_the_next_fills_while_it_waits_for_a_place() -> None:
    """Seven events by three: the last one does not wait for two more for ever."""
    clock, posts = ManualClock(), Posts()
    posts.may.set()
    it, results = batches(clock, posts)
    turns = [asyncio.create_task(it.run(entry(str(n)), 0)) for n in range(7)]
    await settle()
    assert [len(batch) for batch in posts.batches] == [3, 3]
    await clock.advance(0.03)
    ended: list[Ended] = await asyncio.gather(*turns)
    assert [len(batch) for batch in posts.batches] == [3, 3, 1]
    assert {one.settlement.state for one in ended} == {"delivered"}
    assert results == ["delivered"] * 7


async def test_no_more_posts_are_under_way_than_may_be() -> None:
    """While all places are taken, a batch fills."""
    clock, posts = ManualClock(), Posts()
    it, _ = batches(clock, posts, concurrency=2)
    turns = [asyncio.create_task(it.run(entry(str(n)), 0)) for n in range(12)]
    await settle()
    await clock.advance(1)
    assert len(posts.batches) == 2
    posts.may.set()
    await asyncio.gather(*turns)
    assert [len(batch) for batch in posts.batches] == [3, 3, 3, 3]


async def test_who_is_cut_off_leaves_nobody_waiting() -> None:
    """The one that carries the batch is cancelled, as at the end of a drain: the others are tried again."""
    clock, posts = ManualClock(), Posts()
    it, _ = batches(clock, posts)
    turns = [asyncio.create_task(it.run(entry(str(n)), 0)) for n in range(3)]
    await settle()
    turns[0].cancel()
    assert [(await turn).settlement.state for turn in turns[1:]] == ["waiting", "waiting"]
    posts.may.set()
    after = asyncio.create_task(it.run(entry("9"), 0))
    await settle()
    await clock.advance(0.03)
    assert (await after).settlement.state == "delivered", "its place was given back"


def test_large_bodies_fill_a_batch() -> None:
    """So much goes at once, and no more."""

    async def fill() -> None:
        basket = Basket(100)
        basket.put(entry("1", bytes(5 * 2**20)))
        assert not basket.filled.is_set()
        basket.put(entry("2", bytes(5 * 2**20)))
        assert basket.filled.is_set()

    asyncio.run(fill())


def test_each_event_has_its_own_answer() -> None:
    """What has none is tried again; a plain 2xx takes all, and another status none."""
    lines = b'{"id":"a","status":200}\n{"id":"b","status":500,"retry_after":30}\nnonsense\n{"id":"c","status":9}\n'
    found, otherwise = answers_of(Said(200, lines, kind=LINES[0]))
    assert found["a"].is_done
    assert (found["b"].status, found["b"].retry_after) == (500, 30)
    assert found["c"].status == 500
    assert not otherwise.is_done
    assert answers_of(Said(200, b"OK", kind="text/plain")) == ({}, Said(200, b"OK", kind="text/plain"))
    assert answers_of(Said(503, lines, kind=LINES[0]))[0] == {}


@given(st.binary(max_size=200) | st.lists(st.from_regex(r'\{"id":"[ab]","status":-?[0-9]{1,4}\}', fullmatch=True)))
def test_no_answer_breaks_the_reading_and_none_is_done_without_a_2xx(said: Any) -> None:
    """Whatever the app says."""
    body = said if isinstance(said, bytes) else "\n".join(said).encode()
    found, otherwise = answers_of(Said(200, body, kind=LINES[1]))
    assert not otherwise.is_done
    assert {one.status for one in found.values()} <= set(range(100, 600))
    assert all(one.error or one.is_done for one in found.values())
