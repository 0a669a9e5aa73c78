"""What an answer of the sidecar's own must look like, by the contract: asserted in one place for all tests."""

import re

from tests.kit.app import Reply

MEMBERS = ["type", "title", "status", "detail", "instance", "code", "service", "attempts"]  # And retry_after, if known.

_PROXY_STATUS = re.compile(r'sidecar; error=([a-z_]+); details="((?:[ !#-\[\]-~]|\\["\\])*)"')


def assert_refusal(
    reply: Reply,
    status: int,
    code: str,
    proxy_error: str,
    *,
    service: str = "",
    attempts: int = 0,
    retry_after: int | None = None,
) -> str:
    """Assert each header and member of a refusal; give its detail."""
    assert (reply.status, reply.values("Sidecar-Error")) == (status, [code.encode()]), (reply.raw_head, reply.body)
    assert reply.value("Content-Type") == "application/problem+json"
    assert reply.value("Sidecar-Source") == "sidecar"
    assert reply.value("Sidecar-Attempts") == str(attempts)
    problem = reply.json()
    assert list(problem) == MEMBERS + ["retry_after"] * (retry_after is not None), "the order is the contract's"
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["service"] == service
    assert problem["attempts"] == attempts
    assert problem.get("retry_after") == retry_after
    assert reply.values("Retry-After") == ([] if retry_after is None else [b"%d" % retry_after])
    assert re.fullmatch(r"[!-~]{1,128}", problem["instance"])
    assert reply.value("X-Request-ID") == problem["instance"]
    proxy_status = _PROXY_STATUS.fullmatch(reply.value("Proxy-Status"))
    assert proxy_status, f"{reply.value('Proxy-Status')!r} is not a structured field"
    assert proxy_status[1] == proxy_error
    detail = str(problem["detail"])
    assert re.sub(r"\\(.)", r"\1", proxy_status[2]) == detail.encode("ascii", "replace").decode()
    return detail
