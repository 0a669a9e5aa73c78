"""The admin door: what it shows, and whom it does not let in."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from sidecar.admin.api import admin_app
from sidecar.core.errors import JobState, UnknownJob, UnknownService
from sidecar.core.units import Duration

# What stands before each circuit of a service; the last one has none.
CIRCUITS: dict[str, list[dict[str, str]]] = {"crm": [{}], "llm": [{}, {"route": "chat"}], "bare": []}

Client = TestClient[Any, Any]
Make = Callable[..., Awaitable[Client]]


@pytest.fixture
def faults() -> list[BaseException]:
    """What broke inside."""
    return []


@pytest.fixture
def logins() -> list[str]:
    """Which logins were told of."""
    return []


class Jobs:
    """A queue with one dead letter; it notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.state = "dead"

    async def job(self, name: str) -> dict[str, Any]:
        """Show it."""
        self.asked.append(("job", name))
        if name != "crm.1":
            raise UnknownJob("there is no such job")
        return {"id": name, "state": self.state}

    async def jobs(self, service: str | None, state: str | None, after: str, count: int) -> list[dict[str, Any]]:
        """List it."""
        self.asked.append(("jobs", service, state, after, count))
        return [{"id": "crm.1", "state": self.state}]

    async def cancel(self, name: str) -> None:
        """Refuse, unless it waits."""
        self.asked.append(("cancel", name))
        if self.state != "waiting":
            raise JobState(f"the job is {self.state}")

    async def retry(self, name: str) -> None:
        """Have it wait."""
        self.asked.append(("retry", name))
        self.state = "waiting"

    async def discard(self, name: str) -> None:
        """Take it away."""
        self.asked.append(("discard", name))


@pytest.fixture
def jobs() -> Jobs:
    """The queue."""
    return Jobs()


@pytest.fixture
async def client(aiohttp_client: Make, faults: list[BaseException], logins: list[str], jobs: Jobs) -> Client:
    """The admin door of a pod with one service; every second reload is refused."""
    answers: list[dict[str, Any]] = [
        {"ok": False, "generation": 1, "problems": ["services.crm.timeout: too long"]},
        {"ok": True, "generation": 2},
    ]

    def snapshot() -> dict[str, Any]:
        return {"generation": 1, "services": {"crm": {"calls": 7, "pool": {"idle": 1}}}}

    def config() -> dict[str, Any]:
        return {"services": {"crm": {"timeout": Duration(2), "auth": {"secret": "files:crm-key"}}}}

    async def reload() -> dict[str, Any]:
        return answers.pop()

    def force_circuit(name: str, state: str) -> list[dict[str, Any]]:
        if name not in CIRCUITS:
            raise UnknownService(f"no such service; known are: {', '.join(CIRCUITS)}")
        return [{**scope, "state": {"open": "forced", "auto": "half_open"}[state]} for scope in CIRCUITS[name]]

    def logged_in(name: str, version: str) -> None:
        if name != "crm":
            raise UnknownService("no such service; known are: crm")
        logins.append(f"{name} {version}")

    return await aiohttp_client(
        admin_app(
            snapshot,
            config,
            reload,
            force_circuit,
            logged_in,
            jobs=jobs,
            hosts=frozenset({"pod.internal"}),
            on_fault=faults.append,
        )
    )


async def test_the_services_and_one_of_them_are_shown(client: Client) -> None:
    """The page and the command line read these."""
    assert (await (await client.get("/api/services")).json())["services"]["crm"]["calls"] == 7
    assert await (await client.get("/api/services/crm")).json() == {"name": "crm", "calls": 7, "pool": {"idle": 1}}


async def test_the_config_shows_durations_as_written_and_secrets_as_references(client: Client) -> None:
    """Nothing to hide, nothing to decode."""
    shown = await (await client.get("/api/config")).json()
    assert shown["services"]["crm"] == {"timeout": "2s", "auth": {"secret": "files:crm-key"}}


async def problem_of(response: ClientResponse) -> tuple[int, str]:
    """Read a problem, checking its form."""
    body = await response.json(content_type="application/problem+json")
    assert list(body)[:6] == ["type", "title", "status", "detail", "instance", "code"]
    assert response.headers["Sidecar-Error"] == body["code"]
    assert response.status == body["status"]
    return response.status, body["code"]


