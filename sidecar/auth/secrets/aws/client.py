"""Client: the SDK's client, opened with the credentials that the pod was given.

aiobotocore and botocore take 36 MiB and half a second to load, so they are imported here alone, in a thread, when a
store of this kind is first asked.
"""

# ruff: noqa: PLC0415  an import when it is opened is how pods without AWS go without it

import asyncio
import os
import re
import socket
from functools import partial
from typing import Any, Protocol

from sidecar.auth.secrets.aws.config import AwsStoreConfig

ATTEMPTS_MAX = 2  # Of the SDK, for one question: a broken connection or a 5xx is repeated once.
CONNECTIONS_MAX = 4  # Full: a question waits for one before it, within its timeout.


class Opened:
    """A client that is ready, and the region that it asks."""

    __slots__ = ("_context", "api", "region")

    def __init__(self, context: Any, api: Any, region: str) -> None:
        self._context = context
        self.api = api  # As aiobotocore makes it: one coroutine function for each action.
        self.region = region

    async def close(self) -> None:
        """Close its connections."""
        await self._context.__aexit__(None, None, None)


class Open(Protocol):
    """How a client is opened; raises what the SDK raises."""

    async def __call__(self, config: AwsStoreConfig) -> Opened:
        """Open a client."""


async def open_client(config: AwsStoreConfig) -> Opened:
    """Open a client. Raises one of `sdk_errors`."""
    session, settings, region = await asyncio.to_thread(_prepare, config)
    context = session.create_client(
        "secretsmanager",
        region_name=region,
        endpoint_url=config.endpoint_url,
        verify=config.ca_file,
        config=settings,
    )
    return Opened(context, await context.__aenter__(), region)


def sdk_errors() -> tuple[type[Exception], ...]:
    """Give the classes of what the SDK raises."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    # The last three: an answer that is not AWS's (its text holds the answer), a file or the network, a wrong encoding.
    return BotoCoreError, ClientError, ResponseParserError, OSError, ValueError


def _prepare(config: AwsStoreConfig) -> tuple[Any, Any, str]:
    """Load the SDK and its tables. Blocks: to be called in a thread."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import AioSession
    from botocore.exceptions import NoRegionError

    settings = AioConfig(
        connect_timeout=float(config.timeout),
        read_timeout=float(config.timeout),
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
        max_pool_connections=CONNECTIONS_MAX,
    )
    session = AioSession(profile=config.profile)
    session.warm_up_loader_caches("secretsmanager")
    session.warm_up_loader_caches("sts")
    _ = session.full_config  # The SDK's own file, where there is one: read here, kept there.
    region = config.region or session.get_config_variable("region") or _region_of_pod()
    if region is None:
        raise NoRegionError
    session.set_config_variable("region", region)  # For STS, too.
    session.set_default_client_config(settings)
    if config.role_arn is not None:
        acting = AioSession(profile=config.profile)
        acting.register_component("data_loader", session.get_component("data_loader"))
        _ = acting.full_config
        acting.register_component("credential_provider", _Assumed(session, config.role_arn, region))
        session = acting
    return session, settings, region


def _region_of_pod() -> str | None:
    # It names a place and is no secret. EKS and ECS set it; botocore itself reads only AWS_DEFAULT_REGION.
    return os.environ.get("AWS_REGION") or None  # noqa: TID251


class _Assumed:
    """Credentials of a role that is assumed with the pod's own; the SDK renews both ahead of their end."""

    def __init__(self, own: Any, role_arn: str, region: str) -> None:
        self._own = own
        self._role_arn = role_arn
        self._region = region

    async def load_credentials(self) -> Any:
        """Give credentials that are fetched when they are first used."""
        from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
        from botocore.exceptions import NoCredentialsError

        source = await self._own.get_credentials()
        if source is None:
            raise NoCredentialsError
        fetcher = AioAssumeRoleCredentialFetcher(
            client_creator=partial(self._own.create_client, region_name=self._region),
            source_credentials=source,
            role_arn=self._role_arn,
            extra_args={"RoleSessionName": _session_name()},
        )
        return AioDeferredRefreshableCredentials(method="assume-role", refresh_using=fetcher.fetch_credentials)


def _session_name() -> str:
    """Name the pod in CloudTrail."""
    return f"sidecar-{re.sub(r'[^A-Za-z0-9.-]', '-', socket.gethostname())}"[:64]
