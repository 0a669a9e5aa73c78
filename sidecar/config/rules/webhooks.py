"""Webhooks: what is acknowledged is kept, and what the sections name is there."""

import re
from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.problem import Problem
from sidecar.upstream.hints.expression import Expression
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.verifying import scheme_of, verifier_of

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def webhooks(config: Config) -> Iterator[Problem]:
    """Judge every webhook."""
    for name, section in config.webhooks.items():
        path = f"webhooks.{name}"
        if not NAME.fullmatch(name):
            yield Problem(path, 'a webhook is the path /<name>; write 1 to 63 of a-z, 0-9 and "-", no "-" at the ends')
        if config.store.kind == "memory":
            yield Problem(
                path, 'what is acknowledged is kept, and the store is in memory; write [store] with kind = "sqlite" or'
                ' "valkey"', because=("store.kind",),
            )  # fmt: skip
        for problem in _judged(section):
            yield Problem(f"{path}.{problem.path}", problem.sentence, problem.is_warning)


def _judged(section: WebhookConfig) -> Iterator[Problem]:
    try:
        verifier_of(section)
        if section.secret_from_handshake and all(each.secret is None for each in scheme_of(section).handshakes):
            yield Problem("secret_from_handshake", "no handshake of this vendor's brings a secret; Asana's does")
        if section.confirm and all(each.visits is None for each in scheme_of(section).handshakes):
            yield Problem("confirm", "no handshake of this vendor's names a URL to ask; AWS' does")
        if scheme_of(section).keys is None and not section.secrets:
            yield Problem("secret", 'write the reference of the secret that the vendor signs with, such as "files:x"')
    except ValueError as error:
        yield Problem(
            "signature" if section.provider is None and section.signature is not None else "provider", str(error)
        )
    if section.order_by is not None:
        try:
            Expression(section.order_by)
        except ValueError as error:
            yield Problem("order_by", str(error))
    if section.schedule and section.age_max < section.schedule[0]:
        yield Problem("age_max", "an event is older than that before it is tried again", is_warning=True)
