"""Trace context: strict in what it reads, never raising."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.telemetry import trace

TRACE = b"0af7651916cd43dd8448eb211c80319c"
SPAN = b"b7ad6b7169203331"
GOOD = b"00-" + TRACE + b"-" + SPAN + b"-01"


def test_a_valid_traceparent_goes_in_and_out() -> None:
    """What was read can be written again."""
    found = trace.parse(GOOD)
    assert found == (TRACE.decode(), SPAN.decode(), "01")
    assert trace.traceparent(*found) == GOOD


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"ff" + GOOD[2:],
        GOOD.upper(),
        GOOD + b"-more",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD[:-1],
        b"01" + GOOD[2:] + b"x",
        GOOD.replace(TRACE, b"0" * 32),
        GOOD.replace(SPAN, b"0" * 16),
        GOOD.replace(b"-", b"_"),
        b"01" + GOOD[2:] + b"-" + b"x" * 1000,
    ],
)
def test_an_invalid_traceparent_begins_a_new_trace(header: bytes) -> None:
    """Each is named invalid by the specification, or is over the bound."""
    assert trace.parse(header) is None


@pytest.mark.parametrize(("header", "flags"), [(b"cc" + GOOD[2:] + b"-what", "01"), (GOOD[:-2] + b"ff", "03")])
def test_a_later_version_is_read_as_far_as_we_know_it(header: bytes, flags: str) -> None:
    """Only the flags that we know go on."""
    assert trace.parse(header) == (TRACE.decode(), SPAN.decode(), flags)


def test_a_tracestate_passes_on_as_it_came() -> None:
    """Several fields are one list."""
    assert trace.tracestate([b"a=1,b=2", b" c=3 "]) == b"a=1,b=2,c=3"


def test_a_long_tracestate_loses_long_entries_first_and_then_the_last() -> None:
    """The order of dropping is the specification's."""
    entries = [b"k%d=%s" % (number, b"v" * 90) for number in range(9)]
    found = trace.tracestate([b",".join([b"long=" + b"x" * 200, *entries])])
    assert found == b",".join(entries[:5])


@given(st.lists(st.binary(max_size=700), max_size=5))
def test_no_tracestate_is_too_strange(values: list[bytes]) -> None:
    """Whatever comes: bounded, printable, no exception."""
    found = trace.tracestate(values)
    assert len(found) <= trace.TRACESTATE_MAX
    assert b"\n" not in found
    assert b"\r" not in found


@given(st.binary(max_size=80))
def test_no_traceparent_is_too_strange(header: bytes) -> None:
    """Nothing raises."""
    trace.parse(header)
