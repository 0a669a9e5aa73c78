"""Refusals: what does not get through to the vendor, whoever asks for it; and whether all that left anything behind."""

from sidecar.demo.checks import names_the_known, tells_no_secret
from sidecar.demo.client import Ask
from sidecar.demo.step import Chapter, Step

REFUSALS = Chapter(
    title="What does not get through",
    steps=(
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
    ),
)

AFTERWARDS = Chapter(
    title="Afterwards",
    steps=(
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
    ),
)
