"""Whatever a vendor writes into its hints: it never breaks an answer, and never ends in a wait without bound."""

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.advice import TOLD_MAX, Advice
from sidecar.upstream.hints.doubts import DOUBTS_MAX, WORD_MAX
from sidecar.upstream.hints.interpreter import Interpreter
from sidecar.upstream.hints.times import AHEAD_MAX
from tests.upstream.hints.vendors import HINTS, WALL, interpreter

READERS = {vendor: interpreter(vendor) for vendor in ("none", *HINTS)}

# What looks like a hint reaches further than what does not.
WORDS = [
    b"0", b"1", b"5000", b"1795356060", b"1795356060000", b"6m0s", b"12ms", b"2026-11-22T14:01Z", b"true", b"32/40",
    b"Sun, 22 Nov 2026 14:01:00 GMT", b'"a";r=1;t=2', b'"a";q=9;w=60', b"limit=9, remaining=3, reset=2", b"10;w=1",
    b"api-usage=1/2", b"total=9; remaining=3; resets=1", b"-1", b"1e400", b"nan", b"9" * 400, b",", b";", b'"', b"=",
]  # fmt: skip
VALUES = st.one_of(
    st.sampled_from(WORDS), st.binary(max_size=80), st.lists(st.sampled_from(WORDS), max_size=6).map(b"".join)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["THROTTLED", "12s", "DAILY", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "errors", "code", "extensions", "cost", "message"]), inner)
    ),
    max_leaves=10,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Interpreter, int, list[tuple[bytes, bytes]]]:
    """A vendor's interpreter, a status and notable fields with any values."""
    reader = READERS[draw(st.sampled_from(sorted(READERS)))]
    names = st.sampled_from(sorted(reader.names))
    fields = draw(st.lists(st.tuples(names, VALUES), max_size=8))
    return reader, draw(st.sampled_from([200, 400, 403, 429, 477, 500, 503, 509, 529])), fields


def check(advice: Advice | None) -> None:
    """Numbers are numbers within their bounds, and all that stays behind is short."""
    if advice is None:
        return
    assert advice.retry_after is None or 0 <= advice.retry_after <= AHEAD_MAX
    assert len(advice.told) <= TOLD_MAX
    assert len(advice.doubts) <= DOUBTS_MAX
    assert all(len(sentence) < 300 and sentence.isprintable() for sentence in advice.doubts)
    for told in advice.told:
        assert len(told.name) <= WORD_MAX + 8
        assert len(told.resource) <= WORD_MAX
        assert (told.name + told.resource).isprintable()
        for number in (told.limit, told.remaining, told.reset_in, told.window, told.load):
            assert number is None or (number >= 0 and math.isfinite(number))
        if told.limit is not None and told.remaining is not None:
            assert told.remaining <= told.limit


@given(answers(), VALUES, st.floats(min_value=0, max_value=4e9))
def test_any_bytes_in_any_hint_are_harmless(
    answer: tuple[Interpreter, int, list[tuple[bytes, bytes]]], date: bytes, wall: float
) -> None:
    """Nothing raises, also with any Date and any clock of ours."""
    reader, status, fields = answer
    headers = [(b"Date", date), (b"Content-Type", b"application/json"), *fields]
    check(reader.read(status, fields or None, headers, None, wall))


@given(st.sampled_from(sorted(READERS)), st.sampled_from([200, 400, 403, 429, 503]), JSON | st.binary(max_size=50))
def test_any_body_is_harmless(vendor: str, status: int, document: object) -> None:
    """JSON of any shape, or no JSON at all."""
    body = document if isinstance(document, bytes) else msgspec.json.encode(document)
    check(READERS[vendor].read(status, None, [(b"Content-Type", b"application/json")], body, WALL))
