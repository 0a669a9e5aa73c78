"""Verifying: which verifier a webhook has, and the secrets that it is given."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sidecar.auth.secrets.held import Held
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.incoming import Incoming, Verified
from sidecar.webhooks.standard import StandardWebhooks


class Verifier(Protocol):
    """Says whether a webhook is the vendor's."""

    def verify(self, incoming: Incoming, secrets: Sequence[bytes], now: float) -> Verified:
        """Give what it says of itself; `now` is Unix seconds. Raises NotVerified."""


PROVIDERS: Mapping[str, Verifier] = {"standard-webhooks": StandardWebhooks(), "svix": StandardWebhooks()}


def verifier_of(config: WebhookConfig) -> Verifier:
    """Give the verifier that the config asks for. Raises ValueError with a sentence."""
    if config.provider is None or config.provider not in PROVIDERS:
        raise ValueError(f"write one of {', '.join(sorted(PROVIDERS))}")
    return PROVIDERS[config.provider]


def revealed(secrets: Sequence[Held]) -> list[bytes]:
    """Give the secrets that could be read."""
    return [held.secret.reveal() for held in secrets if held.secret is not None]
