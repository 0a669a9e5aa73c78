"""The configuration of a store in AWS Secrets Manager."""

import re
from urllib.parse import urlsplit

from sidecar.core.section import Section
from sidecar.core.units import Duration

ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}")
REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))


class AwsStoreConfig(Section, kw_only=True, tag_field="kind", tag="aws"):
    """`[secrets.<name>]` with `kind = "aws"`: `<name>:<secret's name or ARN>#<field>`.

    Who we are is found as AWS's own SDKs find it: web identity (IRSA), EKS pod identity, the node's role, a profile.
    """

    region: str | None = None  # Absent: AWS_REGION, as EKS sets it, or the profile's.
    role_arn: str | None = None  # A role to assume, with the pod's own one; for secrets of another account.
    profile: str | None = None  # A profile of the SDK's files, where the pod has some.
    endpoint_url: str | None = None  # A VPC endpoint without private DNS; absent: the region's public endpoint.
    ca_file: str | None = None  # Whom to trust in place of the public authorities; for a proxy that opens TLS.
    timeout: Duration = Duration(5)  # For one question, with its one repetition.
    ttl: Duration = Duration(300)
    stale_max: Duration = Duration(86400)

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong."""
        found = []
        if self.region is not None and not REGION.fullmatch(self.region):
            found.append(("region", f'{self.region!r} is no AWS region; write one such as "eu-central-1"'))
        if self.role_arn is not None and not ROLE.fullmatch(self.role_arn):
            found.append(("role_arn", 'write the ARN of a role, such as "arn:aws:iam::123456789012:role/secrets"'))
        if self.endpoint_url is not None and not _is_safe(self.endpoint_url):
            found.append(("endpoint_url", "write https://<host>; over plain http secrets would cross the network open"))
        found += [(key, "write a time above 0") for key in ("timeout", "ttl") if getattr(self, key) <= 0]
        if self.stale_max < self.ttl:
            found.append(("stale_max", "a value is asked for anew every ttl only; write at least as much as ttl"))
        return found


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
