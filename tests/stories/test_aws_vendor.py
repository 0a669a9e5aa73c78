"""AWS as a vendor and as a store: calls that are signed again on their way, and a rotation in its middle."""

import asyncio
import io
import json
import secrets
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.auth.secrets import aws
from tests.auth.signing.aws import Judge, judging
from tests.contract.stores import MotoPlace, ask
from tests.kit.pod import Pod
from tests.kit.servers import Servers
from tests.kit.tokens import Guarding
from tests.kit.vendor import Vendor, answer

PLACEHOLDER = "sidecar"
BEARER = 'auth = { kind = "bearer", secret = "aws:vendor#key" }'


def client(url: str, service: str) -> Any:
    """Give boto3's client, with keys that are worth nothing."""
    config = Config(
        s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=15
    )
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=aws.REGION,
        config=config,
        aws_access_key_id=PLACEHOLDER,
        aws_secret_access_key=PLACEHOLDER,
    )


def use_s3(url: str, content: bytes) -> bytes:
    """Write and read an object with the vendor's own SDK, also as a stream of unknown coding."""
    s3 = client(url, "s3")
    bucket = f"b{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": aws.REGION})
    s3.put_object(Bucket=bucket, Key="a b/\xe9+c", Body=io.BytesIO(content), Metadata={"who": "the app"})
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="a b/")
    assert [one["Size"] for one in listed["Contents"]] == [len(content)]
    read: bytes = s3.get_object(Bucket=bucket, Key="a b/\xe9+c")["Body"].read()
    s3.close()
    return read


async def test_boto3_works_through_the_sidecar_with_keys_that_it_does_not_have(
    tmp_path: Path, servers: Servers
) -> None:
    """A judge of another make computes each signature anew: with the app's placeholder keys it lets nobody in."""
    judge = servers.get(judging)
    assert isinstance(judge, Judge)
    content = secrets.token_bytes(300_000)
    url = f"http://127.0.0.1:{judge.port}"
    with pytest.raises(Exception, match=r"InvalidAccessKeyId|403|Forbidden"):
        await asyncio.to_thread(use_s3, url, b"x")
    auth = (
        f'auth = {{ kind = "aws_sigv4", region = "{aws.REGION}", service = "s3", access_key = "files:access",'
        ' secret_key = "files:secret" }'
    )
    pod = Pod(tmp_path, url, service=auth)
    pod.write_secret("access", judge.access_key)
    pod.write_secret("secret", judge.secret_key)
    async with pod:
        assert await asyncio.to_thread(use_s3, f"http://{pod.address}/vendor", content) == content
        pod.write_secret("secret", "not-the-key-any-more")
        await pod.sidecar._generation.shared.secrets.refresh()  # type: ignore[union-attr]
        with pytest.raises(Exception, match="SignatureDoesNotMatch"):
            await asyncio.to_thread(use_s3, f"http://{pod.address}/vendor", b"x")
    assert judge.secret_key.encode() not in pod.log_file.read_bytes()


class Rotated:
    """A secret on moto's Secrets Manager, with its operator."""

    def __init__(self, url: str) -> None:
        ask("POST", f"{url}{MotoPlace.reset}")
        self._admin = aws.administrator(url)
        self.section = f'[secrets.aws]\nkind = "aws"\nregion = "{aws.REGION}"\nendpoint_url = "{url}"\ntimeout = "20s"'

    def write(self, value: str, *, is_new: bool = False) -> None:
        """Write a version, which becomes AWSCURRENT; the one before becomes AWSPREVIOUS."""
        text = json.dumps({"key": value})
        if is_new:
            self._admin.create_secret(Name="vendor", SecretString=text)
        else:
            self._admin.put_secret_value(SecretId="vendor", SecretString=text)


@pytest.fixture
def rotated(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rotated:
    """A secret that changes."""
    aws.plain_environment(monkeypatch, tmp_path)
    aws.keys(monkeypatch)
    return Rotated(servers.get(MotoPlace.serve))


async def test_the_value_before_is_tried_once_in_the_middle_of_a_rotation(tmp_path: Path, rotated: Rotated) -> None:
    """The store has the new value, the vendor does not know it yet: the app sees 200 all along, the log one line."""
    first, second = secrets.token_hex(16), secrets.token_hex(16)
    await asyncio.to_thread(rotated.write, first, is_new=True)
    guarding = Guarding(f"Bearer {first}")
    async with (
        Vendor(guarding) as vendor,
        Pod(tmp_path, vendor, service=BEARER, config=rotated.section) as pod,
        pod.app() as app,
    ):
        body = secrets.token_bytes(2000)
        assert (await app.ask("POST", "/vendor/x", body=body)).status == 200
        await asyncio.to_thread(rotated.write, second)
        await pod.sidecar._generation.shared.secrets.refresh()  # type: ignore[union-attr]
        for _ in range(3):
            assert (await app.ask("POST", "/vendor/x", body=body)).status == 200
        seen = [request.values("Authorization")[0] for request in vendor.requests]
        old, new = f"Bearer {first}".encode(), f"Bearer {second}".encode()
        assert seen == [old, new, old, old, old]
        assert {request.body for request in vendor.requests} == {body}
        lines = await pod.log_lines()
        assert len([line for line in lines if line["msg"] == "previous_secret_used"]) == 1
        guarding.good = {new}  # The vendor has caught up, and forgets the old one.
        assert (await app.ask("POST", "/vendor/x", body=body)).status == 200
        assert vendor.requests[-1].values("Authorization") == [new]


async def test_a_value_that_the_vendor_refuses_like_the_one_before_is_refused(tmp_path: Path, rotated: Rotated) -> None:
    """Both are no good: the vendor's 401 goes to the app, and the store is not asked again for each call."""
    await asyncio.to_thread(rotated.write, secrets.token_hex(16), is_new=True)
    await asyncio.to_thread(rotated.write, secrets.token_hex(16))
    async with (
        Vendor.answering(answer(b"no", status=401)) as vendor,
        Pod(tmp_path, vendor, service=BEARER, config=rotated.section) as pod,
        pod.app() as app,
    ):
        for _ in range(4):
            assert (await app.ask("GET", "/vendor/x")).status == 401
        assert len(vendor.requests) == 6
