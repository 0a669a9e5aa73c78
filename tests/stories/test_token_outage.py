"""A token endpoint that is away: it hurts as late as possible, and says what it is."""

import secrets
from pathlib import Path

from tests.kit.app import Reply
from tests.kit.clock import ManualClock
from tests.kit.timed import TimedPod
from tests.kit.tokens import GuardingTokens, Minting, failing, oauth
from tests.kit.vendor import Vendor

LIFE = 600.0  # Seconds; renewed from 480 s on at the latest.
STEP = 10.0


async def until_valid(pod: TimedPod) -> None:
    """Wait for a token that is under way: its first look-up takes a thread, and time stands still for that."""
    await pod.until(lambda: pod.snapshot()["services"]["vendor"]["token"]["state"] == "valid", "a token")


async def test_an_outage_longer_than_the_margin_fails_no_call(tmp_path: Path, clock: ManualClock) -> None:
    """From before the renewal until shortly before the end there is no token to be had; every call goes through."""
    minting = Minting(LIFE)
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(GuardingTokens(minting)) as vendor:
        pod = TimedPod(clock, tmp_path, vendor, service=oauth(f"{endpoint.url}/token"))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            await until_valid(pod)
            statuses = set()
            for second in range(0, 900, int(STEP)):
                if second == 400:
                    minting.failure = failing(503)
                if second == 570:
                    minting.failure = None
                await pod.advance(STEP)
                await pod.until(lambda: "renewing" not in pod.snapshot()["services"]["vendor"]["token"], "an answer")
                statuses.add((await pod.play(app.ask("GET", "/vendor/x"))).status)
            assert statuses == {200}
            assert len(minting.tokens) == 2
            lines = await pod.log_lines()
            failed = [line for line in lines if line["msg"] == "token_renewal_failed"]
            assert 2 <= len(failed) <= 10, "it backs off"
            assert {line["level"] for line in failed} == {"warning"}
            assert all(line["expires_in"] > 0 for line in failed)
            seen = [request.values("Authorization")[0] for request in vendor.requests]
            assert set(seen) == {f"Bearer {token}".encode() for token in minting.tokens}


async def test_an_outage_longer_than_the_life_says_what_is_wrong_and_ends_by_itself(
    tmp_path: Path, clock: ManualClock
) -> None:
    """When the token is over, calls get `credential_unavailable` with the step; no call wears the endpoint down."""
    minting = Minting(LIFE)
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(GuardingTokens(minting)) as vendor:
        pod = TimedPod(clock, tmp_path, vendor, service=oauth(f"{endpoint.url}/token"))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod:

            async def call() -> Reply:
                async with pod.app() as app:  # One of its own: a connection does not stay for minutes.
                    return await app.ask("GET", "/vendor/x")

            await until_valid(pod)
            assert (await pod.play(call())).status == 200
            minting.failure = failing(503, Retry_After="40")
            await pod.advance(LIFE + 1)
            asked = len(endpoint.requests)
            for _ in range(10):
                reply = await pod.play(call())
                assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
                assert "503" in reply.json()["detail"] or "did not answer" in reply.json()["detail"]
                assert 1 <= int(reply.value("Retry-After")) <= 60
            assert len(endpoint.requests) <= asked + 1
            assert len(vendor.requests) == 1
            minting.failure = None
            await pod.advance(61)
            assert (await pod.play(call())).status == 200


async def test_a_first_token_that_does_not_come_in_time_names_the_step(tmp_path: Path, clock: ManualClock) -> None:
    """An endpoint that is silent costs a call its own time, no more, and the answer says for what it waited."""
    minting = Minting()
    minting.open.clear()
    async with Vendor(minting, host="127.0.0.1") as endpoint, Vendor(GuardingTokens(minting)) as vendor:
        pod = TimedPod(clock, tmp_path, vendor, service=oauth(f"{endpoint.url}/token"))
        pod.write_secret("client", secrets.token_hex(16))
        async with pod, pod.app() as app:
            await endpoint.wait_for_request()
            reply = await pod.play(app.ask("GET", "/vendor/x", "Sidecar-Timeout: 2s"))
            assert (reply.status, reply.value("Sidecar-Error")) == (502, "credential_unavailable")
            assert "asking the authorization server" in reply.json()["detail"]
            minting.open.set()
            assert (await pod.play(app.ask("GET", "/vendor/x"))).status == 200
