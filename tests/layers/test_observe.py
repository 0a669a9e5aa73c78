import io
import json
from typing import Any, Literal

import pytest

from sidecar.core.errors import NotAllowed
from sidecar.core.outcome import Outcome
from sidecar.core.peer import Peer
from sidecar.layers.credentials import noted
from sidecar.layers.observe import Observer, observe
from sidecar.telemetry.audit.audit import Audit
from sidecar.telemetry.audit.config import AuditConfig
from sidecar.telemetry.audit.record import Who
from sidecar.telemetry.audit.verify import verify_stream
from sidecar.telemetry.audit.writer import AuditWriter
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Counter, Metrics
from sidecar.telemetry.redact import Redactor
from sidecar.telemetry.writer import Writer
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
    assert watched.errors() == {("crm", "internal"): 0, ("crm", "not_allowed"): 1}
    assert watched.observer.in_flight == 0


async def test_the_line_comes_after_everything_was_given_back(watched: Watched) -> None:
    """It is the first ending that is registered, so the last that runs: it sees what the others did."""
    call = call_for()
    innermost = Innermost()
    await through(observe(watched.observer), call, innermost)
    call.on_end(lambda _: setattr(call, "response_bytes", 17))
    call.end(Outcome.SUCCESS)
    assert [line["response_bytes"] for line in watched.lines()] == [17]


# The audit log.


class Audited:
    """An observer with an audit log on stdout, whose lines stay where they are."""

    def __init__(self, clock: ManualClock, calls: Literal["all", "writes", "none"]) -> None:
        self._lines = Writer(Counter())  # Never started.
        log = Log(LogConfig(), self._lines, Redactor(), clock.wall, lambda: 0.0)
        self._writer = AuditWriter(Counter(), clock.wall, clock.now, log.event)
        audit = Audit(self._writer, Who(), "1.2.3", clock.wall, self._lines, log.event, str)
        audit.use(AuditConfig(calls=calls))
        self.observer = Observer(Metrics().for_service("crm"), log, clock, audit)

    def records(self) -> list[dict[str, Any]]:
        """End the audit log, and give the records of calls."""
        assert self._writer.close(10.0)
        lines = list(self._lines._lines)
        assert not verify_stream(io.BytesIO(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))).findings
        return [record for record in map(json.loads, lines) if record.get("kind") == "call"]


def test_a_call_is_audited_with_what_its_last_attempt_carried(clock: ManualClock) -> None:
    """A refused credential that was replaced is not the one that the call went through with."""
    audited = Audited(clock, "all")
    call = call_for("POST")
    call.peer = Peer(1000, 100, 7)
    audited.observer.watch(call)
    for version, outcome in (("1", Outcome.FAILURE), ("2", None), ("", Outcome.CANCELLED)):
        attempt = call.attempt()
        if version:
            attempt.credential, attempt.credential_version = "files:key", version
        if outcome is None:
            call.keep(attempt)
        else:
            call.discard(attempt, outcome)
    call.end(Outcome.SUCCESS)
    [record] = audited.records()
    assert (record["credential"], record["credential_version"]) == ("files:key", "2")
    assert (record["peer"], record["outcome"]) == ({"uid": 1000, "gid": 100, "pid": 7}, "success")


@pytest.mark.parametrize(("calls", "methods"), [("all", ["GET", "POST"]), ("writes", ["POST"]), ("none", [])])
def test_the_section_says_which_calls_are_audited(
    clock: ManualClock, calls: Literal["all", "writes", "none"], methods: list[str]
) -> None:
    """All, those that may change something at the vendor, or none."""
    audited = Audited(clock, calls)
    for method in ("GET", "POST"):
        call = call_for(method)
        audited.observer.watch(call)
        call.end(Outcome.SUCCESS)
    assert [record["method"] for record in audited.records()] == methods


async def test_the_version_is_that_of_the_moment_of_sending() -> None:
    """A rotation while the answer streams does not change what the call was sent with."""
    versions = ["1", "2"]
    call = call_for()
    await through(noted("files:key", lambda: versions.pop(0)), call)
    assert (call.credential, call.credential_version, versions) == ("files:key", "1", ["2"])
