"""What an app sends twice under one key is done once: over restarts, in two pods, and at the same moment."""

import asyncio
import hashlib
import re
from pathlib import Path

import pytest

from tests.kit.app import App, Reply
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange, Request
from tests.kit.pod import Pod
from tests.kit.process import Process
from tests.kit.standing import Standing
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer
from tests.stories.test_credentials_canaries import canary, codings

KEY = "Idempotency-Key: order-17"
REPLAY = 'idempotency = { header = "Idempotency-Key", replay = "24h" }\n'
WAITING = 'idempotency = { replay = "24h", wait = true }\n'
SQLITE = '[store]\nkind = "sqlite"\n'


async def pay(address: str, *headers: str, body: bytes = b"5 euros", target: str = "/vendor/pay") -> Reply:
    """Send the payment on a connection of its own."""
    async with App.to(address) as app:
        return await app.ask("POST", target, KEY, *headers, body=body)


def config(vendor: Vendor, folder: Path, secret: str, store: str, idempotency: str) -> str:
    """Write the config of a process, and the secret of its service."""
    secrets = folder / "secrets"
    secrets.mkdir(mode=0o700, exist_ok=True)
    (secrets / "vendor").touch(mode=0o600)
    (secrets / "vendor").write_text(secret)
    return (
        f'{store}[secrets.files]\nkind = "file"\npath = "{secrets}"\n[services.vendor]\nbase_url = "{vendor.url}"\n'
        f'allow_private = true\nauth = {{ kind = "bearer", secret = "files:vendor" }}\n{idempotency}'
    )


def on_disk(folder: Path) -> bytes:
    """Read the store's file, and its log."""
    return b"".join(file.read_bytes() for file in folder.glob("state.db*"))


async def test_the_answer_survives_a_killed_sidecar_and_holds_no_credential(tmp_path: Path) -> None:
    """What the app got is on the disk already; and what the sidecar put on the call for the vendor is not."""
    secret = canary()
    first = answer(b"paid", status=201, headers=[(b"Set-Cookie", b"a=1"), (b"Location", b"/pay/1")])
    async with Vendor.answering(first, answer(b"paid twice")) as vendor:
        text = config(vendor, tmp_path, secret, SQLITE, REPLAY)
        async with Process(tmp_path, text) as sidecar:
            before = await pay(sidecar.egress_url)
            await sidecar.kill()
        assert vendor.requests[0].values("Authorization") == [f"Bearer {secret}".encode()]
        written = on_disk(tmp_path)
        assert b"paid" in written
        assert [form for form in codings(secret) if form in written] == []
        assert b"order-17" not in written
        async with Process(tmp_path, text) as sidecar:
            after = await pay(sidecar.egress_url)
            line = await sidecar.wait_for_line(lambda line: line["msg"] == "call")
        assert len(vendor.requests) == 1
    assert (before.status, before.value("Sidecar-Source"), before.values("Idempotency-Replayed")) == (
        201,
        "upstream",
        [],
    )
    assert (after.status, after.value("Sidecar-Source"), after.value("Idempotency-Replayed")) == (201, "cache", "true")
    for name in ("Set-Cookie", "Location", "Content-Length", "Idempotency-Key"):
        assert before.value(name) == after.value(name)
    assert (before.body, after.body) == (b"paid", b"paid")
    assert (after.value("Sidecar-Attempts"), after.value("Location")) == ("0", "http://localhost/vendor/pay/1")
    assert before.value("X-Request-ID") != after.value("X-Request-ID")
    assert (line["source"], line["outcome"], line["attempts"], line["code"]) == ("cache", "success", 0, "")
    assert line["idempotency_key_hash"]


async def test_two_sidecars_with_one_valkey_ask_the_vendor_once(tmp_path: Path) -> None:
    """Ten payments at the same moment through two pods are one, and all ten apps get its answer."""
    let_go = asyncio.Event()

    async def play(exchange: Exchange) -> None:
        await let_go.wait()
        await exchange.send(answer(b"paid"))

    with Valkey.serving() as valkey:
        store = f'[store]\nkind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\n'
        folders = [tmp_path / "one", tmp_path / "two"]
        async with Vendor(play) as vendor:
            texts = []
            for folder in folders:
                folder.mkdir()
                texts.append(config(vendor, folder, "secret", store, WAITING))
                (folder / "secrets" / "valkey").touch(mode=0o600)
                (folder / "secrets" / "valkey").write_text(valkey.password)
            async with Process(folders[0], texts[0]) as one, Process(folders[1], texts[1]) as two:
                doors = [one.egress_url, two.egress_url] * 5
                asking = [asyncio.create_task(pay(door)) for door in doors]
                await vendor.wait_for_request()
                let_go.set()
                replies = await asyncio.gather(*asking)
                mismatched = await pay(two.egress_url, body=b"6 euros")
            assert len(vendor.requests) == 1
    assert [reply.body for reply in replies] == [b"paid"] * 10
    assert sorted(reply.value("Sidecar-Source") for reply in replies) == ["cache"] * 9 + ["upstream"]
    assert (mismatched.status, mismatched.value("Sidecar-Error")) == (422, "idempotency_mismatch")