async def test_a_reload_answers_with_the_generation_or_the_problems(client: Client) -> None:
    """A refused one names every problem, and the old generation goes on."""
    assert await (await client.post("/api/reload")).json() == {"ok": True, "generation": 2}
    refused = await client.post("/api/reload")
    assert await problem_of(refused) == (422, "bad_request")
    body = await refused.json(content_type=None)
    assert body["problems"] == ["services.crm.timeout: too long"]
    assert "generation 1 goes on" in body["detail"]


async def test_an_operator_opens_a_circuit_and_gives_it_back(client: Client) -> None:
    """The answer shows what it is now; with a circuit of its own for a route, both."""
    opened = await client.post("/api/services/crm/circuit", data=b'{"state": "open"}')
    assert await opened.json() == {"name": "crm", "circuit": {"state": "forced"}}
    given_back = await client.post("/api/services/llm/circuit", json={"state": "auto"})
    assert await given_back.json() == {
        "name": "llm", "circuit": [{"state": "half_open"}, {"route": "chat", "state": "half_open"}]
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [b"", b"open", b"{}", b'{"state": "closed"}', b'{"state": "open", "for": "1h"}', b"[]", b'{"state": "\xff"}'],
)
async def test_a_wish_that_is_none_is_answered_with_what_to_write(client: Client, body: bytes) -> None:
    """At three, nobody remembers the words."""
    response = await client.post("/api/services/crm/circuit", data=body)
    assert await problem_of(response) == (400, "bad_request")
    detail = (await response.json(content_type=None))["detail"]
    assert '{"state": "open"}' in detail
    assert '{"state": "auto"}' in detail


async def test_a_service_without_a_circuit_says_so(client: Client) -> None:
    """And which setting it is."""
    response = await client.post("/api/services/bare/circuit", json={"state": "open"})
    assert await problem_of(response) == (409, "bad_request")
    assert "circuit_breaker = false" in (await response.json(content_type=None))["detail"]
    unknown = await client.post("/api/services/nope/circuit", json={"state": "open"})
    assert await problem_of(unknown) == (404, "unknown_service")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/services/nope", 404, "unknown_service"),
        ("GET", "/nope", 404, "bad_request"),
        ("GET", "/api/reload", 405, "bad_request"),
        ("POST", "/api/services", 405, "bad_request"),
        ("GET", "/api/services/crm/circuit", 405, "bad_request"),
    ],
)
async def test_every_error_has_the_form_of_the_contract(
    client: Client, method: str, path: str, status: int, code: str
) -> None:
    """Also those that aiohttp would write by itself."""
    assert await problem_of(await client.request(method, path)) == (status, code)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:4001"},
        {"Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost@evil.example"},
        {"Origin": "http://[::1"},
    ],
)
async def test_pages_of_elsewhere_are_refused(client: Client, jobs: Jobs, method: str, headers: dict[str, str]) -> None:
    """By rebinding or across sites, with any method, on any path."""
    for path in (
        "/", "/api/services", "/api/reload", "/api/services/crm/circuit", "/nope",
        "/api/jobs", "/api/jobs/crm.1", "/api/jobs/crm.1/retry",
    ):  # fmt: skip
        response = await client.request(method, path, headers=headers)
        assert response.status == 403
        assert response.headers["Sidecar-Error"] == "host_not_allowed"
    assert jobs.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:4001", "Origin": "http://localhost:4001", "Sec-Fetch-Site": "same-origin"},
        {"Host": "[::1]:4001"},
        {"Host": "pod.internal"},
    ],
)
async def test_the_pods_own_pages_are_let_in(client: Client, headers: dict[str, str]) -> None:
    """And names that the config lists."""
    assert (await client.get("/api/services", headers=headers)).status == 200


