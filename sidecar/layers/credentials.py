"""Credentials: innermost, so that what entitles a call is fresh at the moment of sending."""

from collections.abc import Awaitable

from sidecar.auth.credential import Credential
from sidecar.core.call import Call, Handler, Layer, Reply


def credentials(credential: Credential) -> Layer:
    """Put the service's credential on each attempt."""

    def around(inner: Handler) -> Handler:
        def entitled(call: Call) -> Awaitable[Reply]:
            credential.put_on(call)
            return inner(call)

        return entitled

    return around