async def test_while_the_first_is_under_way_the_second_is_told_when_to_come_back(tmp_path: Path) -> None:
    """409 as an answer of the sidecar's own, which tells code and time; the vendor has one request."""
    let_go = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"paid"), 0, let_go) as vendor,
        Pod(tmp_path, vendor, service=REPLAY) as pod,
    ):
        first = asyncio.create_task(pay(pod.address))
        await vendor.wait_for_request()
        second = await pay(pod.address)
        assert (second.status, second.value("Sidecar-Error")) == (409, "idempotency_in_flight")
        assert (second.value("Retry-After"), second.value("Sidecar-Attempts")) == ("1", "0")
        assert second.json()["retry_after"] == 1
        shown = pod.snapshot()["services"]["vendor"]["idempotency"]
        assert shown["under_way"] == 1
        let_go.set()
        assert (await first).body == b"paid"
        assert (await pay(pod.address)).value("Sidecar-Source") == "cache"
        assert len(vendor.requests) == 1
        lines = await pod.calls(3)
        assert [(line["code"], line["outcome"]) for line in lines] == [
            ("idempotency_in_flight", "rejected"), ("", "success"), ("", "success"),
        ]  # fmt: skip
        await pod.assert_nothing_left()


async def test_an_app_that_hung_up_does_not_make_the_vendor_do_it_twice(tmp_path: Path) -> None:
    """It lost patience while the vendor was at work, and tries again at once."""
    let_go = asyncio.Event()
    async with (
        Vendor.stalling(answer(b"paid"), 0, let_go) as vendor,
        Pod(tmp_path, vendor, service=REPLAY) as pod,
    ):
        first = asyncio.create_task(pay(pod.address))
        await vendor.wait_for_request()
        first.cancel()
        await asyncio.wait([first])
        assert await pod.is_quiet()
        assert (await pay(pod.address)).value("Sidecar-Error") == "idempotency_in_flight"
        assert len(vendor.requests) == 1
        let_go.set()


async def test_a_stream_reaches_the_app_piece_by_piece_and_is_repeated_whole(tmp_path: Path) -> None:
    """The first event is read while the vendor has not sent the second; each way of an answer keeps its framing."""
    first_read = asyncio.Event()
    raw = answer(
        headers=[(b"Content-Type", b"text/event-stream")], chunks=[b"data: 1\n\n", b"data: 2\n\n"],
        trailers=[(b"Sum", b"2")],
    )  # fmt: skip
    at = raw.index(b"data: 1\n\n") + len(b"data: 1\n\n\r\n")
    async with (
        Vendor.stalling(raw, at, first_read) as vendor,
        Pod(tmp_path, vendor, service=REPLAY) as pod,
        pod.app() as app,
    ):
        await app.send(f"POST /vendor/pay HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nTE: trailers\r\n\r\n".encode())
        reply = await app.read_head("POST")
        await app.read_body(reply, seen=lambda _: first_read.set())
        assert (reply.body, reply.value("Sidecar-Source")) == (b"data: 1\n\ndata: 2\n\n", "upstream")
        await pod.until(lambda: not pod.snapshot()["services"]["vendor"]["idempotency"]["under_way"], "the record")
        again = await pay(pod.address, "TE: trailers", body=b"")
        assert (again.body, again.value("Transfer-Encoding")) == (reply.body, "chunked")
        assert (again.trailers, again.value("Sidecar-Source")) == (reply.trailers, "cache")
        assert len(vendor.requests) == 1
        await app.close()