async def test_jobs_are_listed_tried_again_cancelled_and_discarded(client: Client, jobs: Jobs) -> None:
    """What waits is cancelled, what has ended goes away."""
    listed = await client.get("/api/jobs", params={"service": "crm", "state": "dead", "limit": "20", "after": "crm.9"})
    assert await listed.json() == {"jobs": [{"id": "crm.1", "state": "dead"}]}
    assert await (await client.delete("/api/jobs/crm.1")).json() == {"id": "crm.1", "state": "discarded"}
    assert await (await client.post("/api/jobs/crm.1/retry")).json() == {"id": "crm.1", "state": "waiting"}
    assert await (await client.delete("/api/jobs/crm.1")).json() == {"id": "crm.1", "state": "cancelled"}
    assert await problem_of(await client.get("/api/jobs/crm.2")) == (404, "unknown_job")
    assert [asked for asked in jobs.asked if asked[0] != "job"] == [
        ("jobs", "crm", "dead", "crm.9", 20), ("cancel", "crm.1"), ("discard", "crm.1"), ("retry", "crm.1"),
        ("cancel", "crm.1"),
    ]  # fmt: skip


@pytest.mark.parametrize("query", ["state=gone", "limit=0", "limit=201", "limit=ten", "limit=-1"])
async def test_a_list_of_jobs_that_cannot_be_had_says_what_can(client: Client, jobs: Jobs, query: str) -> None:
    """The states, and the bound."""
    assert await problem_of(await client.get(f"/api/jobs?{query}")) == (400, "bad_request")
    assert jobs.asked == []


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/jobs/crm.1/retry"), ("DELETE", "/api/jobs/crm.1")])
async def test_only_the_pods_own_page_leads_jobs(client: Client, jobs: Jobs, method: str, path: str) -> None:
    """With what its browser sends it is let in; the same from elsewhere changes nothing."""
    for headers in (
        {"Host": "localhost:4001", "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Host": "localhost:4001", "Origin": "https://evil.example"},
        {"Host": "localhost:4001", "Origin": "null"},
        {"Host": "rebound.example:4001", "Origin": "http://rebound.example:4001", "Sec-Fetch-Site": "same-origin"},
    ):
        assert await problem_of(await client.request(method, path, headers=headers)) == (403, "host_not_allowed")
    assert jobs.asked == []
    own = {"Host": "localhost:4001", "Origin": "http://localhost:4001", "Sec-Fetch-Site": "same-origin"}
    assert (await client.request(method, path, headers=own)).status == 200
    assert jobs.asked != []


async def test_the_page_needs_nothing_from_outside_and_allows_only_its_own_script(client: Client) -> None:
    """The policy names the script by its hash; a value that holds markup has no way to run."""
    response = await client.get("/")
    text, policy = await response.text(), response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert "://" not in text
    assert "innerHTML" not in text


async def test_the_page_writes_text_and_never_markup(client: Client) -> None:
    """A path that an app called, a vendor's error and an answer are strangers' words."""
    text = await (await client.get("/")).text()
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    for way in ("HTML", "document.write", "eval", "Function(", "setAttribute", ".src", ".href"):
        assert way not in script
    assert " on" not in re.sub("<script>.*?</script>", "", text, flags=re.DOTALL), "no handler in an attribute"


async def test_a_login_is_told_with_the_version_of_what_it_stored(client: Client, logins: list[str]) -> None:
    """By `sidecar login`, in one form; a value has no place in it."""
    login = "/api/services/crm/login"
    assert (await client.post(login, json={"version": "7"})).status == 200
    for body in ({}, {"version": 7}, {"version": "7", "refresh_token": "r"}, {"version": "7" * 513}):
        assert await problem_of(await client.post(login, json=body)) == (400, "bad_request")
    assert await problem_of(await client.post("/api/services/erp/login", json={"version": "7"})) == (
        404,
        "unknown_service",
    )
    assert (await client.get(login)).status == 405
    assert logins == ["crm 7"]


async def test_what_breaks_inside_is_told_to_the_log_and_not_to_the_caller(
    aiohttp_client: Make, faults: list[BaseException]
) -> None:
    """The answer is in the contract's form; the words of the error stay inside."""

    def broken() -> dict[str, Any]:
        raise RuntimeError("inner words")

    async def reload() -> dict[str, Any]:
        return broken()

    client = await aiohttp_client(admin_app(broken, broken, reload, on_fault=faults.append))
    response = await client.get("/api/services")
    assert await problem_of(response) == (500, "internal")
    assert "inner words" not in await response.text()
    assert [str(error) for error in faults] == ["inner words"]
