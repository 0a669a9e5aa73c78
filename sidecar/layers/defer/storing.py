"""Storing: what of a call is stored when it becomes a job, by the settings of its route."""

from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

from sidecar.auth.schemes import ApiKey, Bearer
from sidecar.auth.signing.config import Passthrough
from sidecar.core.clock import Clock
from sidecar.layers.defer.layer import GiveKey, Replaced
from sidecar.layers.idempotency.layer import key_for
from sidecar.layers.idempotency.placing import keys_of
from sidecar.layers.service import ServiceConfig


class Storing(NamedTuple):
    """The rules of one route."""

    forward: frozenset[str]  # Credentials of the app's own that go on: a call with one is not stored.
    replaced: Replaced
    give_key: GiveKey | None


def storing(config: ServiceConfig, clock: Clock, make_key: Callable[[], str]) -> Storing:
    """Give the rules of a route."""
    keyed = config.idempotency or None
    give_key = None if keyed is None else key_for(*keys_of(keyed, clock, make_key))
    passed_on = ("authorization",) if isinstance(config.auth, Passthrough) else ()
    return Storing(frozenset((*config.forward, *passed_on)), _replaced(config.auth), give_key)


def _replaced(auth: object) -> Replaced:
    """Say where a static credential stands in the request."""
    if isinstance(auth, ApiKey) and auth.place == "query":
        return Replaced(parameter=quote(auth.name, safe="").encode())
    if isinstance(auth, ApiKey):
        return Replaced(auth.name.lower().encode())
    return Replaced(auth.header.lower().encode()) if isinstance(auth, Bearer) else Replaced()
