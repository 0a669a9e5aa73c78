"""The checks of the story find what they are there for: a policy that did not do what the tour says of it."""

import json
from collections.abc import Callable

import pytest

from sidecar.demo.client import Answer
from sidecar.demo.memory import METERED
from sidecar.demo.stage import Stage
from sidecar.demo.story import bad_days, kept, limits, outages
from sidecar.demo.vendor import SLOW

Check = Callable[[Stage, Answer], str]


def answer(seconds: float = 0.0, said: object = None, **headers: str) -> Answer:
    """An answer, with `_` for `-` in the names of its fields."""
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status=200, seconds=seconds, headers=fields, body=json.dumps(said).encode())


@pytest.mark.parametrize(
    ("check", "wrong", "right"),
    [
        (bad_days.waited_as_told, answer(0.9), answer(1.02)),
        (limits.says_when, answer(), answer(Retry_After="20")),
        (limits.says_when, answer(0.6, Retry_After="20"), answer(0.01, Retry_After="1")),
        (limits.says_when, answer(Retry_After="60"), answer(Retry_After="20")),
        (outages.was_refused_at_once, answer(), answer(Retry_After="1")),
        (outages.was_refused_at_once, answer(0.3, Retry_After="1"), answer(0.01, Retry_After="1")),
        (outages.was_overtaken, answer(SLOW), answer(0.1)),
        (kept.says_where, answer(), answer(Location="/_sidecar/jobs/kept.7")),
        (
            kept.was_made,
            answer(said={"state": "waiting", "error": "status 500"}),
            answer(said={"state": "succeeded", "answer": {"status": 200}}),
        ),
        (
            bad_days.was_given_a_key,
            answer(said={"idempotency_key": "one", "requests": 1}, Idempotency_Key="one"),
            answer(said={"idempotency_key": "one", "requests": 2}, Idempotency_Key="one"),
        ),
        (
            bad_days.was_given_a_key,
            answer(said={"idempotency_key": "two", "requests": 2}, Idempotency_Key="one"),
            answer(said={"idempotency_key": "two", "requests": 2}, Idempotency_Key="two"),
        ),
    ],
)
def test_a_check_tells_the_wrong_answer_from_the_right_one(
    stage: Stage, check: Check, wrong: Answer, right: Answer
) -> None:
    """It gives a sentence for the one, and nothing for the other."""
    assert check(stage, wrong)
    assert check(stage, right) == ""


def test_an_answer_that_was_made_anew_is_found(stage: Stage) -> None:
    """It says that it is repeated, and it is the same."""
    first = answer(said={"id": 1})
    for again, problem in (
        (answer(said={"id": 1}), "there is no Idempotency-Replayed"),
        (answer(said={"id": 2}, Idempotency_Replayed="true"), "it is another answer than the first"),
        (answer(said={"id": 1}, Idempotency_Replayed="true"), ""),
    ):
        stage.answers = [first, again]
        assert kept.was_repeated(stage, again) == problem


def test_payouts_that_were_made_twice_are_found(stage: Stage) -> None:
    """The vendor knows what it did, whatever the answer says."""
    stage.vendor.payouts.pay(None)
    assert bad_days.was_paid_once(stage, answer()) == ""
    stage.vendor.payouts.pay("one")
    stage.vendor.payouts.pay("one")
    assert bad_days.was_paid_once_more(stage, answer(said={"idempotency_key": bad_days.KEY, "requests": 2})) == ""
    stage.vendor.payouts.pay(None)
    assert bad_days.was_paid_once(stage, answer()) == "the vendor paid 3 times"
    assert bad_days.was_paid_once_more(stage, answer()) == "the vendor paid 3 times"


def test_a_limit_that_held_nobody_back_is_found(stage: Stage) -> None:
    """Twice as many calls as one window allows cannot all go at once."""
    stage.answers = [answer(1.0)] + [answer(0.001)] * 2 * METERED[0]
    assert "nothing waited" in limits.was_held_back(stage, stage.answers[-1])
    stage.answers[-1] = answer(0.5)
    assert limits.was_held_back(stage, stage.answers[-1]) == ""


def test_a_crowd_that_asked_more_than_once_is_found(stage: Stage) -> None:
    """The vendor numbers its answers."""
    stage.answers = [answer(said={"call": 7})] * outages.CROWD
    assert outages.was_asked_once(stage, stage.answers[-1]) == ""
    stage.answers[0] = answer(said={"call": 6})
    assert outages.was_asked_once(stage, stage.answers[-1]) == "the vendor was asked 2 times"


@pytest.mark.parametrize("missing", ["closed", "half_open", "open"])
def test_a_circuit_that_did_not_go_once_round_is_found(stage: Stage, missing: str) -> None:
    """Each change counts once, and at the end it is closed."""
    lines = ['sidecar_circuit_state{service="down"} 0.0']
    lines += [f'sidecar_circuit_transitions_total{{service="down",to="{to}"}} 1.0' for to in ("open", "half_open")]
    lines += ['sidecar_circuit_transitions_total{service="down",to="closed"} 1.0']
    assert outages.is_closed(stage, Answer(status=200, body="\n".join(lines).encode())) == ""
    left = [line for line in lines if f'to="{missing}"' not in line]
    problem = outages.is_closed(stage, Answer(status=200, body="\n".join(left).encode()))
    assert problem == f"the circuit was not {missing} once"
    assert (
        outages.is_closed(stage, Answer(status=200, body="\n".join(lines[1:]).encode())) == "the circuit is not closed"
    )
