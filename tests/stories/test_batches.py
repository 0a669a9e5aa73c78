"""A vendor that takes many items at once and does only some: the app gets one answer, and nothing is done twice."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.app import Reply
from tests.kit.exchange import Request
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

BATCH = 'batch = { request_items = "records", answer_items = "results", failed = "status >= `400`", id = "id" }\n'
QUICK = 'retry = { backoff = "1ms", budget_min = 100 }\n'
JSON = [(b"Content-Type", b"application/json")]
TYPE = "Content-Type: application/json"


class Ledger:
    """What a vendor did: an item is done, or refused as often as the test says."""

    def __init__(self, failures: dict[int, list[int]]) -> None:
        self.failures = failures  # By id: the statuses of its first refusals.
        self.done: list[int] = []

    def take(self, request: Request) -> bytes:
        """Do what can be done of a request."""
        results: list[dict[str, Any]] = []
        for record in json.loads(request.body)["records"]:
            refusals = self.failures.get(record["id"], [])
            status = refusals.pop(0) if refusals else 201
            if status == 201:
                self.done.append(record["id"])
            results.append({"id": record["id"], "status": status, "amount": record["amount"]})
        return answer(json.dumps({"job": 1.0, "results": results}).encode(), status=207, headers=JSON)


def records(*numbers: int) -> bytes:
    """Write a request."""
    return json.dumps({"records": [{"id": number, "amount": 1.0} for number in numbers], "n": "ü"}).encode()


async def ask(pod: Pod, body: bytes, *headers: str) -> Reply:
    """Ask on a connection of its own."""
    async with pod.app() as app:
        return await app.ask("POST", "/vendor/bulk", TYPE, *headers, body=body)


async def test_only_the_failed_items_go_again_and_the_app_gets_all_in_its_order(tmp_path: Path) -> None:
    """Status and envelope are the first answer's; the line and a header tell what became of the items."""
    ledger = Ledger({2: [503], 4: [429, 503]})
    async with Vendor.answering(ledger.take) as vendor, Pod(tmp_path, vendor, service=BATCH + QUICK) as pod:
        reply = await ask(pod, records(1, 2, 3, 4))
        assert (reply.status, reply.value("Sidecar-Batch-Failed"), reply.value("Sidecar-Attempts")) == (207, "0", "3")
        assert reply.body.startswith(b'{"job":1.0,"results":[')
        assert [one["id"] for one in json.loads(reply.body)["results"]] == [1, 2, 3, 4]
        assert reply.body.count(b'"status": 201') == 4
        assert [json.loads(one.body)["records"] for one in vendor.requests[1:]] == [
            [{"id": 2, "amount": 1.0}, {"id": 4, "amount": 1.0}],
            [{"id": 4, "amount": 1.0}],
        ]
        assert b'"amount": 1.0' in vendor.requests[2].body
        assert sorted(ledger.done) == [1, 2, 3, 4]
        [line] = await pod.calls()
        assert line["batch"] == {"items": 4, "sent_again": 3}
        assert (line["attempts"], line["outcome"], line["status"]) == (3, "success", 207)
        await pod.assert_nothing_left()


async def test_what_fails_for_good_is_reported(tmp_path: Path) -> None:
    """By a number in a header and in the line; the items say the rest."""
    ledger = Ledger({2: [422] * 9, 3: [503] * 9})
    worth = BATCH.replace(" }", ', retryable = "status >= `500`" }')
    async with Vendor.answering(ledger.take) as vendor, Pod(tmp_path, vendor, service=worth + QUICK) as pod:
        reply = await ask(pod, records(1, 2, 3))
        assert reply.value("Sidecar-Batch-Failed") == "2"
        assert [one["status"] for one in json.loads(reply.body)["results"]] == [201, 422, 503]
        assert [len(json.loads(one.body)["records"]) for one in vendor.requests] == [3, 1, 1]
        [line] = await pod.calls()
        assert line["batch"] == {"items": 3, "sent_again": 2, "failed": 2, "why": "attempts_max = 3"}
        counters = pod.sidecar._grounds.metrics.counter
        assert counters("sidecar_batch_items_total", "vendor", "failed").value == 2
        assert counters("sidecar_batch_items_total", "vendor", "sent_again").value == 2


async def test_each_sending_has_its_own_idempotency_key_and_permit(tmp_path: Path) -> None:
    """A vendor refuses a key that it knows with another body; the app is told the key of the whole."""
    ledger = Ledger({2: [503]})
    service = (
        BATCH + QUICK + 'idempotency = { header = "Idempotency-Key" }\nrate_limit = { rate = ["100/s", "100/day"] }\n'
    )
    async with Vendor.answering(ledger.take) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        reply = await ask(pod, records(1, 2), "Idempotency-Key: order-7")
        keys = [one.values("Idempotency-Key") for one in vendor.requests]
        assert keys == [[b"order-7"], [b"order-7-2"]]
        assert reply.value("Idempotency-Key") == "order-7"
        made = await ask(pod, records(1))
        assert made.value("Idempotency-Key") == vendor.requests[2].values("Idempotency-Key")[0].decode()
        assert pod.snapshot()["services"]["vendor"]["rate_limit"]["100/day"]["used"] == 3
        await pod.assert_nothing_left()


