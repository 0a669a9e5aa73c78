"""The layers that keep a call within its time and this pod within its memory: deadline, admission, body_bound."""

import pytest

from sidecar.core.body import Body
from sidecar.core.errors import BodyTooLarge, Shed
from sidecar.core.outcome import Outcome
from sidecar.core.units import Size
from sidecar.layers.admission import Gate, admission
from sidecar.layers.body_bound import body_bound
from sidecar.layers.deadline import deadline
from tests.layers.calls import Innermost, call_for, through

# Deadline.


@pytest.mark.parametrize(("asked", "expected"), [(None, 1020.0), (2.0, 1002.0), (20.0, 1020.0), (3600.0, 1020.0)])
async def test_the_deadline_is_the_services_or_sooner(asked: float | None, expected: float) -> None:
    """`Sidecar-Timeout` may only shorten: what stands in front of the app would not wait longer."""
    innermost = Innermost()
    call = call_for()
    call.timeout_asked = asked
    await through(deadline(20.0), call, innermost)
    assert innermost.call.deadline_at == expected


# Admission.


async def test_a_full_gate_sheds_at_once_and_says_when_to_come_again() -> None:
    """Nothing below is asked, and what is refused takes no place."""
    gate, innermost = Gate(2), Innermost()
    layer = admission(gate)
    inside = [call_for(), call_for()]
    for call in inside:
        await through(layer, call, innermost)
    with pytest.raises(Shed, match=r"admission\.calls_max") as refused:
        await through(layer, call_for(), innermost)
    assert refused.value.retry_after == 1.0
    assert (len(innermost.calls), gate.inside) == (2, 2)


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_a_place_is_held_until_the_last_byte_and_comes_back_whatever_happened(outcome: Outcome) -> None:
    """The reply is no end: its body may take hours, and that is what the bound is about."""
    gate = Gate(1)
    call = call_for()
    await through(admission(gate), call)
    assert gate.inside == 1
    call.end(outcome)
    assert gate.inside == 0
    await through(admission(gate), call_for())


async def test_a_place_comes_back_when_something_below_breaks() -> None:
    """The ending is registered before anything else is done."""
    gate = Gate(1)
    call = call_for()

    async def broken(_: object) -> None:
        raise RuntimeError("below")

    with pytest.raises(RuntimeError):
        await admission(gate)(broken)(call)  # type: ignore[arg-type]
    call.end(Outcome.FAILURE)
    assert gate.inside == 0


# Body bound.


async def test_a_declared_body_over_the_bound_is_refused_before_a_byte_is_read() -> None:
    """The sentence names the bound."""
    innermost = Innermost()
    with pytest.raises(BodyTooLarge, match="body_max = 1KiB"):
        await through(body_bound(Size(1024)), call_for("POST", body=Body(1025)), innermost)
    assert not innermost.calls


@pytest.mark.parametrize("length", [0, 1023, 1024])
async def test_a_declared_body_within_the_bound_passes(length: int) -> None:
    """The bound itself is allowed."""
    innermost = Innermost()
    await through(body_bound(Size(1024)), call_for("POST", body=Body(length)), innermost)
    assert len(innermost.calls) == 1


async def test_a_body_that_does_not_say_its_length_fails_at_the_bound() -> None:
    """What came before it may be read; then the reader hears that it is too much."""
    body = Body(None)
    await through(body_bound(Size(10)), call_for("POST", body=body))
    body.feed(b"x" * 10)
    assert await body.read() == b"x" * 10
    body.feed(b"y")
    assert await body.read() == b"y"
    with pytest.raises(BodyTooLarge):
        await body.read()


async def test_a_body_that_came_in_before_the_layer_did_is_counted_whole() -> None:
    """A small body arrives together with its head."""
    body = Body(None)
    body.feed(b"x" * 11)
    body.finish()
    await through(body_bound(Size(10)), call_for("POST", body=body))
    assert body.is_failed
    assert body.take_all() is None
