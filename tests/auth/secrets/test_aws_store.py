import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from aiohttp import web

from sidecar.auth.secrets.aws.client import Opened, open_client
from sidecar.auth.secrets.aws.config import AwsStoreConfig
from sidecar.auth.secrets.aws.store import AwsStore
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.clock import SystemClock
from sidecar.core.units import Duration
from tests.auth.oauth.asking import network
from tests.auth.secrets import aws
from tests.auth.secrets.scripted import Scripted
from tests.kit.clock import ManualClock

Make = Callable[..., AwsStore]


@pytest.fixture(scope="session")
def ministack() -> Iterator[str]:
    """A server whose stages are AWS's."""
    yield from aws.ministack()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """A server that knows roles and used ids."""
    yield from aws.moto()


@pytest.fixture(params=["ministack", "moto"])
def url(request: pytest.FixtureRequest) -> str:
    """Each of the servers in turn."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(autouse=True)
def _pod(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    aws.plain_environment(monkeypatch, tmp_path)
    aws.keys(monkeypatch)


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Stores at a URL, all closed in the end."""
    made: list[AwsStore] = []

    def one(url: str, **more: Any) -> AwsStore:
        made.append(AwsStore(aws.config(url, **more), SystemClock(), network()))
        return made[-1]

    yield one
    for store in made:
        await store.close()


def fresh() -> str:
    """A name or a value that stands nowhere else."""
    return f"test-{secrets.token_hex(8)}"


# What is stored.


async def test_a_text_is_read_with_its_version(url: str, make: Make) -> None:
    """The version is AWS's own."""
    name, value = fresh(), fresh()
    made = aws.administrator(url).create_secret(Name=name, SecretString=value)
    read = await make(url).fetch(name)
    assert read.reveal() == value.encode()
    assert read.version == made["VersionId"]


async def test_bytes_are_read_and_stay_bytes(url: str, make: Make) -> None:
    """SecretBinary has no encoding."""
    name = fresh()
    aws.administrator(url).create_secret(Name=name, SecretBinary=b"\xff\x00\xfe")
    store = make(url)
    read = await store.fetch(name)
    assert read.reveal() == b"\xff\x00\xfe"
    await store.put(name, None, b"\x00text", read.version)
    assert (
        aws.administrator(url).get_secret_value(SecretId=name, VersionStage="AWSCURRENT")["SecretBinary"] == b"\x00text"
    )


async def test_a_secret_is_named_by_its_arn_too(url: str, make: Make) -> None:
    """One of another account has no other name."""
    made = aws.administrator(url).create_secret(Name=fresh(), SecretString="value")
    assert (await make(url).fetch(made["ARN"])).reveal() == b"value"


async def test_an_arn_of_another_region_is_refused(url: str, make: Make) -> None:
    """AWS would say that there is no such secret, and nobody would see why."""
    with pytest.raises(StoreFailed, match="in another region than the store"):
        await make(url).fetch("arn:aws:secretsmanager:us-east-1:123456789012:secret:stripe-AbCdEf")


async def test_a_put_keeps_text_a_text_and_the_other_fields(url: str, make: Make) -> None:
    """People and other readers find it where they look."""
    name = fresh()
    admin = aws.administrator(url)
    admin.create_secret(Name=name, SecretString=json.dumps({"refresh_token": "old", "other": [1.5, "é"]}))
    store = make(url)
    await store.put(name, "refresh_token", b"new", (await store.fetch(name)).version)
    stored = json.loads(admin.get_secret_value(SecretId=name, VersionStage="AWSCURRENT")["SecretString"])
    assert stored == {"refresh_token": "new", "other": [1.5, "é"]}


# Rotation: the stages move.


async def test_a_pending_version_is_not_read_until_it_is_current(url: str, make: Make) -> None:
    """A rotation function writes AWSPENDING, tries it, and then moves AWSCURRENT."""
    name, old, new = fresh(), fresh(), fresh()
    admin = aws.administrator(url)
    first = admin.create_secret(Name=name, SecretString=old)["VersionId"]
    store = make(url)
    pending = admin.put_secret_value(SecretId=name, SecretString=new, VersionStages=["AWSPENDING"])["VersionId"]
    assert (await store.fetch(name)).reveal() == old.encode()
    assert not await store.has_changed(name, first)
    admin.update_secret_version_stage(
        SecretId=name, VersionStage="AWSCURRENT", MoveToVersionId=pending, RemoveFromVersionId=first
    )
    assert await store.has_changed(name, first)
    read = await store.fetch(name)
    assert (read.reveal(), read.version) == (new.encode(), pending)
    previous = await store.fetch_previous(name)
    assert previous is not None
    assert (previous.reveal(), previous.version) == (old.encode(), first)


