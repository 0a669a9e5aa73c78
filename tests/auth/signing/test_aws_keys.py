import json
import pickle
import secrets
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.auth.secrets.known import Known
from sidecar.auth.signing.aws_keys import AwsKeys, RoleKeys, RoleUnavailable, StoredKeys, default_chain
from sidecar.auth.signing.config import AwsSigv4
from sidecar.auth.signing.sigv4 import AwsSigner
from sidecar.core.clock import SystemClock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from sidecar.telemetry.redact import MASK, Redactor
from tests.auth.signing.aws import ROLE, Judge, judging
from tests.auth.signing.keeping import Told, held
from tests.kit.clock import ManualClock
from tests.upstream.sending import Way, call_of, until

ACCESS, SECRET, TOKEN = (SecretRef.parse(f"main:aws#{name}") for name in ("access", "secret", "token"))


def test_stored_keys_are_taken_together() -> None:
    """Those of one rotation, once all are read; what is around them is trimmed."""
    access, secret, token = held(ref=ACCESS), held(ref=SECRET), held(ref=TOKEN)
    stored = StoredKeys(access, secret, token)
    with pytest.raises(CredentialUnavailable, match="AWS keys from their store failed: the secret has not been read"):
        stored.keys()
    for version in ("1", "2"):
        access.put(Secret(f"a{version}\n".encode(), version))
        secret.put(Secret(f"s{version}".encode(), version))
        token.put(Secret(f"t{version}".encode(), version))
        keys = stored.keys()
        assert (keys.access_key, keys.secret_key, keys.token) == (f"a{version}", f"s{version}", f"t{version}")
    access.put(Secret(b"a3", "3"))
    assert stored.keys().access_key == "a2"
    stored.release()


def test_stored_keys_that_were_given_up_sign_nothing_until_they_are_back() -> None:
    """Nobody could say for too long whether they still hold; the same ones may come back."""
    access, secret = held(b"a", ACCESS), held(b"s", SECRET)
    stored = StoredKeys(access, secret, None)
    assert stored.keys().access_key == "a"
    for part in (access, secret):
        part.lose()
        part.problem = "the store is away"
    with pytest.raises(CredentialUnavailable, match="the store is away"):
        stored.keys()
    access.put(Secret(b"a", "1"))
    with pytest.raises(CredentialUnavailable):
        stored.keys()
    secret.put(Secret(b"s", "1"))
    assert stored.keys().access_key == "a"


def test_without_a_session_token_there_is_none() -> None:
    """The keys of a user have none."""
    assert StoredKeys(held(b"a", ACCESS), held(b"s", SECRET), None).keys().token is None


def test_keys_that_are_not_ascii_are_told_without_their_value() -> None:
    """Something else was stored there."""
    stored = StoredKeys(held(b"a", ACCESS), held("canary\u00e9".encode(), SECRET), None)
    with pytest.raises(CredentialUnavailable, match="ASCII") as refused:
        stored.keys()
    assert "canary" not in str(refused.value)


def test_keys_show_themselves_to_nobody() -> None:
    """In no repr, no traceback of one, no pickle."""
    keys = AwsKeys("access", "canary-1", "canary-2")
    assert "canary" not in repr(keys) + "".join(traceback.format_exception_only(ValueError(keys)))
    with pytest.raises(TypeError):
        pickle.dumps(keys)


# The role of the pod.


