"""Known vendors: what a preset says about one holds for real answers, and a changed preset is taken up."""

import json
import secrets
import time
from pathlib import Path

from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer


def pod_for(tmp_path: Path, vendor: Vendor, provider: str, service: str = "") -> Pod:
    """Give a pod whose one service lies on a preset; the vendor's host is the only thing that differs."""
    return Pod(tmp_path, vendor, service=f'provider = "{provider}"\n{service}')


JSON = [(b"Content-Type", b"application/json")]


async def test_github_says_403_when_the_hour_is_used_up_and_is_not_asked_again(tmp_path: Path) -> None:
    """Its `remaining: 0` is a rate limit, whatever the status; the app's next call ends here, with the time."""
    reset = str(int(time.time()) + 300).encode()
    fields = [(b"X-RateLimit-Limit", b"5000"), (b"X-RateLimit-Remaining", b"0"), (b"X-RateLimit-Reset", reset)]
    fields.append((b"X-RateLimit-Resource", b"core"))
    refused = answer(b'{"message": "API rate limit exceeded"}', status=403, headers=fields)
    async with Vendor.answering(refused) as vendor, pod_for(tmp_path, vendor, "github") as pod, pod.app() as app:
        assert (await app.ask("GET", "/vendor/user")).status == 403
        reply = await app.ask("GET", "/vendor/user")
        assert (reply.status, reply.value("Sidecar-Error")) == (429, "rate_limited")
        assert 290 <= int(reply.value("Retry-After")) <= 302
        assert len(vendor.requests) == 1


async def test_githubs_403_for_want_of_permission_holds_nothing_back(tmp_path: Path) -> None:
    """Only the message tells it from the secondary limit, which wants a minute."""
    denied = answer(b'{"message": "Resource not accessible by integration"}', status=403, headers=JSON)
    limited = answer(b'{"message": "You have exceeded a secondary rate limit. Please wait."}', status=403, headers=JSON)
    async with (
        Vendor.answering(denied, limited) as vendor,
        pod_for(tmp_path, vendor, "github") as pod,
        pod.app() as app,
    ):
        statuses = [(await app.ask("GET", "/vendor/orgs")).status for _ in range(3)]
        assert statuses == [403, 403, 429]
        assert len(vendor.requests) == 2


async def test_shopify_announces_a_bucket_that_never_resets(tmp_path: Path) -> None:
    """40 of 40 at 2 a second: the next call waits for half a second, and is not refused."""
    full = answer(b"{}", headers=[(b"X-Shopify-Shop-Api-Call-Limit", b"40/40")])
    empty = answer(b"{}", headers=[(b"X-Shopify-Shop-Api-Call-Limit", b"1/40")])
    async with Vendor.answering(full, empty) as vendor, pod_for(tmp_path, vendor, "shopify") as pod, pod.app() as app:
        for _ in range(3):
            assert (await app.ask("GET", "/vendor/admin/api/2026-07/orders.json")).status == 200
        waits = [line["waited_rate_ms"] for line in await pod.calls(3)]
        assert waits[0] == 0
        assert 400 <= waits[1] <= 2000
        assert waits[2] < 100


async def test_shopifys_graphql_refuses_with_200_and_the_body(tmp_path: Path) -> None:
    """The route of the preset reads it; the REST calls beside it are not held back by it."""
    status = {"maximumAvailable": 1000.0, "currentlyAvailable": 0, "restoreRate": 10.0}
    cost = {"requestedQueryCost": 500, "throttleStatus": status}
    throttled = json.dumps({"errors": [{"extensions": {"code": "THROTTLED"}}], "extensions": {"cost": cost}}).encode()
    async with (
        Vendor.answering(answer(throttled, headers=JSON), answer(b"{}")) as vendor,
        pod_for(tmp_path, vendor, "shopify") as pod,
        pod.app() as app,
    ):
        assert (await app.ask("POST", "/vendor/admin/api/2026-07/graphql.json", body=b"{}")).status == 200
        reply = await app.ask("POST", "/vendor/admin/api/2026-07/graphql.json", body=b"{}")
        assert (reply.status, reply.value("Sidecar-Error")) == (429, "rate_limited")
        assert (await app.ask("GET", "/vendor/admin/api/2026-07/orders.json")).status == 200
        assert len(vendor.requests) == 2