async def test_a_secret_that_was_never_rotated_has_no_previous(url: str, make: Make) -> None:
    """None, and no failure: there is nothing to try."""
    name = fresh()
    aws.administrator(url).create_secret(Name=name, SecretString="value")
    assert await make(url).fetch_previous(name) is None


# Writing.


async def test_of_two_pods_that_follow_the_same_version_the_second_is_told(moto: str, make: Make) -> None:
    """Both have compared when the first writes; the id that both derive is taken by then."""
    name = fresh()
    aws.administrator(moto).create_secret(Name=name, SecretString=json.dumps({"token": "old"}))
    version = (await make(moto).fetch(name)).version
    slow = AwsStore(aws.config(moto), SystemClock(), network(), paused := Paused())
    put = asyncio.create_task(slow.put(name, "token", b"slow", version))
    await paused.reached.wait()
    await make(moto).put(name, "token", b"fast", version)
    paused.goes.set()
    with pytest.raises(StoreConflict, match="another was faster"):
        await put
    await slow.close()
    assert json.loads((await make(moto).fetch(name)).reveal()) == {"token": "fast"}


class Paused:
    """Opens a client that waits before it writes."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.goes = asyncio.Event()

    async def __call__(self, config: AwsStoreConfig) -> Opened:
        """Open it."""
        opened = await open_client(config)
        write = opened.api.put_secret_value

        async def late(**parameters: Any) -> Any:
            self.reached.set()
            await self.goes.wait()
            return await write(**parameters)

        opened.api.put_secret_value = late
        return opened


async def test_after_a_way_back_by_hand_a_version_may_be_followed_once_more(moto: str, make: Make) -> None:
    """Somebody moved AWSCURRENT back, so the id that follows is in use; a grant must not be lost for that."""
    name = fresh()
    admin = aws.administrator(moto)
    first = admin.create_secret(Name=name, SecretString="first")["VersionId"]
    store = make(moto)
    second = await store.put(name, None, b"second", first)
    admin.update_secret_version_stage(
        SecretId=name, VersionStage="AWSCURRENT", MoveToVersionId=first, RemoveFromVersionId=second
    )
    third = await store.put(name, None, b"third", first)
    assert third not in {first, second}
    assert "AWSCURRENT" in aws.stages(admin, name)[third]
    assert admin.get_secret_value(SecretId=name, VersionId=third)["SecretString"] == "third"


async def test_a_secret_that_has_no_value_yet_gets_its_first(moto: str, make: Make) -> None:
    """Terraform makes secrets so; a login writes the first value."""
    name = fresh()
    aws.administrator(moto).create_secret(Name=name)
    store = make(moto)
    with pytest.raises(StoreFailed, match="no version of it"):
        await store.fetch(name)
    await store.put(name, "refresh_token", b"first", "")
    assert json.loads((await store.fetch(name)).reveal()) == {"refresh_token": "first"}


# Who we are.


def arn_of(store: AwsStore, url: str) -> str:
    """Ask the server whom it takes the store for."""
    assert store._client is not None
    held = store._client.api._request_signer._credentials
    session = boto3.Session(held._access_key, held._secret_key, held._token, region_name=aws.REGION)
    arn: str = session.client("sts", endpoint_url=url).get_caller_identity()["Arn"]
    return arn


@pytest.fixture
def web_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moto: str) -> Path:
    """What EKS gives a pod whose service account has a role (IRSA): two variables and a file."""
    aws.plain_environment(monkeypatch, tmp_path)
    (tmp_path / "token").write_text(aws.web_identity())
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", aws.make_role(moto, fresh(), ["secretsmanager:*"]))
    monkeypatch.setenv("AWS_REGION", aws.REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    return tmp_path / "token"


async def test_a_pod_with_a_web_identity_reads_as_its_role(
    web_identity: Path, moto: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key is in the pod; the region is the one that EKS tells."""
    monkeypatch.setenv("AWS_ROLE_ARN", role := aws.make_role(moto, fresh(), ["secretsmanager:*"]))
    name = fresh()
    aws.administrator(moto).create_secret(Name=name, SecretString="value")
    store = make(moto, region=None)
    assert (await store.fetch(name)).reveal() == b"value"
    assert f"assumed-role/{role.rpartition('/')[2]}" in arn_of(store, moto)


