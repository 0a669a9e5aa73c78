"""The line of a failed call tells, for each attempt, what was asked and what came back, as much as may be shown."""

import secrets
from pathlib import Path

from tests.kit.exchange import Exchange
from tests.kit.message import Fields
from tests.kit.pod import Line, Pod
from tests.kit.vendor import Vendor, answer

BODY = b'{"error": {"message": "no such plan", "token": "t-1", "pad": "' + b"x" * 5000 + b'"}}'


async def line_for(tmp_path: Path, reply: bytes) -> tuple[Line, str]:
    """Call a vendor that gives this answer; give the line, and the key that was sent."""
    key = secrets.token_hex(16)
    async with Vendor.answering(reply) as vendor:
        pod = Pod(tmp_path, vendor, service='auth = { kind = "bearer", secret = "files:key" }')
        pod.write_secret("key", key)
        async with pod, pod.app() as app:
            await app.ask("GET", "/vendor/v1/plans?page=2&token=t-2")
            [line] = await pod.calls()
            return line, key


async def test_the_start_of_a_failed_answer_is_in_the_line(tmp_path: Path) -> None:
    """2 KiB of the body, what is named like a secret masked, with both heads and the timings."""
    fields: Fields = [(b"Content-Type", b"application/json"), (b"X-Vendor-Id", b"v-7")]
    line, key = await line_for(tmp_path, answer(BODY, status=503, headers=fields))
    [attempt] = line["attempt_details"]
    assert (line["outcome"], line["status"], attempt["status"]) == ("failure", 503, 503)
    assert attempt["response_start"].startswith('{"error": {"message": "no such plan", "token": "***"')
    assert len(attempt["response_start"]) <= 2048
    assert attempt["response_start"].endswith("xxx")
    assert "X-Vendor-Id: v-7" in attempt["response_head"]
    assert attempt["target"] == "/v1/plans?page=2&token=***"
    assert "Authorization: Bearer ***" in attempt["request_head"]
    assert key not in str(line)
    assert 0 < attempt["first_byte_ms"] <= attempt["total_ms"]


async def test_the_request_head_is_the_one_that_was_sent(tmp_path: Path) -> None:
    """Also what the sidecar itself added, for these are what the vendor's support asks for."""
    line, _ = await line_for(tmp_path, answer(BODY, status=503))
    head = dict(field.split(": ", 1) for field in line["attempt_details"][0]["request_head"])
    assert head["X-Request-ID"] == line["request_id"]
    assert head["traceparent"].split("-")[1] == line["trace_id"]
    assert head["Host"].startswith("localhost:")


async def test_a_body_that_comes_in_pieces_is_kept_as_far_as_2_kib(tmp_path: Path) -> None:
    """The pieces are joined, and what is beyond is not kept."""
    pieces = [b"first,", b"second,", b"y" * 3000, b"last"]
    line, _ = await line_for(tmp_path, answer(status=500, chunks=pieces))
    start = line["attempt_details"][0]["response_start"]
    assert start.startswith("first,second,yyy")
    assert (len(start), start[-1]) == (2048, "y")


async def test_a_body_that_breaks_off_is_told_with_the_reason(tmp_path: Path) -> None:
    """The status is a good one and the attempt has no error; only `detail` says what happened."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        exchange.half_close()

    async with Vendor(play) as vendor, Pod(tmp_path, vendor) as pod, pod.app() as app:
        await app.send(b"GET /vendor/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await app.read_until_closed()).endswith(b"half")
        [line] = await pod.calls()
    assert (line["status"], line["outcome"], line["code"]) == (200, "failure", "upstream_reset")
    assert "in the middle of its answer" in line["detail"]


async def test_a_compressed_body_is_not_shown(tmp_path: Path) -> None:
    """Nobody can read it, and nothing could be masked in it."""
    line, _ = await line_for(tmp_path, answer(BODY, status=500, headers=[(b"Content-Encoding", b"gzip")]))
    assert "response_start" not in line["attempt_details"][0]


async def test_a_call_that_worked_tells_nothing_of_the_kind(tmp_path: Path) -> None:
    """A vendor's 4xx is an answer: what is in it is between the vendor and the app."""
    line, _ = await line_for(tmp_path, answer(BODY, status=404))
    assert "attempt_details" not in line
