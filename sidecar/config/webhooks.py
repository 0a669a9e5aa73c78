"""Webhooks: `[webhooks.<name>]` over the preset of the user's that it names, whose table `[webhook]` is its signature.

The package's presets are left to those who verify; a preset of the user's is read with the config, so that a change of
its file is a change of the config.
"""

from collections.abc import Iterator, Mapping

import msgspec

from sidecar.config.presets import Preset, Presets
from sidecar.config.problem import Problem, join
from sidecar.config.reader import Reader
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.scheme import Scheme

# Stands for what is wrong and told with its file, so that the rest can be judged.
_STAND_IN = Scheme(signature=("header:none",))


def over_preset(reader: Reader, webhook: WebhookConfig, path: str, presets: Presets) -> WebhookConfig:
    """Give the section with the signature of the user's preset; its own, if it has one, wins."""
    name = webhook.provider
    if name is None:
        return webhook
    if not presets.is_own(name):
        if webhook.signature is not None:
            reader.note(join(path, "signature"), "provider and signature say the same thing twice; write one of them")
        return webhook
    if webhook.signature is not None:
        return webhook
    preset = presets.get(name)
    scheme = _STAND_IN
    if preset is not None:
        if preset.webhook is None:
            reader.note(join(path, "provider"), f"{preset.source} has no table [webhook]; write how the vendor signs")
        else:
            read, problems = webhook_of(preset)
            scheme = scheme if problems or read is None else read
    return msgspec.structs.replace(webhook, signature=scheme)


def webhook_of(preset: Preset) -> tuple[Scheme | None, list[Problem]]:
    """Read a preset's table `[webhook]`, and say all that is wrong with it, with the path in its file."""
    if preset.webhook is None:
        return None, []
    reader = Reader()
    scheme = reader.section(Scheme, preset.webhook, "webhook")
    return (scheme if isinstance(scheme, Scheme) else None), reader.problems


def webhook_providers(raw: Mapping[str, object]) -> Iterator[str]:
    """Name the presets that webhooks name."""
    webhooks = raw.get("webhooks")
    for table in webhooks.values() if isinstance(webhooks, Mapping) else ():
        if isinstance(table, Mapping) and isinstance(provider := table.get("provider"), str):
            yield provider
