"""A request that is refused may hold a credential: not a byte of its header values is in anything that we write."""

import base64
import logging
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from tests.kit.pod import Pod
from tests.kit.vendor import Vendor

DOORS = ["egress", "admin", "telemetry"]

# Heads in which CANARY stands as an app's credential would; each is refused by one door at least.
HEADS = {
    "plain": "GET /unknown HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer CANARY\r\n\r\n",
    "wrong host": "GET / HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Basic CANARY\r\nCookie: s=CANARY\r\n\r\n",
    "host itself": "GET / HTTP/1.1\r\nHost: CANARY.example\r\n\r\n",
    "user info": "GET http://user:CANARY@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no colon": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization Bearer CANARY\r\n\r\n",
    "space before the colon": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization : CANARY\r\n\r\n",
    "NUL": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: CANARY\x00\r\n\r\n",
    "control byte": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: CANARY\x01CANARY\r\n\r\n",
    "bare LF": "GET / HTTP/1.1\r\nHost: localhost\nAuthorization: CANARY\n\n",
    "folded": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer\r\n CANARY\r\n\r\n",
    "two lengths": "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: CANARY\r\nAuthorization: CANARY\r\n\r\n",
    "length and coding": (
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: CANARY\r\nContent-Length: 3\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "coding": "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: CANARY\r\nAuthorization: CANARY\r\n\r\n",
    "version": "GET / HTTP/9.CANARY\r\nHost: localhost\r\nAuthorization: CANARY\r\n\r\n",
    "bad version": "GET / HTTP/7.3\r\nHost: localhost\r\nAuthorization: CANARY\r\n\r\n",
    "method": "CANARY / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "chunk": (
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: CANARY\r\nTransfer-Encoding: chunked\r\n\r\n"
        "CANARY\r\n"
    ),
    "too long": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + "CANARY" * 6000 + "\r\n\r\n",
    "too many": "GET / HTTP/1.1\r\nHost: localhost\r\n" + "Cookie: CANARY\r\n" * 3000 + "\r\n",
    "fields for us": (
        "GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nSidecar-Timeout: CANARY\r\nSidecar-Attempts-Max: CANARY\r\n"
        "Authorization: CANARY\r\n\r\n"
    ),
    "token": "GET /vendor/x HTTP/1.1\r\nHost: localhost\r\nSidecar-Token: CANARY\r\n\r\n",
    "not allowed": "DELETE /vendor/x HTTP/1.1\r\nHost: localhost\r\nAuthorization: CANARY\r\nX-Api-Key: CANARY\r\n\r\n",
    "tunnel": "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\nProxy-Authorization: Basic CANARY\r\n\r\n",
    "upgrade": (
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: CANARY\r\nAuthorization: CANARY\r\n\r\n"
    ),
    "cut off": "GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: CANARY",
    "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nCANARY",
    "junk behind": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nAuthorization: CANARY\r\n\r\n",
}  # fmt: skip


def _forms(canary: str) -> list[bytes]:
    """Give the shapes in which a secret leaks: as it is, URL-encoded, base64, as Basic, reversed case."""
    plain = canary.encode()
    return [
        plain,
        quote(canary).encode(),
        base64.b64encode(plain),
        base64.b64encode(b"user:" + plain)[8:-4],
        plain.upper(),
    ]


@pytest.mark.parametrize("door", DOORS)
async def test_nothing_of_a_refused_head_is_written(
    tmp_path: Path, door: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """At level debug, through each door: log, stdout, stderr, metrics, page, and Python's own loggers are clean."""
    caplog.set_level(logging.DEBUG)
    canary = "Canary" + secrets.token_hex(12)
    async with Vendor.echoing() as vendor:
        listen = 'head_max = "16KiB"\nhead_timeout = "50ms"\nbody_timeout = "50ms"\nkeepalive_timeout = "50ms"'
        pod = Pod(tmp_path, vendor, service='allow = ["GET /x"]', listen=listen, level="debug")
        pod.expected_faults = {"library"}  # aiohttp's server complains, in our words.
        async with pod:
            address = pod.address if door == "egress" else pod.sidecar.address(door)
            answers = bytearray()
            for head in HEADS.values():
                async with pod.app(address) as app:
                    with suppress(ConnectionError):  # Refused before it was read whole.
                        await app.send(head.replace("CANARY", canary).encode("latin-1")[:100_000])
                        if door != "egress":  # There, FIN is hanging up, and time ends what is not whole.
                            app.half_close()
                    answers += await app.read_until_closed()
            written = bytes(answers) + await _everything(pod)
        log = pod.log_file.read_bytes()
        assert log.count(b'"msg":"call"' if door == "egress" else b'"msg":"library"') > 5, "it was worth a look"
        written += log
    seen = capfd.readouterr()
    written += seen.out.encode() + seen.err.encode() + caplog.text.encode()
    for form in _forms(canary):
        at = written.find(form)
        assert at == -1, f"the canary is written: {written[max(0, at - 300) : at + 100]!r}"


@pytest.mark.parametrize("head", list(HEADS.values()), ids=list(HEADS))
async def test_no_answer_of_the_egress_door_quotes_a_refused_head(tmp_path: Path, head: str) -> None:
    """An answer goes into the app's own logs: it says what is wrong without quoting it."""
    canary = "Canary" + secrets.token_hex(12)

    def quotes(raw: bytes) -> bool:
        return any(form in raw for form in _forms(canary))

    async with Vendor.echoing() as vendor:
        service = 'allow = ["GET /x"]'
        async with Pod(tmp_path, vendor, service=service, listen='head_max = "16KiB"', level="debug") as pod:
            async with pod.app() as app:
                await app.send(head.replace("CANARY", canary).encode("latin-1")[:100_000])
                if head != HEADS["cut off"]:
                    reply = await app.read_answer()
                    assert reply.status >= 400 or reply.status == 200
                    if reply.status >= 400:
                        assert not quotes(reply.raw_head + reply.body), reply
            await pod.assert_nothing_left()
            assert not quotes(await _everything(pod))
        assert not quotes(pod.log_file.read_bytes())


async def _everything(pod: Pod) -> bytes:
    """Give all that the doors for people and probes show."""
    shown = b""
    async with aiohttp.ClientSession() as session:
        for door, path in [
            ("telemetry", "/metrics"),
            ("admin", "/"),
            ("admin", "/api/services"),
            ("admin", "/api/config"),
        ]:
            async with session.get(f"http://{pod.sidecar.address(door)}{path}") as reply:
                assert reply.status == 200
                shown += await reply.read()
    return shown
