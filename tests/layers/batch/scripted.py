"""A batch layer over a vendor that answers each sending as the test says."""

import json
from collections.abc import Callable
from typing import Any

from sidecar.core.body import Body, Headers
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.outcome import Outcome
from sidecar.core.recent import Recent
from sidecar.core.units import Duration
from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.batch.layer import BatchLayer, BatchParts, BatchRules
from sidecar.layers.idempotency.places import HeaderPlace, Place
from sidecar.layers.retry.budget import Budget
from sidecar.layers.retry.config import RetryConfig
from sidecar.telemetry.metrics import Counter
from tests.kit.clock import ManualClock
from tests.layers.calls import call_for, read_all

JSON: Headers = [(b"Content-Type", b"application/json")]
PLAIN = BatchConfig(request_items="records", answer_items="results", failed="status >= `400`")
BY_ID = BatchConfig(request_items="records", answer_items="results", failed="status >= `400`", id="id")

Answer = Callable[[list[Any]], Reply] | Reply | Exception


def request(items: list[Any]) -> bytes:
    """Write a request."""
    return json.dumps({"dry": False, "records": items}).encode()


def results(answers: list[Any], status: int = 200, headers: Headers | None = None) -> Reply:
    """Write an answer."""
    content = json.dumps({"took": 1, "results": answers}).encode()
    length = (b"Content-Length", b"%d" % len(content))
    return Reply(status, b"OK", [*JSON, length, *(headers or [])], Body.of(content))


class Sendings:
    """The layer, the vendor, and what was sent to it."""

    def __init__(
        self, clock: ManualClock, *answers: Answer, config: BatchConfig = PLAIN, attempts_max: int = 3,
        budget: Budget | None = None, place: Place | None = None, key_max: int = 255,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.answers = list(answers)
        self.sent: list[list[Any]] = []
        self.calls: list[Call] = []
        self.outcomes: list[Outcome] = []
        self.at: list[float] = []
        self.counted: list[str] = []
        self.parts = BatchParts(
            place or HeaderPlace("Idempotency-Key"), key_max, budget or Budget(1.0, 100, clock.now()), Recent(), clock,
            lambda: 0.5, self.counted.append, Counter(), Counter(),
        )  # fmt: skip
        self.layer = BatchLayer(
            BatchRules(config, RetryConfig(attempts_max=attempts_max, backoff=Duration(1))), self.parts, self._vendor
        )

    async def _vendor(self, call: Call) -> Reply:
        content = await read_all(call.body)
        document = json.loads(content)
        self.calls.append(call)
        self.at.append(self.clock.now())
        self.sent.append(document["records"] if isinstance(document, dict) else document)
        call.attempts.append(AttemptRecord())
        call.on_end(self.outcomes.append)
        answer = self.answers[min(len(self.calls), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else answer(self.sent[-1])

    def call(self, content: bytes | list[Any], headers: Headers | None = None, seconds: float = 20.0) -> Call:
        """Make a call of an app."""
        body = content if isinstance(content, bytes) else request(content)
        call = call_for("POST", b"/bulk", [*JSON, *(headers or [])], Body.of(body))
        call.deadline_at = self.clock.now() + seconds
        return call


def failing(*bad: Any, status: int = 503) -> Callable[[list[Any]], Reply]:
    """Answer each item with its id, those that are named with a failure."""
    return lambda items: results([{"id": i["id"], "status": status if i["id"] in bad else 200} for i in items])


def ids(*numbers: Any) -> list[dict[str, Any]]:
    """Make items."""
    return [{"id": number} for number in numbers]


def failed_header(reply: Reply) -> list[bytes]:
    """Give what the app is told of failed items."""
    return [value for name, value in reply.headers if name == b"Sidecar-Batch-Failed"]
