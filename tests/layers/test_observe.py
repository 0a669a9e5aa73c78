import pytest

from sidecar.core.errors import NotAllowed
from sidecar.core.outcome import Outcome
from sidecar.layers.observe import observe
from tests.kit.clock import ManualClock
from tests.layers.calls import Innermost, call_for, through
from tests.layers.watched import Watched


@pytest.fixture
def watched(clock: ManualClock) -> Watched:
    """An observer on the manual clock."""
    return Watched(clock)


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_each_call_has_one_line_and_one_count(outcome: Outcome, watched: Watched, clock: ManualClock) -> None:
    """When its last byte is out, not when its head is; whatever the outcome."""
    call = call_for()
    await through(observe(watched.observer), call)
    assert watched.observer.in_flight == 1
    assert not watched.lines()
    await clock.advance(1.5)
    call.status, call.source = 200, "upstream"
    call.end(outcome)
    assert watched.observer.in_flight == 0
    [line] = watched.lines()
    assert (line["outcome"], line["status"], line["total_ms"]) == (outcome.value, 200, 1500.0)
    assert watched.counted() == {("crm", "search", "GET", "200", outcome.value, "upstream"): 1}


async def test_a_call_that_is_refused_below_is_observed_too(watched: Watched) -> None:
    """The sidecar's own refusals are calls like any other."""

    async def refusing(_: object) -> None:
        raise NotAllowed("no rule")

    call = call_for()
    with pytest.raises(NotAllowed):
        await observe(watched.observer)(refusing)(call)  # type: ignore[arg-type]
    assert call.is_observed
    call.status, call.source, call.error_code = 403, "sidecar", "not_allowed"
    call.end(Outcome.REJECTED)
    assert [line["code"] for line in watched.lines()] == ["not_allowed"]
    assert watched.observer.in_flight == 0


async def test_the_line_comes_after_everything_was_given_back(watched: Watched) -> None:
    """It is the first ending that is registered, so the last that runs: it sees what the others did."""
    call = call_for()
    innermost = Innermost()
    await through(observe(watched.observer), call, innermost)
    call.on_end(lambda _: setattr(call, "response_bytes", 17))
    call.end(Outcome.SUCCESS)
    assert [line["response_bytes"] for line in watched.lines()] == [17]
