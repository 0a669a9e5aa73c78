"""A payment that is sent twice is made once: the key stands where the vendor looks for it, on every attempt."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kit.exchange import Exchange, Request
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

RETRY = 'retry = { backoff = "1ms", backoff_max = "1ms" }\n'
FAILS_ONCE = (answer(status=503, reason=b"Down"), answer(b"paid"))
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def service(section: str) -> str:
    """Write the service with its place for keys, and retries that do not wait."""
    return f"{RETRY}idempotency = {{ {section} }}\n"


def keys_in(place: str, request: Request) -> list[str]:
    """Give what stands in the vendor's place."""
    match place:
        case 'header = "PayPal-Request-Id"':
            assert request.values("Idempotency-Key") == []
            return [value.decode() for value in request.values("PayPal-Request-Id")]
        case 'field = "idempotency_key"':
            body: dict[str, Any] = json.loads(request.body)
            assert body["amount"] == 5
            return [body["idempotency_key"]]
        case _:
            _, _, query = request.target.decode().partition("?")
            assert query.startswith("minor=1&")
            return [pair.partition("=")[2] for pair in query.split("&") if pair.startswith("requestid=")]


PLACES = ['header = "PayPal-Request-Id"', 'field = "idempotency_key"', 'query = "requestid"']


@pytest.mark.parametrize("place", PLACES)
async def test_a_made_key_is_the_same_on_every_attempt_and_in_the_answer(tmp_path: Path, place: str) -> None:
    """The app sent none, the vendor failed once, and the payment is still made once."""
    async with Vendor.answering(*FAILS_ONCE) as vendor, Pod(tmp_path, vendor, service=service(place)) as pod:
        async with pod.app() as app:
            reply = await app.ask("POST", "/vendor/pay?minor=1", "Content-Type: application/json", body=b'{"amount":5}')
        first, second = vendor.requests
        keys = keys_in(place, first)
        assert keys == keys_in(place, second)
        assert (reply.status, reply.body, reply.value("Sidecar-Attempts")) == (200, b"paid", "2")
        assert [reply.value("Idempotency-Key")] == keys
        assert len(keys[0]) == 36
        await pod.assert_nothing_left()


@pytest.mark.parametrize("place", PLACES)
async def test_the_apps_key_goes_to_the_vendors_place(tmp_path: Path, place: str) -> None:
    """The app says `Idempotency-Key`, whatever this vendor calls it."""
    async with Vendor.answering(*FAILS_ONCE) as vendor, Pod(tmp_path, vendor, service=service(place)) as pod:
        async with pod.app() as app:
            reply = await app.ask("POST", "/vendor/pay?minor=1", "Idempotency-Key: order-17", body=b'{"amount":5}')
        assert [keys_in(place, request) for request in vendor.requests] == [["order-17"]] * 2
        assert reply.value("Idempotency-Key") == "order-17"


async def test_without_a_key_a_post_is_sent_once(tmp_path: Path) -> None:
    """Where the key has no place, a second try could be a second payment."""
    async with (
        Vendor.answering(*FAILS_ONCE) as vendor,
        Pod(tmp_path, vendor, service=service('field = "idempotency_key"')) as pod,
    ):
        async with pod.app() as app:
            reply = await app.ask("POST", "/vendor/pay", "Idempotency-Key: order-17", body=b"amount=5")
        assert (reply.status, reply.values("Idempotency-Key"), len(vendor.requests)) == (503, [], 1)
        assert vendor.requests[0].body == b"amount=5"


async def test_a_body_that_arrives_in_pieces_gets_its_key_and_its_length(tmp_path: Path) -> None:
    """It is chunked by the app and has a length for the vendor, since it is wholly in hand."""
    async with (
        Vendor.echoing() as vendor,
        Pod(tmp_path, vendor, service=service('field = "idempotency_key"')) as pod,
    ):
        async with pod.app() as app:
            await app.send(
                b"POST /vendor/pay HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
                b'7\r\n{"amoun\r\n',
                b'6\r\nt": 5}\r\n0\r\n\r\n',
            )
            reply = await app.read_answer("POST")
        key = reply.value("Idempotency-Key")
        (request,) = vendor.requests
        assert request.body == b'{"idempotency_key":"%b","amount": 5}' % key.encode()
        assert request.values("Content-Length") == [b"%d" % len(request.body)]
        assert request.values("Transfer-Encoding") == []