async def test_openais_used_up_money_is_final_and_no_limit(tmp_path: Path) -> None:
    """No attempt more for this call, and nothing held back from the next: another model or key may be paid for."""
    body = b'{"error": {"code": "insufficient_quota", "type": "insufficient_quota"}}'
    refused = answer(body, status=429, headers=JSON)
    async with (
        Vendor.answering(refused, refused, answer(b"{}")) as vendor,
        pod_for(tmp_path, vendor, "openai", 'retry = { backoff = "1ms" }') as pod,
        pod.app() as app,
    ):
        replies = [await app.ask("POST", "/vendor/chat/completions", body=b"{}") for _ in range(3)]
        assert [reply.status for reply in replies] == [429, 429, 200]
        assert [reply.value("Sidecar-Attempts") for reply in replies] == ["1", "1", "1"]
        assert len(vendor.requests) == 3


async def test_quickbooks_wants_a_minute_without_saying_so(tmp_path: Path) -> None:
    """The wait is the preset's; it is longer than the call may take, so the answer goes back at once."""
    refused = answer(b'{"Fault": {"Error": [{"code": "003001"}]}}', status=429)
    async with (
        Vendor.answering(refused) as vendor,
        pod_for(tmp_path, vendor, "quickbooks", "retry = {}") as pod,
        pod.app() as app,
    ):
        assert (await app.ask("GET", "/vendor/v3/company/1/query")).status == 429
        reply = await app.ask("GET", "/vendor/v3/company/1/query")
        assert reply.value("Sidecar-Error") == "rate_limited"
        assert 55 <= int(reply.value("Retry-After")) <= 62
        assert len(vendor.requests) == 1


async def test_twilio_did_nothing_when_it_says_429_so_a_post_goes_again(tmp_path: Path) -> None:
    """It has no idempotency key; after 500 nobody knows, and the answer goes back."""
    load = [(b"Twilio-Concurrent-Requests", b"1")]
    replies = [answer(b"{}", status=status, headers=load) for status in (429, 201, 500)]
    async with (
        Vendor.answering(*replies) as vendor,
        pod_for(tmp_path, vendor, "twilio", 'retry = { backoff = "1ms" }') as pod,
        pod.app() as app,
    ):
        assert (await app.ask("POST", "/vendor/2010-04-01/Messages.json", body=b"To=1")).status == 201
        assert (await app.ask("POST", "/vendor/2010-04-01/Messages.json", body=b"To=1")).status == 500
        assert [bytes(request.body) for request in vendor.requests] == [b"To=1"] * 3


async def test_a_payment_has_one_key_for_all_its_attempts(tmp_path: Path) -> None:
    """Stripe's preset knows the header, so a failed POST is tried again without being done twice."""
    key = secrets.token_hex(16)
    async with Vendor.answering(answer(b"{}", status=503), answer(b"{}")) as vendor:
        pod = pod_for(tmp_path, vendor, "stripe", 'auth = { secret = "files:key" }\nretry = { backoff = "1ms" }')
        pod.write_secret("key", key)
        async with pod, pod.app() as app:
            reply = await app.ask("POST", "/vendor/v1/charges", body=b"amount=1")
            assert reply.status == 200
            first, second = (request.values("Idempotency-Key") for request in vendor.requests)
            assert len(first) == 1
            assert first == second == [reply.value("Idempotency-Key").encode()]
            assert vendor.requests[0].values("Authorization") == [f"Bearer {key}".encode()]


async def test_a_changed_preset_of_the_users_is_taken_up_and_a_wrong_one_changes_nothing(tmp_path: Path) -> None:
    """The config's own file stays as it is. What was mended is seen without being asked for."""
    (tmp_path / "own").mkdir()
    preset = tmp_path / "own" / "acme.toml"
    preset.write_text('headers = { set = { X-Preset = "1" } }')
    async with Vendor.echoing() as vendor:
        pod = Pod(tmp_path, vendor, service='provider = "acme"', sidecar='providers_dir = "own"')
        async with pod, pod.app() as app:

            async def seen() -> str:
                fields = (await app.ask("GET", "/vendor/")).json()["headers"]
                return ",".join(value for name, value in fields if name == "X-Preset")

            assert await seen() == "1"
            preset.write_text('headers = { set = { X-Preset = "22" } }')
            assert (await pod.sidecar.reload())["ok"]
            assert await seen() == "22"
            preset.write_text('headers = { sett = { X-Preset = "333" } }')
            refused = await pod.sidecar.reload()
            assert refused["problems"] == ['own/acme.toml: headers.sett: there is no such key; did you mean "set"?']
            assert await seen() == "22"
            preset.write_text('headers = { set = { X-Preset = "4444" } }')
            await pod.until(lambda: pod.snapshot()["generation"] == 3, "the mended preset")
            assert await seen() == "4444"