async def test_a_web_identity_whose_file_is_gone_is_told_by_its_name(web_identity: Path, moto: str, make: Make) -> None:
    """The volume is not mounted; the operator looks there."""
    web_identity.unlink()  # noqa: ASYNC240 - a file of the test
    with pytest.raises(StoreFailed, match=rf"{web_identity} cannot be read: No such file"):
        await make(moto).fetch("name")


async def test_a_role_of_another_account_is_assumed_with_the_pods_own(
    web_identity: Path, moto: str, make: Make
) -> None:
    """`role_arn` in the section comes after who the pod is."""
    other = aws.make_role(moto, fresh(), ["secretsmanager:*"])
    name = fresh()
    aws.administrator(moto).create_secret(Name=name, SecretString="value")
    store = make(moto, role_arn=other)
    assert (await store.fetch(name)).reveal() == b"value"
    assert f"assumed-role/{other.rpartition('/')[2]}/sidecar-" in arn_of(store, moto)


async def test_a_pod_identity_is_asked_for_with_the_token_of_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Make
) -> None:
    """EKS pod identity: an agent on the node hands out credentials for the projected token."""
    aws.plain_environment(monkeypatch, tmp_path)
    shown, key = fresh(), fresh()
    (tmp_path / "pod-token").write_text(shown)
    granted = {"AccessKeyId": key, "SecretAccessKey": fresh(), "Token": fresh(), "Expiration": "2099-01-01T00:00:00Z"}

    def says(request: web.BaseRequest, _: bytes) -> web.StreamResponse:
        if request.path == "/v1/credentials":
            return web.json_response(granted if request.headers["Authorization"] == shown else {}, status=200)
        return web.json_response({"ARN": "arn", "Name": "name", "VersionId": "one", "SecretString": "value"})

    async with Scripted(says) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.url}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "pod-token"))
        assert (await make(agent.url).fetch("name")).reveal() == b"value"
        assert f"Credential={key}/" in agent.asked[-1].headers["Authorization"]
        assert agent.asked[-1].headers["X-Amz-Security-Token"] == granted["Token"]


async def test_credentials_that_have_expired_are_looked_up_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Make
) -> None:
    """An agent writes new ones into the file; no restart is needed."""
    aws.plain_environment(monkeypatch, tmp_path)
    file = tmp_path / "credentials"
    old, new = fresh(), fresh()

    def says(request: web.BaseRequest, _: bytes) -> web.StreamResponse:
        if f"Credential={new}/" in request.headers["Authorization"]:
            return web.json_response({"ARN": "arn", "Name": "name", "VersionId": "one", "SecretString": "value"})
        return refusal("ExpiredTokenException", "The security token included in the request is expired")

    async with Scripted(says) as server:
        write_credentials(file, old)
        store = make(server.url)
        for _ in range(3):
            with pytest.raises(StoreFailed, match="our own credentials have expired"):
                await store.fetch("name")
        write_credentials(file, new)
        assert (await store.fetch("name")).reveal() == b"value"


def write_credentials(file: Path, key: str) -> None:
    """Write the SDK's own file."""
    file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {fresh()}\n")


# What goes wrong.