async def test_a_body_over_the_bound_streams_as_it_is(tmp_path: Path) -> None:
    """Not a byte of it is held for the sake of a key, beyond the bound."""
    content = b'{"amount":5,"memo":"' + b"m" * 300_000 + b'"}'
    section = 'field = "idempotency_key", body_max = "64KiB"'
    async with Vendor.echoing() as vendor, Pod(tmp_path, vendor, service=service(section), level="debug") as pod:
        async with pod.app() as app:
            await app.ask("POST", "/vendor/pay", "Expect: 100-continue", body=content)
            chunks = b"".join(b"%x\r\n%b\r\n" % (50_000, content[at : at + 50_000]) for at in range(0, 300_000, 50_000))
            rest = content[300_000:]
            await app.send(
                b"POST /vendor/pay HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
                chunks + b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest),
            )
            await app.read_answer("POST")
        assert [request.body for request in vendor.requests] == [content] * 2
        told = [line for line in await pod.log_lines() if line["msg"] == "idempotency_key_not_put"]
        assert ["body_max" in line["why"] for line in told] == [True, True]


async def test_an_app_that_waits_for_100_continue_gets_it(tmp_path: Path) -> None:
    """The sidecar asks for the body itself, since it has to look into it."""
    async with (
        Vendor.echoing() as vendor,
        Pod(tmp_path, vendor, service=service('field = "idempotency_key"')) as pod,
        pod.app() as app,
    ):
        await app.send(
            b"POST /vendor/pay HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await app.read_interim()).status == 100
        await app.send(b'{"amount":5}')
        assert (await app.read_answer("POST")).status == 200
        assert vendor.requests[0].values("Expect") == []


async def test_an_app_that_hangs_up_in_its_body_leaves_nothing(tmp_path: Path) -> None:
    """The vendor is never asked."""
    async with (
        Vendor.echoing() as vendor,
        Pod(tmp_path, vendor, service=service('field = "idempotency_key"')) as pod,
    ):
        async with pod.app() as app:
            await app.send(b"POST /vendor/pay HTTP/1.1\r\nHost: localhost\r\nContent-Length: 12\r\n\r\n", b'{"am')
            await pod.until(lambda: pod.snapshot()["calls_in_flight"] == 1, "the call")
            app.reset()
        await pod.assert_nothing_left()
        assert vendor.requests == []
        (line,) = await pod.calls()
        assert line["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("header", "sentence"),
    [("Idempotency-Key: " + "k" * 46, "takes 45"), ("Idempotency-Key: a\r\nIdempotency-Key: b", "two different")],
)
async def test_a_key_that_cannot_be_kept_is_refused(tmp_path: Path, header: str, sentence: str) -> None:
    """With a sentence, and before anything is sent."""
    async with (
        Vendor.echoing() as vendor,
        Pod(tmp_path, vendor, service=service('header = "Idempotency-Key", key_max = 45')) as pod,
        pod.app() as app,
    ):
        reply = await app.ask("POST", "/vendor/pay", header, body=b"{}")
        assert (reply.status, reply.value("Sidecar-Error")) == (400, "bad_request")
        assert sentence in reply.json()["detail"]
        assert vendor.requests == []


async def test_the_log_has_the_keys_hash_and_never_the_key(tmp_path: Path) -> None:
    """The key of a call that failed would open the vendor's answer to whoever reads the log."""

    async def fail(exchange: Exchange) -> None:
        await exchange.send(answer(b"no", status=500, reason=b"Broken"))

    for number, place in enumerate(PLACES):
        directory = tmp_path / str(number)
        directory.mkdir()
        async with Vendor(fail) as vendor, Pod(directory, vendor, service=service(place), level="debug") as pod:
            async with pod.app() as app:
                reply = await app.ask("POST", "/vendor/pay?minor=1", body=b'{"amount":5}')
            key = reply.value("Idempotency-Key")
            (line,) = await pod.calls()
            assert len(line["idempotency_key_hash"]) == 16
            assert len(line["attempt_details"]) == 3
            assert keys_in(place, vendor.requests[2]) == [key]
            await pod.stop()
            assert key.encode() not in pod.log_file.read_bytes(), place


async def test_an_answer_of_the_sidecars_own_tells_the_key_that_was_sent(tmp_path: Path) -> None:
    """Nobody knows whether the vendor did it; by this key the vendor can be asked, or the call be sent again."""

    async def hang_up(exchange: Exchange) -> None:
        exchange.reset()

    async with Vendor(hang_up) as vendor, Pod(tmp_path, vendor, service=service(PLACES[0])) as pod, pod.app() as app:
        reply = await app.ask("POST", "/vendor/pay", body=b"{}")
        assert (reply.status, reply.value("Sidecar-Error")) == (502, "upstream_reset")
        assert [reply.value("Idempotency-Key")] == keys_in(PLACES[0], vendor.requests[0])
