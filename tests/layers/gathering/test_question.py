"""Which calls are gathered, and what the vendor is asked."""

from typing import Any

import pytest

from sidecar.core.body import Body, Headers
from sidecar.core.call import Call
from sidecar.layers.gathering.question import Question
from tests.layers.calls import call_for, read_all
from tests.layers.gathering.readers import config_for


def question(prefix: bytes = b"", **more: Any) -> Question:
    """Make one."""
    return Question(config_for(**more), prefix)


def asking(target: bytes, headers: Headers | None = None, **more: Any) -> Call:
    """Make a call."""
    call = call_for("GET", target, headers)
    for name, value in more.items():
        setattr(call, name, value)
    return call


@pytest.mark.parametrize(
    ("target", "asked"),
    [
        (b"/c/7", "7"),
        (b"/c/a-b_c.d~e", "a-b_c.d~e"),
        (b"/c/me%40shop.example", "me@shop.example"),
        (b"/c/7?x=1", "7"),
        (b"/c/a%2Fb", None),
        (b"/c/a%2Cb", None),
        (b"/c/a,b", None),
        (b"/c/", None),
        (b"/c/..", None),
        (b"/c/%2e%2e", None),
        (b"/c/%00", None),
        (b"/c/\xff", None),
        (b"/c/a%20b", None),
        (b"/c/a%22b", None),
        (b"/c/" + b"x" * 201, None),
        (b"/c/7?ids=8", None),
        (b"/c/7?%69ds=8", None),
    ],
)  # fmt: skip
def test_the_id_is_the_last_segment_and_plain(target: bytes, asked: str | None) -> None:
    """What a vendor might read in two ways is asked for by itself, and so is what says the ids itself."""
    found = question().asked(asking(target))
    assert (found.id if found is not None else None) == asked


def test_an_id_with_the_separator_in_it_is_asked_for_by_itself() -> None:
    """It would be two."""
    assert question(separator="-").asked(asking(b"/c/a-b")) is None
    assert question(separator="%7E").asked(asking(b"/c/a~b")) is None
    assert question(separator="-").asked(asking(b"/c/ab")) is not None


def test_calls_are_gathered_that_are_equal_in_all_else() -> None:
    """Query, headers, the app's name, its bound on attempts, and the path around the id."""
    ask = question()
    plain = ask.asked(asking(b"/c/1", [(b"A", b"1")]))
    assert plain is not None
    same = ask.asked(asking(b"/c/2", [(b"a", b"1"), (b"tracestate", b"x=1")]))
    assert same is not None
    assert same.key == plain.key
    others = [
        asking(b"/d/2", [(b"A", b"1")]), asking(b"/c/2?x=1", [(b"A", b"1")]), asking(b"/c/2", [(b"A", b"2")]),
        asking(b"/c/2", [(b"A", b"1")], app="b"), asking(b"/c/2", [(b"A", b"1")], attempts_max=1),
    ]  # fmt: skip
    keys = [found.key for one in others if (found := ask.asked(one)) is not None]
    assert len({plain.key, *keys}) == 6


def test_headers_that_do_not_matter_can_be_left_out() -> None:
    """Credentials always matter."""
    ask = question(headers=("Accept-Language",))
    keys = {
        found.key
        for headers in (
            [(b"X-Span", b"1")],
            [(b"X-Span", b"2")],
            [(b"Authorization", b"a")],
            [(b"Authorization", b"b")],
        )
        if (found := ask.asked(asking(b"/c/1", headers))) is not None
    }
    assert len(keys) == 3


@pytest.mark.parametrize(
    "call",
    [
        call_for("HEAD", b"/c/1"),
        call_for("POST", b"/c/1"),
        call_for("GET", b"/c/1", body=Body.of(b"{}")),
        asking(b"/c/1", [(b"Range", b"bytes=0-1")]),
        asking(b"/c/1", [(b"If-None-Match", b"x")]),
        asking(b"/c/1", idempotency_key=b"k"),
        asking(b"/c/1", upgrade=b"websocket"),
    ],
)
def test_other_calls_are_made_by_themselves(call: Call) -> None:
    """Conditions and parts are about one thing."""
    assert question().asked(call) is None


@pytest.mark.parametrize(
    ("more", "target", "expected"),
    [
        ({}, b"/c/1", b"/c?ids=1,me%40x"),
        ({}, b"/c/1?full=1&v=2", b"/c?ids=1,me%40x&full=1&v=2"),
        ({"separator": "&ids="}, b"/c/1", b"/c?ids=1&ids=me%40x"),
        ({"request": "GET /many/{ids}"}, b"/c/1?v=2", b"/many/1,me%40x?v=2"),
        ({"prefix": b"/2026"}, b"/2026/c/1", b"/2026/c?ids=1,me%40x"),
    ],
)
def test_the_ids_stand_in_the_target(more: dict[str, Any], target: bytes, expected: bytes) -> None:
    """With the query that all of them have, and below the version that stands in front."""
    call = asking(target, [(b"Accept-Encoding", b"br"), (b"A", b"1")])
    question(**more).put(call, ["1", "me@x"])
    assert (call.method, call.target) == ("GET", expected)
    assert call.headers == [(b"A", b"1"), (b"Accept-Encoding", b"identity")]
    assert call.is_read


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ('{"id":{id}}', b'{"inputs":[{"id":"1"},{"id":"22"}],"n":1.0}'),
        ("{number}", b'{"inputs":[1,22],"n":1.0}'),
        ("{id}", b'{"inputs":["1","22"],"n":1.0}'),
    ],
)
async def test_the_ids_stand_in_the_body(item: str, expected: bytes) -> None:
    """As text, as numbers, or in objects."""
    call = asking(b"/c/1?v=2", [(b"Content-Type", b"text/plain")])
    ask = question(request="POST /read", body='{"inputs":[{ids}],"n":1.0}', item=item)
    ask.put(call, ["1", "22"])
    assert (call.method, call.target, await read_all(call.body)) == ("POST", b"/read?v=2", expected)
    assert (b"Content-Type", b"application/json") in call.headers
    assert len([name for name, _ in call.headers if name.lower() == b"content-type"]) == 1


def test_an_id_that_is_no_number_is_not_sent_as_one() -> None:
    """Nor one that a parser would write otherwise."""
    ask = question(request="POST /read", body="[{ids}]", item="{number}")
    assert [ask.asked(asking(b"/c/" + one)) is None for one in (b"7", b"-7", b"0", b"07", b"x", b"1.0", b"1e5")] == [
        False, False, False, True, True, True, True,
    ]  # fmt: skip