async def test_a_vendor_that_goes_down_in_between_leaves_what_is_known(tmp_path: Path) -> None:
    """The app hears what was done; a 503 for the whole would have it do everything again."""
    ledger = Ledger({2: [503]})
    down = answer(b"down", status=503)
    async with Vendor.answering(ledger.take, down) as vendor, Pod(tmp_path, vendor, service=BATCH + QUICK) as pod:
        reply = await ask(pod, records(1, 2, 3))
        assert (reply.status, reply.value("Sidecar-Batch-Failed")) == (207, "1")
        assert [one["status"] for one in json.loads(reply.body)["results"]] == [201, 503, 201]
        [line] = await pod.calls()
        assert "answered 503 to all of it" in line["batch"]["why"]
        assert len(vendor.requests) == 2


def _gzip(request: Request) -> bytes:
    content = json.dumps({"results": [{"id": 1, "status": 503}, {"id": 2, "status": 201}]})
    if request.number > 1:
        content = json.dumps({"results": [{"id": 1, "status": 201}]})
    return answer(gzip.compress(content.encode()), headers=[*JSON, (b"Content-Encoding", b"gzip")])


async def test_a_vendor_that_squeezes_unasked_is_understood(tmp_path: Path) -> None:
    """It is asked for plain answers, and some do not listen; the framing is right all the same."""
    async with Vendor.answering(_gzip) as vendor, Pod(tmp_path, vendor, service=BATCH + QUICK) as pod:
        reply = await ask(pod, records(1, 2), "Accept-Encoding: gzip")
        assert vendor.requests[0].values("Accept-Encoding") == [b"identity"]
        assert [one["status"] for one in json.loads(reply.body)["results"]] == [201, 201]
        assert reply.values("Content-Encoding") == []
        assert reply.value("Content-Length") == str(len(reply.body))


MANY = json.dumps({"results": [{"id": number, "status": 503} for number in range(10_000)]}).encode()


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (answer(b'{"results":[]}', headers=JSON), "0 items for the 2"),
        (answer(b'{"results":[{"id":1,"status":503},{"id":1,"status":503}]}', headers=JSON), "one twice"),
        (answer(MANY, headers=JSON), "10000 items for the 2"),
        (answer(b"\x1b\x00br", headers=[*JSON, (b"Content-Encoding", b"br")]), "encoded in a way"),
        (answer(b"<html>503</html>", headers=[(b"Content-Type", b"text/html")]), "Content-Type"),
        (answer(headers=JSON, chunks=[b"[" * 60_000]), "no JSON list"),
        (answer(headers=JSON, chunks=[b'{"results"', b":[1,"]), "no JSON list"),
    ],
    ids=["short", "repeated", "many", "br", "html", "nested", "cut"],
)
async def test_an_answer_that_is_not_as_described_reaches_the_app_as_it_came(
    tmp_path: Path, raw: bytes, why: str
) -> None:
    """Whatever the vendor meant, nothing is sent again on the strength of it."""
    async with Vendor.answering(raw) as vendor, Pod(tmp_path, vendor, service=BATCH + QUICK) as pod:
        reply = await ask(pod, records(1, 2))
        assert reply.status == 200
        assert reply.body in raw or len(reply.body) > 10
        assert reply.values("Sidecar-Batch-Failed") == []
        assert len(vendor.requests) == 1
        [line] = await pod.calls()
        assert why in line["batch"]["why"]
        await pod.assert_nothing_left()


def _second_without_end(request: Request) -> bytes:
    if request.number == 1:
        return answer(b'{"results":[{"id":1,"status":503}]}', headers=JSON)
    return answer(b'{"results":[{"id":1,"status":201}]}', headers=JSON)[:-5]


async def test_a_second_answer_that_stalls_ends_with_the_calls_time(tmp_path: Path) -> None:
    """What is known goes to the app."""
    async with Vendor.answering(_second_without_end) as vendor, Pod(tmp_path, vendor, service=BATCH + QUICK) as pod:
        reply = await ask(pod, records(1), "Sidecar-Timeout: 300ms")
        assert json.loads(reply.body)["results"] == [{"id": 1, "status": 503}]
        assert (reply.value("Sidecar-Batch-Failed"), len(vendor.requests)) == ("1", 2)
        await pod.assert_nothing_left()


@pytest.mark.parametrize(
    ("body", "header", "why"),
    [
        (b"not json", TYPE, "no JSON list"),
        (b"<x/>", "Content-Type: text/xml", "Content-Type"),
        (records(1, 1), TYPE, "the same id"),
        (records(*range(1001)), TYPE, "over batch.items_max"),
    ],
)
async def test_a_request_that_is_not_as_described_reaches_the_vendor_as_it_came(
    tmp_path: Path, body: bytes, header: str, why: str
) -> None:
    """The vendor is the one to say what is wrong with it."""
    async with Vendor.answering(answer(b"hm", status=400)) as vendor, Pod(tmp_path, vendor, service=BATCH) as pod:
        async with pod.app() as app:
            reply = await app.ask("POST", "/vendor/bulk", header, body=body)
        assert (reply.status, vendor.requests[0].body) == (400, body)
        [line] = await pod.calls()
        assert why in line["batch"]["why"]
