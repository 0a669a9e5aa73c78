"""Body bound: a request body longer than `body_max` is refused; a body that does not say its length, on the way."""

from collections.abc import Awaitable

from sidecar.core.body import NO_BODY
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.errors import BodyTooLarge
from sidecar.core.units import Size


def body_bound(body_max: Size) -> Layer:
    """Refuse a longer body with 413; one that streams is cut off at the bound, and so is the attempt."""
    sentence = f"the request's body is over body_max = {body_max}"

    def around(inner: Handler) -> Handler:
        def bounded(call: Call) -> Awaitable[Reply]:
            body = call.body
            if body is not NO_BODY:
                if body.length is not None and body.length > body_max:
                    raise BodyTooLarge(sentence)
                body.bound(body_max, BodyTooLarge(sentence))
            return inner(call)

        return bounded

    return around
