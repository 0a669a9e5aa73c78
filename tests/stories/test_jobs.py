"""Calls that may be made later: accepted, kept over a kill, done in order, told to the app, led by people."""

import asyncio
import base64
import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from tests.kit.app import App
from tests.kit.exchange import Exchange, Request
from tests.kit.kept import KINDS, end_leases, kept_store
from tests.kit.pod import Pod
from tests.kit.process import Process
from tests.kit.servers import Servers
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer

QUICK = 'queue = { schedule = ["10ms", "50ms"] }'
STORE = '[store]\nkind = "sqlite"\n'


class Counting:
    """A vendor that may be down, and counts what it did by idempotency key."""

    def __init__(self) -> None:
        self.is_down = False
        self.done: dict[bytes, list[bytes]] = {}
        self.seen = 0

    def __call__(self, request: Request) -> bytes:
        """Do it, or be down."""
        self.seen += 1
        if self.is_down:
            return answer(b"down", status=503)
        key = (request.values("Idempotency-Key") or [b""])[0]
        self.done.setdefault(key, []).append(request.body)
        return answer(b'{"id": 7}', headers=[(b"Content-Type", b"application/json"), (b"Location", b"/made/7")])


async def state_of(app: App, path: str, wanted: str) -> dict[str, Any]:
    """Ask for a job until it is in a state; each look is a question."""
    async with asyncio.timeout(20):
        while True:
            reply = await app.ask("GET", path)
            assert reply.status == 200, reply.body
            job: dict[str, Any] = reply.json()
            if job["state"] == wanted:
                return job


async def test_a_call_made_later_is_done_and_its_answer_can_be_asked_for(tmp_path: Path) -> None:
    """202 with a place to look; the vendor gets the call as the app made it; the answer is the vendor's."""
    vendor_of = Counting()
    async with Vendor.answering(vendor_of) as vendor:
        pod = Pod(tmp_path, vendor, service=QUICK, config=STORE)
        async with pod, pod.app() as app:
            reply = await app.ask(
                "POST", "/vendor/orders?x=1", "Prefer: respond-async", "Content-Type: text/plain", "X-Own: a",
                "Idempotency-Key: order-7", body=b"two of them",
            )  # fmt: skip
            assert (reply.status, reply.value("Preference-Applied")) == (202, "respond-async")
            assert reply.value("Sidecar-Source") == "queue"
            place = reply.value("Location")
            assert place is not None
            assert place.startswith("/_sidecar/jobs/vendor.")
            job = await state_of(app, place, "succeeded")
            assert (job["method"], job["path"], job["attempts"], job["service"]) == ("POST", "/orders", 1, "vendor")
            assert job["answer"]["status"] == 200
            assert job["answer"]["body"] == '{"id": 7}'
            assert ["Location", "http://localhost/vendor/made/7"] in job["answer"]["headers"] or [
                name for name, value in job["answer"]["headers"] if name == "Location" and "/vendor/made/7" in value
            ]
            [request] = vendor.requests
            assert (request.target, request.body) == (b"/orders?x=1", b"two of them")
            assert request.values("X-Own") == [b"a"]
            assert request.values("Idempotency-Key") == [b"order-7"]
            assert request.values("X-Request-ID") == [reply.value("X-Request-ID").encode()]
            lines = [line for line in await pod.log_lines() if line["msg"] == "call" and line.get("job")]
            assert [line["job"] for line in lines] == [job["id"]]
            again = await app.ask(
                "POST", "/vendor/orders?x=1", "Prefer: respond-async", "Idempotency-Key: order-7", body=b"two of them"
            )
            assert (again.status, again.value("Location")) == (202, place), "the same call is the same job"
            assert again.json()["state"] == "succeeded"
            other = await app.ask(
                "POST", "/vendor/orders?x=1", "Prefer: respond-async", "Idempotency-Key: order-7", body=b"three"
            )
            assert (other.status, other.value("Sidecar-Error")) == (422, "idempotency_mismatch")
            assert vendor_of.seen == 1


async def test_a_vendor_that_is_down_gets_its_calls_when_it_is_back(tmp_path: Path) -> None:
    """The app gets 202 instead of the failure; nothing is lost, nothing is done twice."""
    vendor_of = Counting()
    async with Vendor.answering(vendor_of) as vendor:
        service = 'idempotency = { header = "Idempotency-Key" }\ncircuit_breaker = false\n' + QUICK
        pod = Pod(tmp_path, vendor, service=service, config=STORE)
        async with pod, pod.app() as app:
            vendor_of.is_down = True
            places = []
            for n in range(5):
                reply = await app.ask("POST", "/vendor/x", body=b"%d" % n)
                assert reply.status == 202
                places.append(reply.value("Location") or "")
            waiting = (await app.ask("GET", places[0])).json()
            assert (waiting["why"], waiting["answer"]) == ("503", None) or waiting["answer"]["status"] == 503
            vendor_of.is_down = False
            jobs = [await state_of(app, place, "succeeded") for place in places]
            assert all(job["attempts"] >= 1 for job in jobs)
            assert sorted(bodies[0] for bodies in vendor_of.done.values()) == [b"%d" % n for n in range(5)]
            assert all(len(bodies) == 1 for bodies in vendor_of.done.values()), "each key once"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> str:
    """A `[store]` that outlives the process."""
    return kept_store(request.param, servers, tmp_path)


