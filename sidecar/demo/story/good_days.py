"""Good days: what the sidecar does on every call."""

import json

from sidecar.demo.checks import (
    BODY,
    REQUEST_ID,
    came_line_by_line,
    has_one_credential,
    has_rate_limit_headers,
    has_request_id,
    is_charge_made,
    is_second_page,
    leads_back,
)
from sidecar.demo.client import Ask
from sidecar.demo.stage import Stage
from sidecar.demo.step import Chapter, Step


def next_page(stage: Stage) -> Ask:
    """Follow the Link of the answer before, as an SDK would."""
    link = stage.answers[-1].header("Link")
    return Ask(path=link.partition("<")[2].partition(">")[0].removeprefix(f"{stage.client.egress}/payments"))


GOOD_DAYS = Chapter(
    title="On good days",
    steps=(
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
    ),
)
