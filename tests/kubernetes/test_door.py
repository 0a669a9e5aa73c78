"""The door where the API server asks: what it takes, its bounds, and the probes behind it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from sidecar.admin.door import PeopleDoor
from sidecar.admin.health import health_app
from sidecar.core.clock import SystemClock
from sidecar.kubernetes.door import BODY_MAX, BODY_TIMEOUT, IN_HAND_MAX, Door
from tests.admin.test_door import until
from tests.kit.admission import answered, body, review_of
from tests.kit.app import App
from tests.kit.clock import ManualClock
from tests.kubernetes.injected import Asked

JSON = "Content-Type: application/json"


class Opened:
    """An injector's door, without TLS, and the time that its bounds go by."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.asked = Asked()
        self.door = Door(self.asked.injector, clock)
        self.people = PeopleDoor(SystemClock())

    async def open(self) -> None:
        """Listen."""
        app = health_app(lambda: None, self.asked.metrics.exposition)
        app.middlewares.insert(0, self.door.middleware())
        await self.people.open(app, ("127.0.0.1", 0))


@pytest.fixture
async def opened(clock: ManualClock) -> AsyncIterator[Opened]:
    """It listens."""
    opened = Opened(clock)
    await opened.open()
    yield opened
    await opened.people.close()


@pytest.mark.parametrize("target", ["/inject", "/inject?timeout=10s"])
@pytest.mark.parametrize("kind", [JSON, "Content-Type: application/json; charset=utf-8"])
async def test_a_review_is_answered(opened: Opened, target: str, kind: str) -> None:
    """The API server adds its timeout to the path."""
    review = review_of("deployment")
    async with App.to(opened.people.bound) as app:
        for _ in range(2):  # On one connection.
            reply = await app.ask("POST", target, kind, body=body(review))
            assert (reply.status, reply.value("Content-Type")) == (200, "application/json")
            assert "patch" in answered(reply.body, review)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", (), 405),
        ("PUT", (JSON,), 405),
        ("POST", (), 415),
        ("POST", ("Content-Type: text/plain",), 415),
        ("POST", ("Content-Type: application/yaml",), 415),
        ("POST", (JSON, "Content-Encoding: gzip"), 415),
        ("POST", (JSON,), 400),
    ],
)
async def test_what_is_no_review_is_refused_in_a_sentence(
    opened: Opened, method: str, headers: tuple[str, ...], status: int
) -> None:
    """The one thing that an injector refuses: then failurePolicy decides."""
    async with App.to(opened.people.bound) as app:
        reply = await app.ask(method, "/inject", *headers, body=b"{}" if method != "GET" else b"")
    assert reply.status == status
    assert len(reply.body) > len(b"only\n")
    assert reply.body.endswith(b"\n")
    assert (status == 405) == (reply.values("Allow") == [b"POST"])


@pytest.mark.parametrize("target", ["/", "/inject/", "//inject", "/%69nject", "/mutate"])
async def test_any_other_path_is_not_there(opened: Opened, target: str) -> None:
    """Exact means byte for byte."""
    async with App.to(opened.people.bound) as app:
        assert (await app.ask("POST", target, JSON, body=body(review_of("pod")))).status == 404


@pytest.mark.parametrize("target", ["/livez", "/readyz", "/metrics"])
async def test_probes_and_prometheus_are_answered_at_the_same_door(opened: Opened, target: str) -> None:
    """One port, as a webhook's pod has it."""
    async with App.to(opened.people.bound) as app:
        assert (await app.ask("GET", target)).status == 200


async def test_the_largest_review_is_taken_and_a_larger_one_is_not(opened: Opened) -> None:
    """Whether its length is announced or not."""
    review = review_of("deployment")
    text = body(review)
    full = text + b" " * (BODY_MAX - len(text))
    async with App.to(opened.people.bound) as app:
        assert (await app.ask("POST", "/inject", JSON, body=full)).status == 200
    async with App.to(opened.people.bound) as app:
        await app.send(f"POST /inject HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {BODY_MAX + 1}\r\n\r\n".encode())
        reply = await app.read_answer("POST")
        assert (reply.status, reply.value("Connection")) == (413, "close")
    async with App.to(opened.people.bound) as app:
        head = f"POST /inject HTTP/1.1\r\nHost: x\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        await app.send(head + b"%x\r\n" % (BODY_MAX + 1) + full + b" ")
        assert (await app.read_answer("POST")).status == 413


async def test_a_body_that_does_not_come_ends_and_gives_its_room_back(opened: Opened) -> None:
    """While it is awaited, there is less room for others; when there is none, 503."""
    head = f"POST /inject HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {BODY_MAX}\r\n\r\n".encode()
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(App.to(opened.people.bound)) for _ in range(IN_HAND_MAX // BODY_MAX)]
        for app in slow:
            await app.send(head)
        await until(lambda: opened.clock.pending == len(slow))
        app = await stack.enter_async_context(App.to(opened.people.bound))
        reply = await app.ask("POST", "/inject", JSON, body=body(review_of("pod")))
        assert (reply.status, reply.value("Retry-After")) == (503, "1")
        await opened.clock.advance(BODY_TIMEOUT)
        for late in slow:
            reply = await late.read_answer("POST")
            assert (reply.status, reply.value("Connection")) == (408, "close")
    async with App.to(opened.people.bound) as app:
        assert (await app.ask("POST", "/inject", JSON, body=body(review_of("pod")))).status == 200


async def test_while_it_leaves_each_answer_is_its_connections_last(opened: Opened) -> None:
    """So that the API server connects anew, to a pod that stays; nothing is refused meanwhile."""
    async with App.to(opened.people.bound) as app:
        assert (await app.ask("POST", "/inject", JSON, body=body(review_of("pod")))).status == 200
        opened.door.is_leaving = True
        reply = await app.ask("POST", "/inject", JSON, body=body(review_of("pod")))
        assert (reply.status, reply.value("Connection")) == (200, "close")
    async with App.to(opened.people.bound) as app:
        reply = await app.ask("GET", "/readyz")
        assert (reply.status, reply.value("Connection")) == (200, "close")
