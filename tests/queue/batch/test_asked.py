import json
import tracemalloc

import pytest

from sidecar.core.errors import BadRequest, BodyTooLarge
from sidecar.queue.batch.asked import PROBLEMS_MAX, read_asked

ITEM = {"id": "a", "method": "GET", "path": "/"}


def refusal(content: bytes) -> BadRequest:
    """Read what is no batch."""
    with pytest.raises(BadRequest) as caught:
        read_asked(content, 100, 64)
    return caught.value


def test_every_item_that_is_wrong_is_named_at_once() -> None:
    """By its path, so that the app's developer finds it."""
    items = [ITEM, {"id": 1}, ITEM, 3, {**ITEM, "headers": {"a": 5}}]
    error = refusal(json.dumps({"items": items, "concurrency": 8}).encode())
    assert error.problems == (
        "items[1].id: expected str, got int",
        "items[3]: expected object, got int",
        "items[4].headers[...]: expected str | array, got int",
    )
    assert error.problems[0] in error.detail


def test_beyond_a_bound_problems_are_counted() -> None:
    """Ten thousand wrong items are one mistake."""
    error = refusal(json.dumps({"items": [3] * 99}).encode())
    assert len(error.problems) == PROBLEMS_MAX + 1
    assert error.problems[-1] == f"and {99 - PROBLEMS_MAX} more"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b'{"items":[]} x', "cannot be read"),
        (b"[]", "the batch: expected object, got array"),
        (b"{}", "the batch: object missing required field items"),
        (b'{"items":{}}', "items: expected array, got object"),
        (b'{"items":[],"\xff":1}', "not UTF-8"),
        (b'{"items":[{"id":"a","method":"GET","path":"/","body":"\xff"}]}', "items[0].body: not UTF-8"),
        (b'{"items":[],"concurrency":"8"}', "concurrency: expected int"),
        (b'{"items":[],"concurrency":0}', "concurrency: a number from 1 to 64"),
        (b'{"items":[],"retries":3}', "unknown field retries"),
        (b'{"items":' + b"[" * 10**5 + b"]" * 10**5 + b"}", "items[0]: expected object, got array"),
        (b'{"items":[{"id":"a","method":"GET","path":"/","body":' + b"[" * 10**5, "nested too deeply"),
    ],
)
def test_what_is_no_batch_is_told(content: bytes, sentence: str) -> None:
    """As one sentence."""
    assert sentence in refusal(content).detail


def test_millions_of_entries_are_refused_at_the_first() -> None:
    """Each would be an object in memory, a hundred times as large as what was sent."""
    content = b'{"items":[' + b"1," * 10**6 + b"1]}"
    tracemalloc.start()
    try:
        error = refusal(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.problems == ("items[0]: expected object, got int",)
    assert peak < 2 * len(content)


def test_more_items_than_may_be_are_too_many() -> None:
    """None of them is sent."""
    with pytest.raises(BodyTooLarge, match="101 items"):
        read_asked(json.dumps({"items": [ITEM] * 101}).encode(), 100, 64)


def test_an_empty_batch_is_one() -> None:
    """An app that had nothing to call need not ask itself."""
    assert read_asked(b'{"items":[]}', 100, 64).items == []


def test_two_items_may_have_one_id() -> None:
    """It is the app's own; `index` tells them apart."""
    assert len(read_asked(json.dumps({"items": [ITEM, ITEM]}).encode(), 100, 64).items) == 2