class Roles:
    """Gives keys, or fails, as it is told."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure = ""
        self.keys = AwsKeys("a", "the-first-secret-key", "the-first-session-token", 2e9)

    def __call__(self) -> AwsKeys:
        """Be asked, in a thread."""
        self.asked += 1
        if self.failure:
            raise RoleUnavailable(self.failure)
        return self.keys


@asynccontextmanager
async def role(
    fetch: Callable[[], AwsKeys], clock: ManualClock, told: Told, redactor: Redactor
) -> AsyncIterator[RoleKeys]:
    """Keep a role."""
    tasks = Tasks()
    keeping = RoleKeys(fetch, clock, tasks, told, Known(redactor.know))
    try:
        yield keeping
    finally:
        keeping.release()
        await tasks.stop()


async def test_a_role_is_renewed_in_the_background(clock: ManualClock) -> None:
    """A look a minute; calls take what is there, and the log masks it."""
    roles, told, redactor = Roles(), Told(), Redactor()
    async with role(roles, clock, told, redactor) as keeping:
        with pytest.raises(CredentialUnavailable, match="not been asked"):
            keeping.keys()
        await until(lambda: bool(told.lines))
        assert keeping.keys().secret_key == "the-first-secret-key"
        roles.keys = AwsKeys("b", "the-second-secret-key", "the-second-session-token", 2e9)
        await clock.advance(59.9)
        assert roles.asked == 1
        await clock.advance(0.1)
        await until(lambda: len(told.lines) == 2)
        assert keeping.keys().access_key == "b"
        for word in ("first-secret-key", "second-secret-key", "first-session-token", "second-session-token"):
            assert redactor.text(f"the-{word}") == MASK
    assert [line[:2] for line in told.lines] == [("info", "aws_role_renewed")] * 2
    assert "secret" not in str(told.lines)
    assert redactor.text("the-second-secret-key") == "the-second-secret-key"


async def test_keys_serve_to_their_very_end_while_renewing_fails(clock: ManualClock) -> None:
    """An outage of the identity service hurts as late as possible; it is told once, and tried again ever later."""
    roles, told = Roles(), Told()
    roles.keys = AwsKeys("a", "s" * 20, None, clock.wall() + 100)
    async with role(roles, clock, told, Redactor()) as keeping:
        await until(lambda: bool(told.lines))
        roles.failure = "ConnectTimeoutError: no answer"
        await clock.advance(60)
        for wait in (5, 10, 20):
            asked = roles.asked
            await until(lambda: len(told.lines) == 2)
            await clock.advance(wait)
            await until(lambda asked=asked: roles.asked > asked)  # type: ignore[misc]
        assert keeping.keys().access_key == "a"
        await clock.advance(5)
        with pytest.raises(CredentialUnavailable, match="have ended, and renewing failed: ConnectTimeoutError"):
            keeping.keys()
        roles.failure, roles.keys = "", AwsKeys("b", "t" * 20, None, clock.wall() + 3600)
        await clock.advance(60)
        await until(lambda: len(told.lines) == 3)
        assert keeping.keys().access_key == "b"
    assert [line[:2] for line in told.lines] == [
        ("info", "aws_role_renewed"),
        ("error", "aws_role_unavailable"),
        ("info", "aws_role_renewed"),
    ]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Have botocore's chain find nothing of this machine."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    return monkeypatch


@pytest.mark.usefixtures("nowhere")
def test_a_pod_without_a_role_is_told_what_to_do() -> None:
    """In the words of whoever sets pods up."""
    with pytest.raises(RoleUnavailable, match="annotate its service account"):
        default_chain("eu-central-1")()


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """Run moto, which computes every signature anew."""
    with judging() as running:
        yield running


async def test_web_identity_gives_keys_that_sign(judge: Judge, nowhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """IRSA: the token that Kubernetes mounts, exchanged at STS; the judge knows the role by its session token."""
    mounted = tmp_path / "token"
    mounted.write_text(secrets.token_hex(20))
    nowhere.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(mounted))
    nowhere.setenv("AWS_ROLE_ARN", ROLE)
    nowhere.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{judge.port}")
    judge.let_in(1)
    told, tasks = Told(), Tasks()
    source = RoleKeys(default_chain("us-east-1"), SystemClock(), tasks, told, Known(Redactor().know))
    await until(lambda: bool(told.lines))
    config = AwsSigv4(region="us-east-1", service="s3", credentials="default")
    sign = AwsSigner(config, source, SystemClock(), authority=judge.authority, base_path=b"", is_tls=False)
    async with Way(f"http://127.0.0.1:{judge.port}") as way:
        call = call_of("PUT", b"/by-role")
        await sign.sign(call)
        answer = await way.finish(call, await way.begin(call))
        assert answer.status == 200, answer.body
    keys = source.keys()
    assert keys.access_key.startswith("ASIA")
    assert keys.expires_at is not None
    sign.release()
    await tasks.stop()


async def test_pod_identity_gives_keys(nowhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """EKS Pod Identity: an agent on the node, asked with the token that Kubernetes mounts; asked anew when they end."""
    mounted = tmp_path / "token"
    mounted.write_text("pod-token")
    shown: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        shown.append(request.headers.get("Authorization"))
        ends_at = datetime.now(UTC) + timedelta(minutes=5)
        number = len(shown)
        document = {
            "AccessKeyId": f"a{number}",
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": ends_at.isoformat(),
        }
        return web.Response(text=json.dumps(document), content_type="application/json")

    application = web.Application()
    application.router.add_get("/v1/credentials", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        nowhere.setenv(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{runner.addresses[0][1]}/v1/credentials"
        )
        nowhere.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(mounted))
        told, tasks = Told(), Tasks()
        source = RoleKeys(default_chain("us-east-1"), SystemClock(), tasks, told, Known(Redactor().know))
        await until(lambda: bool(told.lines))
        assert source.keys().token == "t"
        source.release()
        await tasks.stop()
    finally:
        await runner.cleanup()
    assert set(shown) == {"pod-token"}


async def test_whatever_the_chain_raises_is_no_role_and_no_value(nowhere: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A broken file, a dead endpoint: one sentence, and the next look may go better."""
    nowhere.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "missing"))
    nowhere.setenv("AWS_ROLE_ARN", ROLE)
    with pytest.raises(RoleUnavailable, match="FileNotFoundError") as refused:
        default_chain("us-east-1")()
    assert refused.value.__cause__ is None