def config_for(vendor: Vendor, store: str, service: str = QUICK) -> str:
    """A whole config with one service."""
    return (
        f'{store}\n[services.vendor]\nbase_url = "{vendor.url}"\nallow_private = true\nretry = false\n'
        f'circuit_breaker = false\nidempotency = {{ header = "Idempotency-Key" }}\n{service}\n'
    )


async def test_what_was_accepted_outlives_a_kill(tmp_path: Path, store: str, servers: Servers) -> None:
    """Killed with jobs that wait and one under way: the next process does them all."""
    vendor_of = Counting()
    vendor_of.is_down = True
    async with Vendor.answering(vendor_of) as vendor:
        config = config_for(vendor, store)
        async with Process(tmp_path, config) as first, App.to(first.egress_url) as app:
            places = []
            for n in range(20):
                reply = await app.ask("POST", "/vendor/x", "Prefer: respond-async", body=b"%d" % n)
                assert reply.status == 202
                places.append(reply.value("Location") or "")
            await first.kill()
        vendor_of.is_down = False
        if "valkey" in store:
            await asyncio.to_thread(end_leases, servers.get(Valkey.serving))
        async with Process(tmp_path, config) as second, App.to(second.egress_url) as app:
            for place in places:
                await state_of(app, place, "succeeded")
        assert sorted(bodies[0] for bodies in vendor_of.done.values()) == sorted(b"%d" % n for n in range(20))
        assert len(vendor_of.done) == 20


async def test_jobs_with_a_key_keep_their_order(tmp_path: Path) -> None:
    """However the vendor fails in between."""
    order: list[bytes] = []
    failures = iter([True, False, True, True, False, False, False, False, False, False, False, False])

    def play(request: Request) -> bytes:
        if next(failures, False):
            return answer(b"down", status=503)
        order.append(request.body)
        return answer(b"ok")

    async with Vendor.answering(play) as vendor:
        pod = Pod(tmp_path, vendor, service="circuit_breaker = false\n" + QUICK, config=STORE)
        async with pod, pod.app() as app:
            last = ""
            for n in range(8):
                reply = await app.ask(
                    "PUT", "/vendor/x", "Prefer: respond-async", "Sidecar-Queue-Key: customer-7", body=b"%d" % n
                )
                last = reply.value("Location") or ""
            await state_of(app, last, "succeeded")
            assert order == [b"%d" % n for n in range(8)]


async def test_a_result_is_posted_to_the_app_signed_until_it_is_taken(tmp_path: Path) -> None:
    """Verified by the reference library of Standard Webhooks; an app that is down gets it later."""
    secret = base64.b64encode(secrets.token_bytes(24)).decode()
    got: list[tuple[dict[str, str], bytes]] = []
    refusals = iter([500, 503])
    came = asyncio.Event()

    async def take(exchange: Exchange) -> None:
        request = exchange.request
        assert request is not None
        got.append(({name.decode().lower(): value.decode() for name, value in request.headers}, request.body))
        status = next(refusals, 204)
        if status == 204:
            came.set()
        await exchange.send(answer(status=status))

    async with Vendor.answering(answer(b"done", status=201)) as vendor, Vendor(take, host="127.0.0.1") as hooks:
        callback = f'callback = "{hooks.url}/jobs", callback_secret = "files:jobs"'
        pod = Pod(tmp_path, vendor, service=f'queue = {{ schedule = ["10ms"], {callback} }}', config=STORE)
        pod.write_secret("jobs", f"whsec_{secret}")
        async with pod, pod.app() as app:
            reply = await app.ask("PUT", "/vendor/x", "Prefer: respond-async", body=b"x")
            async with asyncio.timeout(20):
                await came.wait()
            assert len(got) == 3
            for headers, body in got:
                told = Webhook(f"whsec_{secret}").verify(body, headers)
                assert told["id"] == (reply.value("Location") or "").rpartition("/")[2]
                assert (told["state"], told["answer"]["status"], told["answer"]["body"]) == ("succeeded", 201, "done")
            [failed] = [line for line in await pod.log_lines() if line["msg"] == "job_result_refused"]
            assert (failed["service"], failed["error"]) == ("vendor", "the app answered 500")


