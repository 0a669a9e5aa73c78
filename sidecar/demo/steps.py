"""The steps of the tour, in order: a further policy shows itself with one entry here."""

import json

from sidecar.demo.checks import (
    BODY,
    REQUEST_ID,
    came_line_by_line,
    has_one_credential,
    has_rate_limit_headers,
    has_request_id,
    has_retry_after,
    is_charge_made,
    is_second_page,
    leads_back,
    names_the_known,
    tells_no_secret,
    was_in_time,
)
from sidecar.demo.client import Ask
from sidecar.demo.stage import Stage
from sidecar.demo.step import Step


def next_page(stage: Stage) -> Ask:
    """Follow the Link of the answer before, as an SDK would."""
    link = stage.answers[-1].header("Link")
    return Ask(path=link.partition("<")[2].partition(">")[0].removeprefix(f"{stage.client.egress}/payments"))


STEPS = (
    Step(
        title="read, without any credential",
        ask=Ask(path="/v1/charges"),
        status=200,
        did="put the vendor's token in",
        check=has_rate_limit_headers,
    ),
    Step(
        title="write",
        ask=Ask(
            method="POST",
            path="/v1/charges",
            headers={"Content-Type": "application/json"},
            body=json.dumps(BODY).encode(),
        ),
        status=201,
        did="passed the body on, rewrote Location",
        check=is_charge_made,
    ),
    Step(
        title="send a request id",
        ask=Ask(path="/v1/echo", headers={"X-Request-ID": REQUEST_ID}),
        status=200,
        did="carried X-Request-ID there and back",
        check=has_request_id,
    ),
    Step(
        title="send a placeholder credential, as SDKs do",
        ask=Ask(path="/v1/echo", headers={"Authorization": "Bearer placeholder"}),
        status=200,
        did="replaced the placeholder",
        check=has_one_credential,
    ),
    Step(
        title="address the service by host name",
        ask=Ask(path="/v1/charges", way="host"),
        status=200,
        did="found the service by payments.localhost",
    ),
    Step(
        title="use the sidecar as HTTP_PROXY",
        ask=Ask(path="/v1/charges", way="proxy"),
        status=200,
        did="found the service by the vendor's address",
    ),
    Step(
        title="get redirected",
        ask=Ask(path="/v1/redirect"),
        status=307,
        did="rewrote Location to lead back here",
        check=leads_back("Location"),
    ),
    Step(
        title="read page 1",
        ask=Ask(path="/v1/pages?page=1"),
        status=200,
        did="rewrote Link to lead back here",
        check=leads_back("Link"),
    ),
    Step(
        title="follow the link",
        ask=next_page,
        status=200,
        did="served the address that it had written",
        check=is_second_page,
    ),
    Step(
        title="read server-sent events",
        ask=Ask(path="/v1/stream"),
        status=200,
        did="passed each event on at once",
        check=came_line_by_line,
    ),
    Step(
        title="wait for 500 ms, not longer",
        ask=Ask(path="/v1/faults/slow", headers={"Sidecar-Timeout": "500ms"}),
        status=504,
        code="deadline_exceeded",
        did="kept the deadline",
        check=was_in_time,
    ),
    Step(
        title="call too often",
        ask=Ask(path="/v1/faults/429"),
        status=429,
        did="passed the vendor's 429 and Retry-After on",
        check=has_retry_after,
    ),
    Step(
        title="meet a broken vendor",
        ask=Ask(path="/v1/faults/500"),
        status=500,
        did="passed the vendor's 500 on",
    ),
    Step(
        title="lose the connection",
        ask=Ask(path="/v1/faults/drop"),
        status=502,
        code="upstream_reset",
        did="said that the vendor broke off",
    ),
    Step(
        title="get garbage",
        ask=Ask(path="/v1/faults/garbage"),
        status=502,
        code="upstream_protocol",
        did="let nothing of it through",
    ),
    Step(
        title="call what is not allowed",
        ask=Ask(method="DELETE", path="/v1/charges"),
        status=403,
        code="not_allowed",
        did="refused by the access rules",
    ),
    Step(
        title="call an unknown service",
        ask=Ask(service="nobody", path="/v1/charges"),
        status=404,
        code="unknown_service",
        did="named the services that there are",
        check=names_the_known,
    ),
    Step(
        title="climb out of the base path",
        ask=Ask(path="/v1/../../admin"),
        status=400,
        code="path_escapes",
        did="refused the dot segments",
    ),
    Step(
        title="come from a web page, by DNS rebinding",
        ask=Ask(path="/v1/charges", headers={"Host": "evil.example"}),
        status=403,
        code="host_not_allowed",
        did="refused the Host",
    ),
    Step(
        title="read once more after all that",
        ask=Ask(path="/v1/charges"),
        status=200,
        did="served it as before",
    ),
    Step(
        title="look for the credential everywhere",
        ask=Ask(path="/metrics", way="telemetry"),
        status=200,
        did="kept it out of answers, log and metrics",
        check=tells_no_secret,
        wait=0.3,  # The log is written a moment later, many lines at once.
    ),
)
