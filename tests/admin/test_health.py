"""The door for probes: exact paths, two methods, and silence about what came in."""

import asyncio
import io
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import pytest
from aiohttp import web

from sidecar.admin.api import admin_app
from sidecar.admin.door import PeopleDoor
from sidecar.admin.health import health_app
from sidecar.core.clock import SystemClock
from sidecar.telemetry.log import Log, LogConfig
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.quiet import quiet_libraries
from sidecar.telemetry.redact import Redactor

REASON: list[str | None] = [None]


async def opened(app: web.Application) -> tuple[PeopleDoor, int]:
    """Open a door on a free port."""
    door = PeopleDoor(SystemClock())
    await door.open(app, ("127.0.0.1", 0))
    return door, int(door.bound.rpartition(":")[2])


async def send(port: int, raw: bytes) -> bytes:
    """Send raw bytes, and read until the door closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def ask(port: int, method: str, target: str) -> tuple[int, bytes, bytes]:
    """Ask once; gives status, head and body."""
    answer = await send(port, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, body


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """The telemetry door, ready."""
    REASON[0] = None
    door, port = await opened(health_app(lambda: REASON[0], Metrics().exposition))
    yield port
    await door.close()


@pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics", "/livez?verbose"])
async def test_the_three_paths_answer(port: int, target: str) -> None:
    """With or without a query."""
    assert (await ask(port, "GET", target))[0] == 200
    status, _, body = await ask(port, "HEAD", target)
    assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    "target",
    ["/", "/livez/", "//livez", "/x/livez", "/livez/x", "/%6Civez", "/LIVEZ", "/livez%3F", "/./livez", "/x/../livez",
     "/livez;x", "/livez%00", "/livez#x", "http://x/livez", "/api/services", "*"],
)  # fmt: skip
async def test_any_other_path_is_not_there(port: int, target: str) -> None:
    """Exact means byte for byte."""
    assert (await ask(port, "OPTIONS" if target == "*" else "GET", target))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_only_reading_is_possible(port: int, method: str) -> None:
    """Nothing can be changed here."""
    status, head, _ = await ask(port, method, "/livez")
    assert status == 405
    assert b"Allow: GET, HEAD" in head


async def test_readyz_says_in_words_why_not(port: int) -> None:
    """An engineer reads it with curl."""
    REASON[0] = "draining"
    status, _, body = await ask(port, "GET", "/readyz")
    assert (status, body) == (503, b"not ready: draining\n")
    assert (await ask(port, "GET", "/livez"))[0] == 200


async def test_metrics_come_in_the_text_format(port: int) -> None:
    """With the version that every Prometheus reads."""
    _, head, body = await ask(port, "GET", "/metrics")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
    assert b"sidecar_build_info" in body


@pytest.fixture
def loggers() -> Iterator[None]:
    """Put the process's loggers back as they were."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, logging.raiseExceptions)
    yield
    root.handlers[:], root.level, logging.raiseExceptions = before


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def add(self, line: bytes) -> None:
        """Keep a line."""
        self.lines.append(line)


async def test_no_byte_of_a_bad_request_is_logged(loggers: None) -> None:
    """Aiohttp would print the raw header with a traceback; a credential may stand in it."""
    canary = secrets.token_hex(16)
    kept, out = Kept(), io.StringIO()
    log = Log(LogConfig(level="debug"), kept, Redactor(), lambda: 0.0, lambda: 0.0)  # type: ignore[arg-type]

    def broken() -> dict[str, Any]:
        raise RuntimeError(canary)

    async def reload() -> dict[str, Any]:
        return broken()

    quiet_libraries(log, SystemClock().now)
    with redirect_stdout(out), redirect_stderr(out):
        doors = [
            await opened(health_app(lambda: None, lambda: (canary.encode(), canary))),  # A content type of no kind.
            await opened(admin_app(broken, broken, reload, on_fault=lambda error: None)),
        ]
        head = f"Authorization: Bearer {canary}".encode()
        for _, port in doors:
            for raw in bad_requests(head):
                await send(port, raw)
            await send(port, os.urandom(300) + head + b"\r\n\r\n")
        for door, _ in doors:
            await door.close()
    assert kept.lines, "that something was wrong is told"
    told = b"\n".join(kept.lines).decode() + out.getvalue()
    assert canary not in told
    assert all(json.loads(line)["msg"] == "library" for line in kept.lines)


async def test_a_flood_of_bad_requests_is_a_few_lines(loggers: None) -> None:
    """Whoever reaches a door can send them without end; later ones are counted in a line a minute."""
    kept, now = Kept(), 0.0
    log = Log(LogConfig(level="debug"), kept, Redactor(), lambda: 0.0, lambda: 0.0)  # type: ignore[arg-type]
    quiet_libraries(log, lambda: now)
    door, port = await opened(health_app(lambda: None, lambda: (b"", "")))
    for number in range(51):
        now = 61.0 if number == 50 else 0.0
        await send(port, b"GET /?\xff HTTP/1.1\r\n\r\n")
    await door.close()
    assert len(kept.lines) == 6
    assert json.loads(kept.lines[-1])["times"] == 46


def bad_requests(head: bytes) -> list[bytes]:
    """Give requests that break the parser at different places, all with the canary inside."""
    start = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    return [
        start + head.replace(b": ", b"\x01: ") + b"\r\n\r\n",
        start + head + b"\x00\r\n\r\n",
        start + head + b"\n folded\r\n\r\n",
        start + b"X" * 9000 + head + b"\r\n\r\n",
        start + head + b"\r\nContent-Length: x\r\n\r\n",
        start + head + b"\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nzz",
        start + head + b"\r\n\r\n",
        head + b"\r\n\r\n",
        b"GET /" + head.replace(b" ", b"") + b" HTTP/9.9\r\n\r\n",
        start + head + b"\r\nExpect: " + head + b"\r\n\r\n",
    ]
