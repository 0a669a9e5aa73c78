"""AWS for tests: an administrator's client on a real server, and the environment of a pod."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from sidecar.auth.secrets.aws.config import AwsStoreConfig
from sidecar.core.units import Duration
from tests.auth.secrets.servers import serving

REGION = "eu-central-1"
VARIABLES = (
    "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SESSION_TOKEN", "AWS_REGION",
    "AWS_DEFAULT_REGION", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
    "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy",
)  # fmt: skip


def ministack() -> Iterator[str]:
    """Run ministack, whose stages are AWS's."""
    settings = {"SERVICES": "secretsmanager,sts,iam", "BIND_HOST": "127.0.0.1"}
    with serving("ministack", port_as="GATEWAY_PORT", environment=settings) as url:
        yield url


def moto() -> Iterator[str]:
    """Run moto's server, which knows roles, and refuses a version's id that is in use."""
    with serving("moto_server", "-H", "127.0.0.1", "-p", "PORT") as url:
        yield url


def config(url: str, **more: Any) -> AwsStoreConfig:
    """Give the section of a store at `url`."""
    return AwsStoreConfig(**{"region": REGION, "endpoint_url": url, "timeout": Duration(20), **more})


def administrator(url: str, service: str = "secretsmanager") -> Any:
    """Give a client of another make with all rights."""
    session = boto3.Session(aws_access_key_id="admin", aws_secret_access_key="admin", region_name=REGION)
    return session.client(service, endpoint_url=url)


def stages(admin: Any, name: str) -> dict[str, list[str]]:
    """Give, for each version of a secret, its stages."""
    found: dict[str, list[str]] = admin.describe_secret(SecretId=name)["VersionIdsToStages"]
    return found


def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give the environment of a pod without any hint at AWS."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the pod static keys, which the servers take without a look."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def make_role(url: str, name: str, actions: list[str]) -> str:
    """Make a role that may do `actions` with all secrets, and give its ARN."""
    iam = administrator(url, "iam")
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
    return arn


def web_identity() -> str:
    """Give a token as Kubernetes would project it; who checks it is AWS."""
    parts = (
        {"alg": "none"},
        {"sub": "system:serviceaccount:shop:checkout", "iss": "https://oidc.example", "aud": "sts"},
    )
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + ".x"