async def test_a_dead_letter_that_people_retry_has_a_further_result(tmp_path: Path) -> None:
    """The app hears of its death, and then that it went well after all: each with an id of its own."""
    vendor_of, told = Counting(), asyncio.Queue[tuple[str, Any]]()
    vendor_of.is_down = True

    async def take(exchange: Exchange) -> None:
        request = exchange.request
        assert request is not None
        told.put_nowait((request.values("webhook-id")[0].decode(), json.loads(request.body)))
        await exchange.send(answer(status=204))

    async with Vendor.answering(vendor_of) as vendor, Vendor(take) as hooks:
        callback = f'callback = "{hooks.url}/jobs", callback_secret = "files:jobs"'
        service = f'circuit_breaker = false\nqueue = {{ schedule = ["10ms"], age_max = "50ms", {callback} }}'
        pod = Pod(tmp_path, vendor, service=service, config=STORE)
        pod.write_secret("jobs", secrets.token_hex(16))
        async with pod, pod.app() as app, asyncio.timeout(20):
            reply = await app.ask("PUT", "/vendor/x", "Prefer: respond-async", body=b"x")
            job = (reply.value("Location") or "").rpartition("/")[2]
            name, dead = await told.get()
            assert (dead["id"], dead["state"]) == (job, "dead")
            assert name == f"{job}.{dead['attempts']}"
            await state_of(app, reply.value("Location") or "", "dead")
            vendor_of.is_down = False
            async with aiohttp.ClientSession(f"http://{pod.sidecar.address('admin')}") as people:
                assert (await people.post(f"/api/jobs/{job}/retry")).status == 200
            name, done = await told.get()
            assert (done["id"], done["state"]) == (job, "succeeded")
            assert name == f"{job}.{dead['attempts'] + 1}"


async def test_people_see_retry_and_discard_jobs_from_the_command_line(tmp_path: Path) -> None:
    """A dead letter waits for them."""
    vendor_of = Counting()
    vendor_of.is_down = True
    async with Vendor.answering(vendor_of) as vendor:
        service = 'queue = { schedule = ["10ms"], age_max = "100ms" }'
        config = config_for(vendor, STORE, service)
        async with Process(tmp_path, config) as sidecar, App.to(sidecar.egress_url) as app:
            reply = await app.ask("POST", "/vendor/x", "Prefer: respond-async", body=b"once")
            place = reply.value("Location") or ""
            job = await state_of(app, place, "dead")
            assert job["error"] == "status 503"
            await sidecar.wait_for_line(lambda line: line["msg"] == "job_dead" and line["job"] == job["id"])
            listed = await asyncio.to_thread(command, sidecar, "list", "--state", "dead", "--json")
            assert [row["id"] for row in json.loads(listed.stdout)] == [job["id"]]
            first = await asyncio.to_thread(command, sidecar, "list", "--limit", "1")
            assert first.stdout.split("\t")[:4] == [job["id"], "dead", "POST", "/x"]
            assert f"--after {job['id']}" in first.stderr
            vendor_of.is_down = False
            await asyncio.to_thread(command, sidecar, "retry", job["id"])
            assert (await state_of(app, place, "succeeded"))["answer"]["status"] == 200
            refused = await asyncio.to_thread(command, sidecar, "retry", job["id"])
            assert refused.returncode == 1
            assert "the job is succeeded" in refused.stderr
            several = await asyncio.to_thread(command, sidecar, "discard", "vendor.none", job["id"])
            assert several.returncode == 1, "the first is not there"
            assert "vendor.none: there is no job" in several.stderr
            assert json.loads(several.stdout) == {"id": job["id"], "state": "discarded"}, "the second went away"
            none = await asyncio.to_thread(command, sidecar, "list")
            assert (none.returncode, none.stdout) == (0, "")
            assert "no such jobs" in none.stderr
            gone = await app.ask("GET", place)
            assert (gone.status, gone.value("Sidecar-Error")) == (404, "unknown_job")