def refusal(code: str, message: str = "", status: int = 400) -> web.Response:
    """Refuse as AWS does."""
    body = json.dumps({"__type": code, "Message": message})
    return web.Response(status=status, body=body.encode(), headers={"Content-Type": "application/x-amz-json-1.1"})


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("AccessDeniedException", "GetSecretValue is not allowed"),
        ("ResourceNotFoundException", "there is no such secret"),
        ("DecryptionFailure", "KMS does not decrypt it"),
        ("InvalidRequestException", "marked for deletion"),
        ("UnrecognizedClientException", "does not know our own credentials"),
        ("InvalidSignatureException", "clock of the node"),
        ("SomethingNew", r"AWS answered 400 to GetSecretValue \(SomethingNew\)"),
        ("<b>no code at all", r"\(no code\)"),
    ],
)
async def test_a_refusal_is_a_sentence_of_ours(code: str, sentence: str, make: Make) -> None:
    """AWS's own words may quote what was sent; only its code is taken over."""
    quoted = fresh()
    async with Scripted(lambda _, __: refusal(code, f"Value '{quoted}' failed to satisfy")) as server:
        with pytest.raises(StoreFailed, match=sentence) as failure:
            await make(server.url).fetch("production/stripe")
    assert "production/stripe" in str(failure.value)
    assert quoted not in str(failure.value)
    assert (failure.value.__cause__, failure.value.__context__) == (None, None)


async def test_a_value_that_aws_refuses_stands_in_no_failure(make: Make) -> None:
    """Its answer quotes the value that was to be written."""
    value = fresh()

    def says(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        if request.headers["X-Amz-Target"].endswith("PutSecretValue"):
            return refusal("ValidationException", body.decode())
        return web.json_response({"ARN": "arn", "Name": "name", "VersionId": "one", "SecretString": "{}"})

    async with Scripted(says) as server:
        with pytest.raises(StoreFailed, match="refuses a parameter of PutSecretValue") as failure:
            await make(server.url).put("name", "token", value.encode(), "one")
    assert value not in repr(failure.value)
    assert failure.value.__context__ is None


async def test_an_answer_that_is_not_aws_s_is_told_without_it(make: Make) -> None:
    """JSON that was cut in the middle of a secret; the SDK itself takes it for an empty answer."""
    value = fresh()
    async with Scripted(lambda _, __: web.Response(body=b'{"SecretString": "' + value.encode())) as server:
        with pytest.raises(StoreFailed, match="the current version is empty") as failure:
            await make(server.url).fetch("name")
    assert value not in repr(failure.value)
    assert failure.value.__context__ is None


async def test_a_login_whose_answer_is_not_aws_s_is_told_without_it(
    web_identity: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's error holds all that came, and that may be credentials in a wrong shape."""
    value = fresh()
    async with Scripted(lambda _, __: web.Response(status=500, body=f"<key>{value}".encode())) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        with pytest.raises(StoreFailed, match="not one of AWS's") as failure:
            await make(server.url).fetch("name")
    assert web_identity.exists()  # noqa: ASYNC240
    assert value not in repr(failure.value)
    assert failure.value.__context__ is None


async def test_a_server_that_fails_is_asked_twice_and_no_more(make: Make) -> None:
    """The SDK's own repetitions are bounded; ours come with the next poll."""
    async with Scripted(lambda _, __: refusal("InternalServiceError", status=500)) as server:
        with pytest.raises(StoreFailed, match="AWS failed by itself"):
            await make(server.url).fetch("name")
        assert len(server.asked) == 2


async def test_a_server_that_is_silent_is_left_after_the_timeout(clock: ManualClock) -> None:
    """One question, its repetition and its login, have one limit."""
    async with Scripted(lambda _, __: server.silence()) as server:
        store = AwsStore(aws.config(server.url, timeout=Duration(5)), clock, network())
        task = asyncio.create_task(store.fetch("name"))
        await server.came.wait()
        await clock.advance(5)
        with pytest.raises(StoreFailed, match="no answer within the store's timeout"):
            await task
        await store.close()


def test_nothing_of_aws_is_loaded_until_a_store_is_asked() -> None:
    """The SDK takes 36 MiB; a pod without an AWS section does not have them."""
    script = (
        "import sys, sidecar.app, sidecar.auth.secrets.aws.store as aws\n"
        "from sidecar.core.clock import SystemClock\n"
        "aws.AwsStore(aws.AwsStoreConfig(region='eu-central-1'), SystemClock(), None)\n"
        "print([name for name in ('botocore', 'aiobotocore', 'joserfc') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (answer.stdout, answer.stderr) == ("[]\n", "")


async def test_a_pod_without_credentials_is_told_what_to_bind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Make
) -> None:
    """And it is looked anew at the next question: a role may be bound later."""
    aws.plain_environment(monkeypatch, tmp_path)
    says = web.json_response
    answer = {"ARN": "arn", "Name": "name", "VersionId": "one", "SecretString": "value"}
    async with Scripted(lambda _, __: says(answer)) as server:
        store = make(server.url)
        with pytest.raises(StoreFailed, match="no AWS credentials were found; bind a role"):
            await store.fetch("name")
        aws.keys(monkeypatch)
        assert (await store.fetch("name")).reveal() == b"value"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"region": None}, r'no region is known; write region = "\.\.\."'),
        ({"profile": "nobody"}, "no such profile"),
        (
            {"ca_file": "/nowhere.pem", "endpoint_url": "https://127.0.0.1:9"},
            r"/nowhere\.pem cannot be read: No such file",
        ),
    ],
)
async def test_what_the_section_lacks_is_told(settings: dict[str, Any], sentence: str, make: Make) -> None:
    """At the first question, since the environment and the files are part of it."""
    with pytest.raises(StoreFailed, match=sentence):
        await make("http://127.0.0.1:9", **settings).fetch("name")


