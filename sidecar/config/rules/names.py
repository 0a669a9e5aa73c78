"""Names: what becomes a host name, a path segment or a metric label is short and plain."""

import re
from collections.abc import Iterator

from sidecar.config.model import ENVIRONMENT, Config
from sidecar.config.problem import Problem

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 section 2.1, in lower case.
ROUTE = re.compile(r"[A-Za-z0-9_-]{1,63}")
STORE = re.compile(r"[a-z][a-z0-9_-]*")


def names(config: Config) -> Iterator[Problem]:
    """Judge the names that the config gives to things."""
    environment = config.sidecar.environment
    if environment is not None and not ENVIRONMENT.fullmatch(environment):
        yield Problem("sidecar.environment", 'write letters, digits, ".", "_" and "-", such as "production"')
    for store in config.secrets:
        if not STORE.fullmatch(store):
            yield Problem(f"secrets.{store}", 'a store is named by small letters, digits, "_" and "-"')
    for name, entry in config.services.items():
        if not LABEL.fullmatch(name):
            yield Problem(
                f"services.{name}",
                f"a service's name is also a host name, <name>.localhost; write 1 to 63 of a-z, 0-9 and"
                f' "-", neither first nor last a "-"{_hint(name)}',
            )
        for route in entry.routes:
            if not ROUTE.fullmatch(route.name):
                yield Problem(
                    f"services.{name}.routes.{route.name}", 'a route is named by 1 to 63 letters, digits, "_" and "-"'
                )


def _hint(name: str) -> str:
    plain = name.lower().replace("_", "-").strip("-")
    return f', such as "{plain}"' if LABEL.fullmatch(plain) else ""
