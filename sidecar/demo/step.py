"""Step: what the app does in the tour, what is expected of it, and whether it came true."""

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.core.tasks import Tasks
from sidecar.demo.client import Answer, Ask
from sidecar.demo.stage import Stage

Check = Callable[[Stage, Answer], str]  # What is wrong, as a sentence; "" when nothing is.


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call, or several alike. `ask` may depend on what came before; `did` is what the sidecar did, in words."""

    title: str
    ask: Ask | Callable[[Stage], Ask]
    status: int
    did: str
    source: str = ""  # The expected Sidecar-Source; "": the vendor, or with a code the sidecar.
    code: str = ""  # The expected Sidecar-Error; "" expects the vendor's own answer.
    attempts: int | None = None  # The expected Sidecar-Attempts, all calls together; None: no matter.
    check: Check | None = None  # Gets the last answer; the others are on the stage.
    times: int = 1  # So many calls, of which each is expected to have the same status.
    at_once: bool = False  # Side by side, not one after the other.
    wait: float = 0.0  # Seconds before the call, where something must come to rest first.


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """Steps that belong together."""

    title: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """A step that was played."""

    step: Step
    ask: Ask
    answers: tuple[Answer, ...]
    seconds: float  # For all of it, without `Step.wait`.
    problem: str  # "" when all came as expected.

    @property
    def attempts(self) -> int | None:
        """How often the vendor was tried in all; None when no answer tells."""
        return _attempts(self.answers)


async def play(step: Step, stage: Stage) -> Shown:
    """Make the calls of a step, and judge the answers."""
    if step.wait:
        await stage.clock.sleep(step.wait)
    ask = step.ask if isinstance(step.ask, Ask) else step.ask(stage)
    began_at = stage.clock.now()
    answers = await _together(stage, ask, step.times) if step.at_once else await _in_turn(stage, ask, step.times)
    seconds = stage.clock.now() - began_at
    stage.answers += answers
    return Shown(step, ask, answers, seconds, judge(step, stage, ask, answers))


async def _in_turn(stage: Stage, ask: Ask, times: int) -> tuple[Answer, ...]:
    return tuple([await stage.client.ask(ask) for _ in range(times)])


async def _together(stage: Stage, ask: Ask, times: int) -> tuple[Answer, ...]:
    tasks = Tasks()
    try:
        asking = [tasks.spawn(stage.client.ask(ask), "app") for _ in range(times)]
        return tuple([await one for one in asking])
    finally:
        await tasks.stop()


def judge(step: Step, stage: Stage, ask: Ask, answers: tuple[Answer, ...]) -> str:
    """Say what did not come as expected; "" if all did."""
    for answer in answers:
        if problem := _judged(step, ask, answer):
            return problem
    if step.attempts is not None and (attempts := _attempts(answers)) != step.attempts:
        return f"expected Sidecar-Attempts: {step.attempts}, got {attempts}"
    return step.check(stage, answers[-1]) if step.check is not None else ""


def _attempts(answers: tuple[Answer, ...]) -> int | None:
    said = [value for answer in answers if (value := answer.header("Sidecar-Attempts")).isdigit()]
    return sum(map(int, said)) if said else None


def _judged(step: Step, ask: Ask, answer: Answer) -> str:
    if answer.error:
        return f"no answer: {answer.error}"
    if answer.status != step.status:
        return f"expected {step.status}, got {answer.status} {answer.header('Sidecar-Error')}".rstrip()
    if ask.way == "telemetry":
        return ""
    if (code := answer.header("Sidecar-Error")) != step.code:
        return f"expected Sidecar-Error: {step.code or 'none'}, got {code or 'none'}"
    source = step.source or ("sidecar" if step.code else "upstream")
    if (said := answer.header("Sidecar-Source")) != source:
        return f"expected Sidecar-Source: {source}, got {said or 'none'}"
    return "" if answer.header("X-Request-ID") else "there is no X-Request-ID"
