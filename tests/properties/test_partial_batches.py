"""Batches against a vendor that fails at will: each item's answer is its own last one, and no success goes again."""

import asyncio
import json
from typing import Any

import uvloop
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import Body
from sidecar.core.call import Reply
from sidecar.core.errors import UpstreamReset
from sidecar.core.outcome import Outcome
from sidecar.layers.batch.config import BatchConfig
from tests.kit.clock import ManualClock
from tests.layers.batch.scripted import JSON, Sendings, failed_header, ids, results
from tests.layers.calls import read_all

RETRYABLE = "status == `503`"
TURNS = ["fair", "fair", "fair", "fair", "shuffled", "short", "long", "twice", "foreign", "broken", "error", "garbage"]


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, bool, list[tuple[str, list[int]]]]:
    """Draw how many items there are, whether they have ids, and for each sending its kind and the items' statuses."""
    count = draw(st.integers(1, 8))
    turn = st.tuples(
        st.sampled_from(TURNS), st.lists(st.sampled_from([200, 201, 400, 503, 503]), min_size=count, max_size=count)
    )
    return count, draw(st.booleans()), draw(st.lists(turn, min_size=1, max_size=6))


@given(plans())
def test_each_item_has_its_own_last_answer(plan: tuple[int, bool, list[tuple[str, list[int]]]]) -> None:
    """Whatever the vendor does, in its order or another, and however an answer breaks."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check(*plan))


async def check(count: int, has_ids: bool, turns: list[tuple[str, list[int]]]) -> None:
    """Play a plan, and hold what came of it against what the vendor said."""
    clock = ManualClock()
    known: dict[int, tuple[int, int]] = {}  # By item: the number of the sending that answered last, and its status.
    config = BatchConfig(
        request_items="records", answer_items="results", failed="status >= `400`", retryable=RETRYABLE,
        id="id" if has_ids else None,
    )  # fmt: skip

    def vendor(items: list[Any]) -> Reply:
        number = len(sendings.sent)
        kind, drawn = turns[min(number, len(turns)) - 1]
        answers = [{"id": item["id"], "n": number, "status": drawn[item["id"]]} for item in items]
        if kind == "error":
            raise UpstreamReset("gone")
        if kind == "garbage":
            return Reply(200, b"OK", list(JSON), Body.of(b"{"))
        if kind == "broken":
            return results(answers, status=500)
        if kind in {"fair", "shuffled"}:
            known.update({item["id"]: (number, drawn[item["id"]]) for item in items})
            return results(answers[::-1] if kind == "shuffled" and has_ids else answers)
        if kind == "foreign":
            return results([*answers[1:], {"id": 99, "status": 200}] if has_ids else answers[1:])
        return results({"short": answers[1:], "long": [*answers, answers[0]], "twice": [*answers, answers[0]]}[kind])

    sendings = Sendings(clock, vendor, config=config, attempts_max=5)
    call = sendings.call(ids(*range(count)), seconds=1000)
    task = asyncio.create_task(sendings.layer(call))
    await clock.advance(900)
    assert task.done()
    succeeded: set[int] = set()
    for number, items in enumerate(sendings.sent, 1):
        sent = [item["id"] for item in items]
        assert sent == sorted(sent)
        assert not succeeded & set(sent), "what went well went again"
        kind, drawn = turns[min(number, len(turns)) - 1]
        if kind in {"fair", "shuffled"}:
            succeeded |= {item for item in sent if drawn[item] < 400}
            again = {item["id"] for item in sendings.sent[number]} if number < len(sendings.sent) else set()
            assert again <= {item for item in sent if drawn[item] == 503}
    if task.exception() is None and known:
        reply = task.result()
        told = json.loads(await read_all(reply.body))["results"]
        assert [(one["id"], one["n"], one["status"]) for one in told] == [(i, *known[i]) for i in range(count)]
        assert failed_header(reply) == [b"%d" % sum(status >= 400 for _, status in known.values())]
    elif task.exception() is None:
        assert failed_header(task.result()) == []
    call.end(Outcome.SUCCESS)
    assert len(sendings.outcomes) == len(sendings.sent)
    assert clock.pending == 0
