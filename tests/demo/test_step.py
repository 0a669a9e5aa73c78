"""How a step of the tour is played and judged."""

import base64
import secrets

import pytest

from sidecar.demo.checks import spellings
from sidecar.demo.client import Answer, Ask
from sidecar.demo.stage import Stage
from sidecar.demo.step import Step, judge
from sidecar.demo.story import STORY

ASK = Ask(path="/v1/charges")
FINE = Answer(status=200, headers=(("Sidecar-Source", "upstream"), ("X-Request-ID", "one")))


def step(status: int = 200, code: str = "") -> Step:
    """A step with an expectation."""
    return Step(title="read", ask=ASK, status=status, code=code, did="did it", check=lambda _, __: "")


def test_an_answer_as_expected_has_no_problem(stage: Stage) -> None:
    """Status, code, source and request id are all that every step wants."""
    assert judge(step(), stage, ASK, (FINE,)) == ""


@pytest.mark.parametrize(
    ("wanted", "answer", "problem"),
    [
        (step(), Answer(error="ClientError: gone"), "no answer: ClientError: gone"),
        (step(201), FINE, "expected 201, got 200"),
        (step(200, "not_allowed"), FINE, "expected Sidecar-Error: not_allowed, got none"),
        (step(), Answer(status=200, headers=(("X-Request-ID", "one"),)), "expected Sidecar-Source: upstream, got none"),
        (step(), Answer(status=200, headers=(("sidecar-source", "upstream"),)), "there is no X-Request-ID"),
    ],
)
def test_what_is_not_as_expected_is_said_in_a_sentence(
    stage: Stage, wanted: Step, answer: Answer, problem: str
) -> None:
    """The summary of the demo is read by people who have never seen it before."""
    assert judge(wanted, stage, ASK, (answer,)) == problem


def test_a_check_of_the_step_has_the_last_word(stage: Stage) -> None:
    """What only this step knows is asked when all else is right."""
    wanted = Step(title="read", ask=ASK, status=200, did="did it", check=lambda _, __: "the body is empty")
    assert judge(wanted, stage, ASK, (FINE,)) == "the body is empty"


def test_one_wrong_answer_of_several_is_a_problem(stage: Stage) -> None:
    """A step that calls several times wants the same of each."""
    assert judge(step(), stage, ASK, (FINE, Answer(status=429), FINE)) == "expected 200, got 429"


def test_attempts_of_several_calls_are_added_up(stage: Stage) -> None:
    """A call that was coalesced made none, so a crowd that asked once made one."""
    answers = tuple(Answer(status=200, headers=(*FINE.headers, ("Sidecar-Attempts", n))) for n in ("1", "0", "0"))
    wanted = Step(title="read", ask=ASK, status=200, did="did it", attempts=1)
    assert judge(wanted, stage, ASK, answers) == ""
    assert judge(wanted, stage, ASK, answers[1:]) == "expected Sidecar-Attempts: 1, got 0"
    assert judge(wanted, stage, ASK, (FINE,)) == "expected Sidecar-Attempts: 1, got None"


def test_the_tour_shows_each_policy_in_a_chapter_of_steps() -> None:
    """Titles head the columns of the screen, so that none is empty and no two steps are told alike."""
    steps = [one for chapter in STORY for one in chapter.steps]
    assert all(chapter.title and chapter.steps for chapter in STORY)
    assert len({one.title for one in steps}) == len(steps)
    asked = {one.ask.service for one in steps if isinstance(one.ask, Ask)}
    assert {"flaky", "metered", "agreed", "down", "uneven", "catalog"} <= asked


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"user:"])
def test_a_token_is_found_within_base64_at_any_offset(before: bytes) -> None:
    """A Basic header in a log would hold the token in another spelling."""
    token = secrets.token_hex(24).encode()
    coded = base64.b64encode(before + token + b"\n")
    assert any(spelling in coded for spelling in spellings(token))
