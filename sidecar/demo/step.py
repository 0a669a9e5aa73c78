"""Step: one call of the tour, what is expected of it, and whether it came true."""

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.demo.client import Answer, Ask
from sidecar.demo.stage import Stage

Check = Callable[[Stage, Answer], str]  # What is wrong, as a sentence; "" when nothing is.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call. `ask` may depend on what came before; `did` is what the sidecar did, for the reader."""

    title: str
    ask: Ask | Callable[[Stage], Ask]
    status: int
    did: str
    code: str = ""  # The expected Sidecar-Error; "" expects the vendor's own answer.
    check: Check | None = None
    wait: float = 0.0  # Seconds before the call, where something must come to rest first.


@dataclass(frozen=True, slots=True)
class Shown:
    """A step that was played."""

    step: Step
    ask: Ask
    answer: Answer
    problem: str  # "" when all came as expected.


async def play(step: Step, stage: Stage) -> Shown:
    """Make the call of a step, and judge the answer."""
    if step.wait:
        await stage.clock.sleep(step.wait)
    ask = step.ask if isinstance(step.ask, Ask) else step.ask(stage)
    answer = await stage.client.ask(ask)
    stage.answers.append(answer)
    return Shown(step, ask, answer, judge(step, stage, ask, answer))


def judge(step: Step, stage: Stage, ask: Ask, answer: Answer) -> str:
    """Say what did not come as expected; "" if all did."""
    if answer.error:
        return f"no answer: {answer.error}"
    if answer.status != step.status:
        return f"expected {step.status}, got {answer.status} {answer.header('Sidecar-Error')}".rstrip()
    if ask.way != "telemetry":
        if (code := answer.header("Sidecar-Error")) != step.code:
            return f"expected Sidecar-Error: {step.code or 'none'}, got {code or 'none'}"
        source = "sidecar" if step.code else "upstream"
        if (said := answer.header("Sidecar-Source")) != source:
            return f"expected Sidecar-Source: {source}, got {said or 'none'}"
        if not answer.header("X-Request-ID"):
            return "there is no X-Request-ID"
    return step.check(stage, answer) if step.check is not None else ""