async def test_a_client_is_opened_anew_when_ca_file_changes(moto: str) -> None:
    """The SDK reads the file as it opens one; whoever asks with the one before may finish."""
    opened: list[AwsStoreConfig] = []
    trust: Any = object()

    async def count(config: AwsStoreConfig) -> Opened:
        opened.append(config)
        return await open_client(msgspec.structs.replace(config, ca_file=None))

    changing = network()._replace(context=lambda _: trust)
    store = AwsStore(aws.config(moto, ca_file="/ca.pem"), SystemClock(), changing, count)
    name, value = fresh(), fresh()
    aws.administrator(moto).create_secret(Name=name, SecretString=value)
    for opened_by_then in (1, 1):
        assert (await store.fetch(name)).reveal() == value.encode()
        assert len(opened) == opened_by_then
    trust = object()
    for _ in range(2):
        assert (await store.fetch(name)).reveal() == value.encode()
        assert len(opened) == 2
    await store.close()


async def test_a_server_that_is_away_is_named(make: Make) -> None:
    """By its host; a URL's path may be for this pod alone."""
    with pytest.raises(StoreFailed, match=r"127\.0\.0\.1 cannot be reached"):
        await make("http://127.0.0.1:9").fetch("name")


async def test_a_role_that_may_not_describe_reads_each_time(make: Make) -> None:
    """A least policy has GetSecretValue alone; it is no outage, and asked for once only."""

    def says(request: web.BaseRequest, _: bytes) -> web.StreamResponse:
        assert request.headers["X-Amz-Target"] == "secretsmanager.DescribeSecret"
        return refusal("AccessDeniedException")

    async with Scripted(says) as server:
        store = make(server.url)
        assert await store.has_changed("name", "one")
        assert await store.has_changed("name", "one")
        assert len(server.asked) == 1


async def test_a_closed_store_opens_nothing_any_more(make: Make) -> None:
    """A late question would leave a connection behind."""
    store = make("http://127.0.0.1:9")
    await store.close()
    with pytest.raises(StoreFailed, match="the store is closed"):
        await store.fetch("name")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"region": "Frankfurt"}, "region"),
        ({"role_arn": "admin"}, "role_arn"),
        ({"endpoint_url": "http://secrets.example"}, "endpoint_url"),
        ({"endpoint_url": "https://user:word@secrets.example"}, "endpoint_url"),
        ({"endpoint_url": "https://secrets.example:port"}, "endpoint_url"),
        ({"ttl": Duration(0)}, "ttl"),
        ({"timeout": Duration(0)}, "timeout"),
        ({"stale_max": Duration(1)}, "stale_max"),
    ],
)
def test_what_is_wrong_in_the_section_is_told(settings: dict[str, Any], field: str) -> None:
    """At load, with the field's name."""
    assert [name for name, _ in AwsStoreConfig(**settings).problems()] == [field]
    good = AwsStoreConfig(region="us-gov-west-1", role_arn="arn:aws-us-gov:iam::123456789012:role/a/b")
    assert good.problems() == []
    assert AwsStoreConfig(endpoint_url="https://vpce-1.secretsmanager.eu-central-1.vpce.amazonaws.com").problems() == []
