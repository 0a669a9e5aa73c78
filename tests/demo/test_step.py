"""How a step of the tour is judged."""

import base64
import secrets
from pathlib import Path

import pytest

from sidecar.core.clock import SystemClock
from sidecar.demo.checks import spellings
from sidecar.demo.client import Answer, Ask, Client
from sidecar.demo.stage import PORTS, Stage
from sidecar.demo.step import Step, judge
from sidecar.demo.vendor import Vendor

ASK = Ask(path="/v1/charges")
FINE = Answer(status=200, headers=(("Sidecar-Source", "upstream"), ("X-Request-ID", "one")))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stage on which nobody plays."""
    clock = SystemClock()
    client = Client(
        clock, egress="http://localhost:4000", telemetry="http://localhost:4002", vendor="http://127.0.0.1:1"
    )
    return Stage(clock, Vendor(clock), client, PORTS, tmp_path)


def step(status: int = 200, code: str = "") -> Step:
    """A step with an expectation."""
    return Step(title="read", ask=ASK, status=status, code=code, did="did it", check=lambda _, __: "")


def test_an_answer_as_expected_has_no_problem(stage: Stage) -> None:
    """Status, code, source and request id are all that every step wants."""
    assert judge(step(), stage, ASK, FINE) == ""


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
    assert judge(wanted, stage, ASK, answer) == problem


def test_a_check_of_the_step_has_the_last_word(stage: Stage) -> None:
    """What only this step knows is asked when all else is right."""
    wanted = Step(title="read", ask=ASK, status=200, did="did it", check=lambda _, __: "the body is empty")
    assert judge(wanted, stage, ASK, FINE) == "the body is empty"


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"user:"])
def test_a_token_is_found_within_base64_at_any_offset(before: bytes) -> None:
    """A Basic header in a log would hold the token in another spelling."""
    token = secrets.token_hex(24).encode()
    coded = base64.b64encode(before + token + b"\n")
    assert any(spelling in coded for spelling in spellings(token))