@pytest.mark.parametrize("length", [100_000, 300_000])
async def test_an_answer_over_the_bound_reaches_the_app_and_is_not_repeated(tmp_path: Path, length: int) -> None:
    """Below 256 KiB it is repeated to the byte; above, the second call is told that it was done."""
    content = bytes(range(250)) * (length // 250)
    async with Vendor.answering(answer(content)) as vendor, Pod(tmp_path, vendor, service=REPLAY) as pod:
        assert (await pay(pod.address)).body == content
        again = await pay(pod.address)
        if length < 256 * 1024:
            assert again.body == content
        else:
            assert (again.status, again.value("Sidecar-Error")) == (409, "idempotency_not_kept")
        assert len(vendor.requests) == 1


async def test_a_repeated_answer_takes_no_permit_and_passes_an_open_circuit(tmp_path: Path) -> None:
    """The rate is used up, and an operator holds the circuit open: what was done is told all the same."""
    limits = REPLAY + 'rate_limit = { rate = "1/h", burst = 1 }\ncircuit_breaker = {}\n'
    async with Vendor.answering(answer(b"paid")) as vendor, Pod(tmp_path, vendor, service=limits) as pod:
        await pay(pod.address)
        assert pod.sidecar._generation is not None
        pod.sidecar._generation.force_circuit("vendor", "open")
        again = [await pay(pod.address) for _ in range(3)]
        other = await pay(pod.address, target="/vendor/pay/2")
    assert [reply.body for reply in again] == [b"paid"] * 3
    assert other.value("Sidecar-Error") == "circuit_open"


async def test_however_many_attempts_there_is_one_record(clock: ManualClock, tmp_path: Path) -> None:
    """The vendor failed twice, and the third attempt is what is repeated; a reload keeps it."""
    service = 'retry = { attempts_max = 3, backoff = "1s" }\n' + REPLAY
    async with Standing(clock, tmp_path, service) as it:
        says = iter([answer(status=503), answer(status=503), answer(b"paid")])
        it.vendor.says = lambda _: next(says)
        first = await it.ask("/vendor/pay", "POST", KEY)
        await it.reload(service + 'timeout = "10s"\n')
        again = await it.ask("/vendor/pay", "POST", KEY)
        assert (first.value("Sidecar-Attempts"), again.value("Sidecar-Attempts")) == ("3", "0")
        assert (first.body, again.body, len(it.vendor.at)) == (b"paid", b"paid", 3)
        assert [it.counted("sidecar_idempotency_total", what) for what in ("kept", "replayed")] == [1, 1]
        await clock.advance(24 * 3600)
        it.vendor.says = answer(b"another")
        assert (await it.ask("/vendor/pay", "POST", KEY)).body == b"another"


async def test_another_user_does_not_get_what_the_first_was_told(tmp_path: Path) -> None:
    """The app's own credential goes on to this vendor, so it is part of what makes two calls the same."""
    service = REPLAY + 'auth = { kind = "passthrough" }\n'

    def greet(request: Request) -> bytes:  # By what no record may hold, and without repeating it.
        return answer(hashlib.sha256(request.values("Authorization")[0]).hexdigest().encode())

    async with Vendor.answering(greet) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        alice = await pay(pod.address, "Authorization: Bearer alice")
        bob = await pay(pod.address, "Authorization: Bearer bob")
        again = await pay(pod.address, "Authorization: Bearer alice")
    assert (bob.value("Sidecar-Source"), again.value("Sidecar-Source")) == ("upstream", "cache")
    assert alice.body == again.body != bob.body


async def test_an_answer_that_repeats_the_users_credential_is_not_kept(tmp_path: Path) -> None:
    """It was done, so the vendor is not asked again; what was said stands in no store."""
    service = REPLAY + 'auth = { kind = "passthrough" }\n'
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, service=service) as pod:
        first = await pay(pod.address, "Authorization: Bearer alices-own-token")
        again = await pay(pod.address, "Authorization: Bearer alices-own-token")
        assert (first.status, again.status, again.value("Sidecar-Error")) == (200, 409, "idempotency_not_kept")
        assert len(vendor.requests) == 1


async def test_without_replay_nothing_is_kept(tmp_path: Path) -> None:
    """A key in the answer, and no record of it."""
    service = 'idempotency = { header = "Idempotency-Key" }\n'
    async with Vendor.answering(answer(b"paid")) as vendor, Pod(tmp_path, vendor, service=service) as pod:
        replies = [await pay(pod.address) for _ in range(2)]
        assert [reply.value("Sidecar-Source") for reply in replies] == ["upstream"] * 2
        assert "idempotency" not in pod.snapshot()["services"]["vendor"]
        assert len(vendor.requests) == 2
        assert re.fullmatch("[0-9a-f]{16}", (await pod.calls(2))[0]["idempotency_key_hash"])
