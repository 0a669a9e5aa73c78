"""Idempotency: gives an unsafe call its key, so that a vendor which sees it twice does the thing once.

It stands outside of `retry`, so the key is the same on every attempt. Without a key such a call gets one attempt.
"""

from collections.abc import Callable

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.headers import find
from sidecar.layers.idempotency.key import fitted, one_of
from sidecar.layers.idempotency.places import STANDARD, NoPlace, Place


class IdempotencyLayer:
    """Puts the key into the vendor's place, and tells it to the app in the answer."""

    __slots__ = ("_inner", "_key_max", "_make_key", "_methods", "_place", "_tell")

    def __init__(
        self,
        place: Place,
        methods: frozenset[str],
        key_max: int,
        make_key: Callable[[], str],
        tell: Callable[..., None],
        inner: Handler,
    ) -> None:
        self._place = place
        self._methods = methods
        self._key_max = key_max
        self._make_key = make_key
        self._tell = tell
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        """Send the call with its key. Raises BadRequest for a key that the vendor would not take."""
        if (call.method in self._methods or call.idempotency_key is not None) and call.upgrade is None:
            try:
                await self._give_key(call)
            except NoPlace as reason:
                # The vendor will see no key, so nobody below may believe that it would.
                call.idempotency_key = None
                self._tell("debug", "idempotency_key_not_put", service=call.service, why=str(reason))
        reply = await self._inner(call)
        key = call.idempotency_key
        if key is not None and find(reply.headers, STANDARD) is None:
            reply.headers = [*reply.headers, (b"Idempotency-Key", key)]
        return reply

    async def _give_key(self, call: Call) -> None:
        """Keep the app's key; make one where a key is due and the app sent none."""
        keys = await self._place.look(call)
        if call.idempotency_key is not None:
            keys.append(call.idempotency_key)
        key = one_of(keys, self._key_max)
        if key is None:
            if call.method not in self._methods:
                return
            key = fitted(self._make_key(), self._key_max)
        self._place.put(call, key)
        call.idempotency_key = key


def idempotency(
    place: Place, methods: frozenset[str], key_max: int, make_key: Callable[[], str], tell: Callable[..., None]
) -> Layer:
    """Give calls with one of `methods` a key in `place`; `make_key` gives a fresh UUID."""
    return lambda inner: IdempotencyLayer(place, methods, key_max, make_key, tell, inner)
