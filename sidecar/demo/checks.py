"""Checks: what must be true of an answer in the tour; each gives a sentence on what is wrong, or nothing."""

import base64
import json
from typing import Any
from urllib.parse import quote

from sidecar.demo.client import Answer
from sidecar.demo.stage import Stage
from sidecar.demo.vendor import EVENT_EVERY, EVENTS, SLOW

REQUEST_ID = "demo-0001"
BODY = {"amount": 4200, "currency": "eur"}


def has_rate_limit_headers(_: Stage, answer: Answer) -> str:
    """Check that the vendor's own headers came through."""
    return "" if answer.header("X-RateLimit-Remaining") else "the vendor's X-RateLimit-Remaining is missing"


def is_charge_made(stage: Stage, answer: Answer) -> str:
    """Check that the body arrived as sent, and that Location leads back through the sidecar."""
    if json_of(answer).get("asked") != BODY:
        return "the vendor did not get the body as it was sent"
    return leads_back("Location")(stage, answer)


def has_request_id(_: Stage, answer: Answer) -> str:
    """Check that app and vendor saw the same request id."""
    if answer.header("X-Request-ID") != REQUEST_ID:
        return f"X-Request-ID came back as {answer.header('X-Request-ID')!r}"
    return "" if _seen(answer, "x-request-id") == [REQUEST_ID] else "the vendor did not see the app's X-Request-ID"


def has_one_credential(_: Stage, answer: Answer) -> str:
    """Check that the placeholder was replaced, not added to."""
    count = len(_seen(answer, "authorization"))
    return "" if count == 1 else f"the vendor saw {count} Authorization headers"


class leads_back:  # noqa: N801 - reads as a question: check=leads_back("Location")
    """Whether a header points to the address by which the app called, and nowhere to the vendor."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, stage: Stage, answer: Answer) -> str:
        """Judge the answer."""
        value = answer.header(self._name)
        if stage.vendor.url in value or f"{stage.client.egress}/payments/v1/" not in value:
            return f"{self._name} is {value!r}, which leads past the sidecar"
        return ""


def is_second_page(_: Stage, answer: Answer) -> str:
    """Check that the link led to the next page."""
    return "" if json_of(answer).get("page") == 2 else "the link did not lead to page 2"


def came_line_by_line(_: Stage, answer: Answer) -> str:
    """Check that the events came one by one, with the vendor's pauses between them."""
    if answer.body.count(b"data: ") != EVENTS + 1:
        return f"expected {EVENTS + 1} events, got {answer.body.count(b'data: ')}"
    spread = answer.lines_at[-1] - answer.lines_at[0]
    return "" if spread > EVENT_EVERY * EVENTS / 2 else f"all events came within {spread * 1000:.0f} ms: buffered"


def was_in_time(_: Stage, answer: Answer) -> str:
    """Check that the answer came when the app's own limit of 500 ms said, not when the vendor was done."""
    return "" if 0.49 <= answer.seconds < SLOW / 2 else f"it took {answer.seconds:.2f} s"


def has_retry_after(_: Stage, answer: Answer) -> str:
    """Check that the vendor's hint reached the app."""
    return "" if answer.header("Retry-After") else "the vendor's Retry-After is missing"


def names_the_known(_: Stage, answer: Answer) -> str:
    """Check that the problem says which services there are."""
    return "" if b"payments" in answer.body else "the answer does not name the services that there are"


def tells_no_secret(stage: Stage, answer: Answer) -> str:
    """Check that the credential stands in no answer, no metric and no log line, in no spelling."""
    got = [part.encode() for said in stage.answers for pair in said.headers for part in pair]
    got += [said.body for said in stage.answers]
    log = stage.log()
    lines = log.count(b'"msg":"call"')
    if lines < len(stage.answers) // 2:
        return f"the log has only {lines} lines of calls"
    for place, text in (("an answer", b"\n".join(got)), ("the log", log), ("the metrics", answer.body)):
        if any(spelling in text for spelling in spellings(stage.vendor.token.reveal())):
            return f"the credential stands in {place}"
    return "" if b"sidecar_calls_total" in answer.body else "the metrics do not count the calls"


def spellings(token: bytes) -> list[bytes]:
    """Give the forms in which a token leaks: as it is, percent-encoded, and within base64 at any offset."""
    coded = [base64.b64encode(bytes(before) + token)[(0, 2, 3)[before] : -4] for before in range(3)]
    return [token, quote(token, safe="").encode(), *coded]


def json_of(answer: Answer) -> dict[str, Any]:
    """Give the JSON object that an answer is; empty when it is none."""
    try:
        said = json.loads(answer.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _seen(answer: Answer, name: str) -> list[str]:
    """Give the values of a header that the vendor saw, from its echo."""
    return [value for key, value in json_of(answer).get("headers", []) if key.lower() == name]
