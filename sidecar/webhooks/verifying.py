"""Verifying: how a webhook is signed, by preset or by a scheme of its own, and the secrets that are tried."""

from collections.abc import Sequence

import msgspec

from sidecar.auth.secrets.held import Held
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.incoming import Verifier
from sidecar.webhooks.presets import preset, webhook_presets
from sidecar.webhooks.scheme import Scheme


def scheme_of(config: WebhookConfig) -> Scheme:
    """Give how the vendor signs. Raises ValueError with a sentence."""
    scheme = config.signature  # Or that of a preset of the user's, which was read with the config.
    if scheme is None:
        if config.provider is None:
            raise ValueError('write whose webhook it is, such as "stripe", or signature = { ... }')
        if config.provider not in webhook_presets():
            raise ValueError(f"there is no such preset for webhooks; known are {', '.join(webhook_presets())}")
        scheme = preset(config.provider)
    return msgspec.structs.replace(scheme, settings={**scheme.settings, **config.settings})


def verifier_of(config: WebhookConfig) -> Verifier:
    """Give the verifier that the config asks for. Raises ValueError with a sentence."""
    return Verifier(scheme_of(config))


def revealed(secrets: Sequence[Held]) -> list[bytes]:
    """Give the secrets that could be read."""
    return [held.secret.reveal() for held in secrets if held.secret is not None]
