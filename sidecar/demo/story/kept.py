"""Kept: what the store is there for: an answer once more, and a call that is made later."""

from sidecar.demo.checks import json_of
from sidecar.demo.client import Answer, Ask
from sidecar.demo.stage import Stage
from sidecar.demo.step import Chapter, Step
from sidecar.demo.vendor import RESTART

KEY = "charge-0001"  # The app's own; a name for one wish of its user.
CHARGE = Ask(
    service="kept", path="/v1/charges", method="POST", headers={"Idempotency-Key": KEY}, body=b'{"amount": 1500}'
)
MADE_WITHIN = 1.5  # Seconds for two turns of a job; the schedule of the demo has 100 ms.


def was_repeated(stage: Stage, answer: Answer) -> str:
    """Check that the second answer is the first one, and says so."""
    if answer.header("Idempotency-Replayed") != "true":
        return "there is no Idempotency-Replayed"
    return "" if answer.body == stage.answers[-2].body else "it is another answer than the first"


def says_where(_: Stage, answer: Answer) -> str:
    """Check that the app is told where to ask for its job."""
    return "" if answer.header("Location").startswith("/_sidecar/jobs/kept.") else "there is no Location of a job"


def where_it_said(stage: Stage) -> Ask:
    """Ask where the answer before said."""
    return Ask(path=stage.answers[-1].header("Location"), way="own")


def was_made(_: Stage, answer: Answer) -> str:
    """Check that the call was made when the vendor was back, and that its answer is there."""
    job = json_of(answer)
    if job.get("state") != "succeeded":
        return f"the job is {job.get('state')}: {job.get('error')}"
    return "" if job["answer"]["status"] == 200 else "the job does not have the vendor's answer"


KEPT = Chapter(
    title="What is kept in the store",
    steps=(
        Step(
            title="charge, with a key",
            ask=CHARGE,
            status=201,
            attempts=1,
            did="stored the answer, then passed it on",
        ),
        Step(
            title="charge again, with the same key",
            ask=CHARGE,
            status=201,
            source="cache",
            attempts=0,
            did="repeated the answer, without the vendor",
            check=was_repeated,
        ),
        Step(
            title="call a vendor that is being restarted",
            ask=Ask(service="kept", path="/v1/restart"),
            status=202,
            source="queue",
            attempts=1,
            did="stored the call as a job",
            check=says_where,
        ),
        Step(
            title="ask for the job a moment later",
            ask=where_it_said,
            status=200,
            source="sidecar",
            did=f"called until it got an answer, {len(RESTART) + 1} times in all",
            check=was_made,
            wait=MADE_WITHIN,
        ),
    ),
)
