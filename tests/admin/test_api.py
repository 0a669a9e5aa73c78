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
from sidecar.core.units import Duration

Client = TestClient[Any, Any]
Make = Callable[..., Awaitable[Client]]


@pytest.fixture
def faults() -> list[BaseException]:
    """What broke inside."""
    return []


@pytest.fixture
async def client(aiohttp_client: Make, faults: list[BaseException]) -> Client:
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

    return await aiohttp_client(
        admin_app(snapshot, config, reload, hosts=frozenset({"pod.internal"}), on_fault=faults.append)
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


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/services/nope", 404, "unknown_service"),
        ("GET", "/nope", 404, "bad_request"),
        ("GET", "/api/reload", 405, "bad_request"),
        ("POST", "/api/services", 405, "bad_request"),
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
async def test_pages_of_elsewhere_are_refused(client: Client, method: str, headers: dict[str, str]) -> None:
    """By rebinding or across sites, with any method, on any path."""
    for path in ("/", "/api/services", "/api/reload", "/nope"):
        response = await client.request(method, path, headers=headers)
        assert response.status == 403
        assert response.headers["Sidecar-Error"] == "host_not_allowed"


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