def command(sidecar: Process, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `sidecar jobs ...`."""
    return subprocess.run(
        [sys.executable, "-m", "sidecar", "jobs", *words, "-c", str(sidecar.config_file)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip


async def test_a_job_that_waits_can_be_cancelled_and_one_that_began_cannot(tmp_path: Path) -> None:
    """What has started may have been done."""
    open_now = asyncio.Event()

    async def slow(exchange: Any) -> None:
        await open_now.wait()
        await exchange.send(answer(b"ok"))

    async with Vendor(slow) as vendor:
        pod = Pod(tmp_path, vendor, service="queue = { concurrency = 1 }", config=STORE)
        async with pod, pod.app() as app:
            first = (await app.ask("PUT", "/vendor/1", "Prefer: respond-async")).value("Location") or ""
            second = (await app.ask("PUT", "/vendor/2", "Prefer: respond-async")).value("Location") or ""
            await state_of(app, first, "running")
            refused = await app.ask("DELETE", first)
            assert (refused.status, refused.value("Sidecar-Error")) == (409, "job_state")
            cancelled = await app.ask("DELETE", second)
            assert (cancelled.status, cancelled.json()["state"]) == (200, "cancelled")
            open_now.set()
            await state_of(app, first, "succeeded")
            assert [request.target for request in vendor.requests] == [b"/1"]


async def test_a_full_queue_says_so_and_accepts_nothing(tmp_path: Path) -> None:
    """503 with Retry-After; what is there stays."""
    vendor_of = Counting()
    vendor_of.is_down = True
    async with Vendor.answering(vendor_of) as vendor:
        service = 'circuit_breaker = false\nqueue = { schedule = ["1h"], length_max = 2, body_max = "1KiB" }'
        pod = Pod(tmp_path, vendor, service=service, config=STORE)
        async with pod, pod.app() as app:
            for _ in range(2):
                assert (await app.ask("PUT", "/vendor/x", "Prefer: respond-async")).status == 202
            full = await app.ask("PUT", "/vendor/x", "Prefer: respond-async")
            assert (full.status, full.value("Sidecar-Error")) == (503, "queue_full")
            assert full.value("Retry-After") is not None
            long = await app.ask("PUT", "/vendor/x", "Prefer: respond-async", body=b"x" * 1025)
            assert (long.status, long.value("Sidecar-Error")) == (413, "body_too_large")


async def test_the_store_holds_no_credential(tmp_path: Path) -> None:
    """Neither the one that is injected when the job runs, nor one that the app sends by itself."""
    key, own = secrets.token_hex(16), secrets.token_hex(16)
    async with Vendor.answering(answer(b"ok")) as vendor:
        service = 'auth = { kind = "bearer", secret = "files:key" }\n' + QUICK
        pod = Pod(tmp_path, vendor, service=service, config=f'[store]\nkind = "sqlite"\npath = "{tmp_path}/state.db"\n')
        pod.write_secret("key", key)
        async with pod, pod.app() as app:
            fields = ("Prefer: respond-async", f"Authorization: Bearer {own}", f"Cookie: session={own}")
            reply = await app.ask("POST", "/vendor/x", *fields, body=b"plain")
            await state_of(app, reply.value("Location") or "", "succeeded")
            assert vendor.requests[0].values("Authorization") == [f"Bearer {key}".encode()]
            refused = await app.ask("POST", "/vendor/x", "Prefer: respond-async", f"X-Api-Key: {own}", body=b"x")
            assert refused.status == 200, "made at once, since it carries a credential"
        stored = await asyncio.to_thread(written, tmp_path)
        assert b"plain" in stored or b"/x" in stored
        for value in (key, own):
            assert value.encode() not in stored
            assert base64.b64encode(value.encode())[:-4] not in stored


def written(folder: Path) -> bytes:
    """Give everything that the store wrote."""
    return b"".join(file.read_bytes() for file in folder.rglob("state.db*") if file.is_file())


async def test_jobs_are_measured(tmp_path: Path) -> None:
    """By state, with the age of the oldest."""
    vendor_of = Counting()
    vendor_of.is_down = True
    async with Vendor.answering(vendor_of) as vendor:
        service = 'circuit_breaker = false\nqueue = { schedule = ["1h"] }'
        pod = Pod(tmp_path, vendor, service=service, config=STORE)
        async with pod, pod.app() as app, aiohttp.ClientSession() as session:
            await app.ask("PUT", "/vendor/x", "Prefer: respond-async")
            url = f"http://{pod.sidecar.address('telemetry')}/metrics"
            async with asyncio.timeout(20):
                while True:
                    async with session.get(url) as reply:
                        text = await reply.text()
                    if 'sidecar_queue_jobs{service="vendor",state="waiting"} 1.0' in text:
                        break
            assert 'sidecar_queue_oldest_seconds{service="vendor"}' in text


async def test_no_key_is_made_for_a_vendor_that_has_no_place_for_one(tmp_path: Path) -> None:
    """A call that it may have done is not made again on the word of a key that it does not know."""
    async with Vendor.answering(answer(b"down", status=503)) as vendor:
        pod = Pod(tmp_path, vendor, service='idempotency = { replay = "1h" }\n' + QUICK, config=STORE)
        async with pod, pod.app() as app:
            reply = await app.ask("POST", "/vendor/x", body=b"1")
            assert reply.status == 503
            assert len(vendor.requests) == 1
            assert vendor.requests[0].values("Idempotency-Key") == []
