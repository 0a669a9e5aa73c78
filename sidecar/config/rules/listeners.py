"""Listeners: addresses well formed, no two alike, and the admin door stays inside the pod."""

import re
from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.problem import Problem
from sidecar.core.address import Address

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")


def listeners(config: Config) -> Iterator[Problem]:
    """Judge every door of the sidecar, the services' own included."""
    seen: list[tuple[str, Address]] = []
    for path, text in doors(config):
        try:
            address = Address.parse(text)
        except ValueError as error:
            yield Problem(path, str(error))
            continue
        yield from _judged(path, address)
        for other, taken in seen:
            if address.overlaps(taken):
                yield Problem(path, f"{text} is already taken by {other}; each listener has its own", because=(other,))
                break
        seen.append((path, address))
    if not config.webhooks:  # Nothing listens there; a slip of the pen is one all the same.
        try:
            Address.parse(config.listen.webhooks)
        except ValueError as error:
            yield Problem("listen.webhooks", str(error))
    for index, host in enumerate(config.listen.hosts):
        if not HOST.fullmatch(host):
            yield Problem(f"listen.hosts[{index}]", 'write a host name without a port, such as "sidecar.internal"')
    if not config.listen.egress:
        yield Problem("listen.egress", 'the app has no door; write at least one address, such as "127.0.0.1:4000"')


def doors(config: Config) -> Iterator[tuple[str, str]]:
    """Give (path, address) of every listener, in the order of the file."""
    for index, text in enumerate(config.listen.egress):
        yield f"listen.egress[{index}]", text
    yield "listen.admin", config.listen.admin
    yield "listen.telemetry", config.listen.telemetry
    if config.webhooks:
        yield "listen.webhooks", config.listen.webhooks
    for name, entry in config.services.items():
        for index, text in enumerate(entry.config.listen):
            yield f"services.{name}.listen[{index}]", text


def _judged(path: str, address: Address) -> Iterator[Problem]:
    if path == "listen.admin" and not address.is_local:
        yield Problem(path, 'the admin door never leaves the pod; write a loopback address or "unix:/path.sock"')
    if path not in {"listen.admin", "listen.telemetry", "listen.webhooks"} and not address.is_local:
        yield Problem(
            path, "whoever reaches this address may call with the pod's credentials; use a loopback address",
            is_warning=True,
        )  # fmt: skip
