"""The vendors' own SDKs, and plain HTTP clients, make their calls through the sidecar.

Each has the sidecar's address as its base URL and a placeholder as its credential; the vendor must see the real one,
which is made here, at run time. SDKs that block run in a thread, as apps that use them have threads.
"""

import asyncio
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import pytest

from tests.kit.exchange import Request
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

T = TypeVar("T")

PLACEHOLDER = "placeholder"

BEARER = 'auth = { kind = "bearer", secret = "files:key" }'


def as_json(content: object, *fields: tuple[bytes, bytes], status: int = 200) -> bytes:
    """Write an answer in JSON."""
    return answer(
        json.dumps(content).encode(), status=status, headers=[(b"Content-Type", b"application/json"), *fields]
    )


def as_events(*events: tuple[str, object]) -> bytes:
    """Write a stream of server-sent events; an event without a name has only data."""
    chunks = []
    for name, content in events:
        data = content if isinstance(content, str) else json.dumps(content)
        chunks.append((f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode())
    return answer(chunks=chunks, headers=[(b"Content-Type", b"text/event-stream")])


class Stand:
    """A vendor behind a sidecar, and the key that only these two know."""

    def __init__(
        self, tmp_path: Path, script: Callable[[Request], bytes], service: str = BEARER, base_path: str = ""
    ) -> None:
        self.key = secrets.token_hex(16)
        self.vendor = Vendor.answering(script)
        self._directory = tmp_path
        self._service = service
        self._base_path = base_path

    async def __aenter__(self) -> Self:
        await self.vendor.__aenter__()
        self.socket = self._directory / "egress.sock"
        egress = f'"127.0.0.1:0", "unix:{self.socket}"'
        self.pod = Pod(
            self._directory, {"api": self.vendor}, service=self._service, base_path=self._base_path, egress=egress
        )
        self.pod.write_secret("key", self.key + "\n")
        await self.pod.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        try:
            await self.pod.__aexit__(kind, error, at)
        finally:
            await self.vendor.__aexit__(kind, error, at)

    @property
    def proxy(self) -> str:
        """The sidecar as an HTTP proxy."""
        return f"http://localhost:{self.pod.address.rpartition(':')[2]}"

    @property
    def url(self) -> str:
        """The base URL that the SDK gets."""
        return f"{self.proxy}/api"

    def assert_entitled(self, count: int) -> None:
        """Assert that every one of `count` requests had the real credential, and none the placeholder."""
        assert len(self.vendor.requests) == count
        for request in self.vendor.requests:
            assert request.values("Authorization") == [f"Bearer {self.key}".encode()]
            assert PLACEHOLDER.encode() not in request.raw_head


async def blocking(work: Callable[[], T]) -> T:
    """Run an SDK that blocks in a thread, while the sidecar serves here."""
    return await asyncio.to_thread(work)


# Stripe


def stripe_pages(request: Request) -> bytes:
    """Answer as Stripe does: a customer that was made, or a page of a list."""
    if request.method == "POST":
        return as_json({"id": "cus_1", "object": "customer", "email": "a@example.org"})
    is_first = b"starting_after" not in request.target
    data = [{"id": "cus_1" if is_first else "cus_2", "object": "customer"}]
    return as_json({"object": "list", "url": "/v1/customers", "has_more": is_first, "data": data})


async def test_stripe_creates_and_pages_through_a_list(tmp_path: Path) -> None:
    """Its key is replaced, its form and idempotency key go on, and its pages come one by one."""
    import stripe

    async with Stand(tmp_path, stripe_pages) as stand:
        http = stripe.RequestsClient()
        client = stripe.StripeClient(
            PLACEHOLDER, base_addresses={"api": stand.url}, max_network_retries=0, http_client=http
        )

        def work() -> list[str]:
            made = client.v1.customers.create({"email": "a@example.org"}, {"idempotency_key": "order-1"})
            assert made.email == "a@example.org"
            found = client.v1.customers.list({"limit": 1})
            ids = [customer.id for customer in found.auto_paging_iter()]
            http.close()  # type: ignore[no-untyped-call]
            return ids

        assert await blocking(work) == ["cus_1", "cus_2"]
        stand.assert_entitled(3)
        created = stand.vendor.requests[0]
        assert created.target == b"/v1/customers"
        assert created.body == b"email=a%40example.org"
        assert created.values("Idempotency-Key") == [b"order-1"]


# OpenAI


def openai_answers(request: Request) -> bytes:
    """Answer a chat completion, whole or as a stream."""
    base = {"id": "chat-1", "created": 1, "model": "some-model"}
    if json.loads(request.body).get("stream"):
        parts = [
            {**base, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
            for text in ("Hel", "lo")
        ]
        return as_events(*(("", part) for part in parts), ("", "[DONE]"))
    message = {"role": "assistant", "content": "Hello"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return as_json({**base, "object": "chat.completion", "choices": [choice]})


async def test_openai_completes_and_streams(tmp_path: Path) -> None:
    """A chat completion at once, and piece by piece."""
    import openai

    async with (
        Stand(tmp_path, openai_answers, base_path="/v1") as stand,
        openai.AsyncOpenAI(api_key=PLACEHOLDER, base_url=stand.url, max_retries=0) as client,
    ):
        asked: Any = {"model": "some-model", "messages": [{"role": "user", "content": "Hi"}]}
        whole = await client.chat.completions.create(**asked)
        assert whole.choices[0].message.content == "Hello"
        stream = await client.chat.completions.create(**asked, stream=True)
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["Hel", "lo"]
        stand.assert_entitled(2)
        assert stand.vendor.requests[0].target == b"/v1/chat/completions"


# Anthropic


def anthropic_answers(request: Request) -> bytes:
    """Answer a message, whole or as a stream."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message: dict[str, Any] = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "some-model", "stop_reason": None,
        "stop_sequence": None, "content": [], "usage": usage,
    }  # fmt: skip
    if not json.loads(request.body).get("stream"):
        return as_json({**message, "stop_reason": "end_turn", "content": [{"type": "text", "text": "Hello"}]})
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return as_events(*((event["type"], event) for event in events))


async def test_anthropic_gets_a_message_and_streams_one(tmp_path: Path) -> None:
    """Its key travels in a header of its own, which is replaced as well."""
    import anthropic

    service = 'auth = { kind = "api_key", name = "x-api-key", secret = "files:key" }'
    async with (
        Stand(tmp_path, anthropic_answers, service) as stand,
        anthropic.AsyncAnthropic(api_key=PLACEHOLDER, base_url=stand.url, max_retries=0) as client,
    ):
        asked: Any = {"model": "some-model", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
        whole = await client.messages.create(**asked)
        assert whole.content[0].to_dict()["text"] == "Hello"
        async with client.messages.stream(**asked) as stream:
            assert [text async for text in stream.text_stream] == ["Hel", "lo"]
        assert len(stand.vendor.requests) == 2
        for request in stand.vendor.requests:
            assert request.target == b"/v1/messages"
            assert request.values("X-Api-Key") == [stand.key.encode()]
            assert PLACEHOLDER.encode() not in request.raw_head


# Slack


async def test_slack_posts_a_message(tmp_path: Path) -> None:
    """`chat.postMessage` under a base URL that ends in a slash."""
    from slack_sdk import WebClient

    async with Stand(tmp_path, lambda _: as_json({"ok": True, "ts": "1.0"}), base_path="/api") as stand:
        client = WebClient(token=PLACEHOLDER, base_url=f"{stand.url}/", retry_handlers=[])
        reply = await blocking(lambda: client.chat_postMessage(channel="C1", text="caf\xe9 & 1.0"))
        assert reply["ts"] == "1.0"
        stand.assert_entitled(1)
        assert stand.vendor.requests[0].target == b"/api/chat.postMessage"
        assert json.loads(stand.vendor.requests[0].body)["text"] == "caf\xe9 & 1.0"


# AWS S3


def s3_answers(request: Request) -> bytes:
    """Answer as S3 does to a put and a get."""
    if request.method == "PUT":
        return answer(b"", headers=[(b"ETag", b'"1"')])
    return answer(b"content of the object", headers=[(b"ETag", b'"1"'), (b"Content-Type", b"text/plain")])


async def test_boto3_puts_an_object_and_waits_for_the_go_ahead(tmp_path: Path) -> None:
    """`Expect: 100-continue` is answered, the body arrives, and its signature by placeholder keys is replaced."""
    import boto3
    from botocore.config import Config

    async with Stand(tmp_path, s3_answers) as stand:
        config = Config(
            s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=15
        )

        def work() -> bytes:
            client = boto3.client(
                "s3", endpoint_url=stand.url, region_name="eu-central-1", config=config,
                aws_access_key_id=PLACEHOLDER, aws_secret_access_key=PLACEHOLDER,
            )  # fmt: skip
            client.put_object(Bucket="shelf", Key="a b/\xe9+c", Body=b"x" * 300_000)
            content = client.get_object(Bucket="shelf", Key="a b/\xe9+c")["Body"].read()
            client.close()
            return bytes(content)

        assert await blocking(work) == b"content of the object"
        stand.assert_entitled(2)
        put = stand.vendor.requests[0]
        assert put.target == b"/shelf/a%20b/%C3%A9%2Bc"
        assert b"x" * 300_000 in put.body or put.body.count(b"x") >= 300_000


# GitHub


async def test_pygithub_pages_by_links_that_lead_through_the_sidecar(tmp_path: Path) -> None:
    """It refuses to go to another host than its base URL's, so a `Link` that was not rewritten ends the walk."""
    import github

    def pages(request: Request) -> bytes:
        if request.target.endswith(b"/repos/o/r"):
            return as_json({"id": 1, "name": "r", "full_name": "o/r", "url": f"{stand.vendor.url}/repos/o/r"})
        is_last = b"page=2" in request.target
        link = f'<{stand.vendor.url}/repos/o/r/labels?page=2>; rel="next"'
        label = {"name": "second" if is_last else "first", "color": "ffffff", "url": f"{stand.vendor.url}/x"}
        return as_json([label], *([] if is_last else [(b"Link", link.encode())]))

    async with Stand(tmp_path, pages, BEARER + '\nrewrite_urls = "body"') as stand:

        def work() -> list[str]:
            auth = github.Auth.Token(PLACEHOLDER)
            client = github.Github(auth=auth, base_url=stand.url, retry=None, seconds_between_requests=None)
            names = [label.name for label in client.get_repo("o/r").get_labels()]
            client.close()
            return names

        assert await blocking(work) == ["first", "second"]
        stand.assert_entitled(3)


# Plain clients


async def test_requests_comes_through_http_proxy(tmp_path: Path) -> None:
    """With HTTP_PROXY an app writes the vendor's own address, and nothing else is changed in it."""
    import requests

    async with Stand(tmp_path, lambda _: as_json({"ok": True})) as stand:

        def work() -> Any:
            with requests.Session() as session:
                session.trust_env = False
                session.proxies = {"http": stand.proxy}
                headers = {"Authorization": f"Bearer {PLACEHOLDER}"}
                return session.get(f"{stand.vendor.url}/v1/a%2Fb?x=%20", headers=headers, timeout=10).json()

        assert await blocking(work) == {"ok": True}
        stand.assert_entitled(1)
        assert stand.vendor.requests[0].target == b"/v1/a%2Fb?x=%20"


async def test_httpx_comes_by_a_unix_socket(tmp_path: Path) -> None:
    """No port is needed, and no browser can reach it."""
    import httpx

    async with Stand(tmp_path, lambda _: as_json({"ok": True})) as stand:
        transport = httpx.AsyncHTTPTransport(uds=str(stand.socket))
        headers = {"Authorization": f"Bearer {PLACEHOLDER}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://sidecar/api/", headers=headers) as client:
            reply = await client.get("v1/things", params={"q": "a b"})
        assert reply.json() == {"ok": True}
        stand.assert_entitled(1)
        assert stand.vendor.requests[0].target == b"/v1/things?q=a+b"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_uploads_a_file_in_chunks(tmp_path: Path) -> None:
    """`curl -T -` sends chunks and `Expect: 100-continue`; a placeholder in Basic is replaced, too."""
    async with Stand(tmp_path, lambda request: answer(b"%d" % len(request.body))) as stand:

        def work() -> bytes:
            command = ["curl", "-sS", "-m", "15", "--noproxy", "*", "-u", f"{PLACEHOLDER}:{PLACEHOLDER}", "-T", "-"]
            command += ["-H", "Expect: 100-continue", f"{stand.url}/v1/file?name=a%20b"]
            return subprocess.run(command, input=b"y" * 200_000, capture_output=True, check=True).stdout

        assert await blocking(work) == b"200000"
        stand.assert_entitled(1)
        assert stand.vendor.requests[0].target == b"/v1/file?name=a%20b"
