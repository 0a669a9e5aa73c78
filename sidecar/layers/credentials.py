"""Credentials: innermost, so that what entitles a call is fresh at the moment of sending."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from sidecar.core.call import Call, Handler, Layer, Reply


class PutsOn(Protocol):
    """A credential that is at hand, or not to be had."""

    def put_on(self, call: Call) -> None:
        """Put it on. Raises CredentialUnavailable."""


def credentials(credential: PutsOn) -> Layer:
    """Put the service's credential on each attempt."""

    def around(inner: Handler) -> Handler:
        def entitled(call: Call) -> Awaitable[Reply]:
            credential.put_on(call)
            return inner(call)

        return entitled

    return around


def noted(name: str, version: Callable[[], str]) -> Layer:
    """Note on each attempt what it carries, for the audit log: a name and a version, never a value."""

    def around(inner: Handler) -> Handler:
        def noting(call: Call) -> Awaitable[Reply]:
            call.credential = name
            call.credential_version = version()
            return inner(call)

        return noting

    return around
