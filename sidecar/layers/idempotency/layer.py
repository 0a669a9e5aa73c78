"""Idempotency: gives an unsafe call its key, so that a vendor which sees it twice does the thing once.

It stands outside of `retry`, so the key is the same on every attempt. Without a key such a call gets one attempt. With
`replay` (once.py) a call with a key of the app's own is remembered.
"""

from collections.abc import Awaitable, Callable

from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.headers import find
from sidecar.layers.idempotency.key import fitted, one_of
from sidecar.layers.idempotency.once import Keyed
from sidecar.layers.idempotency.places import STANDARD, NoPlace, Place


class IdempotencyLayer:
    """Puts the key into the vendor's place, and tells it to the app in the answer."""

    __slots__ = ("_inner", "_key_max", "_make_key", "_methods", "_once", "_place", "_tell")

    def __init__(
        self,
        place: Place,
        methods: frozenset[str],
        key_max: int,
        make_key: Callable[[], str],
        tell: Callable[..., None],
        inner: Handler,
        once: Keyed | None = None,
    ) -> None:
        self._place = place
        self._methods = methods
        self._key_max = key_max
        self._make_key = make_key
        self._tell = tell
        self._inner = inner
        self._once = once  # Around `inner`, for calls with a key of the app's.

    async def __call__(self, call: Call) -> Reply:
        """Send the call with its key. Raises BadRequest for a key that the vendor would not take."""
        own: bytes | None = None
        if (call.method in self._methods or call.idempotency_key is not None) and call.upgrade is None:
            sent = call.idempotency_key
            try:
                own = await self._give_key(call)
            except NoPlace as reason:
                # The vendor will see no key, so nobody below may believe that it would. Here it holds all the same.
                call.idempotency_key, own = None, sent
                self._tell("debug", "idempotency_key_not_put", service=call.service, why=str(reason))
        reply = await (self._inner(call) if own is None or self._once is None else self._once(call, own))
        key = call.idempotency_key
        if key is not None and find(reply.headers, STANDARD) is None:
            reply.headers = [*reply.headers, (b"Idempotency-Key", key)]
        return reply

    async def _give_key(self, call: Call) -> bytes | None:
        """Keep the app's key, and give it; make one where a key is due and the app sent none."""
        own = await own_key(call, self._place, self._key_max)
        if own is None and call.method not in self._methods:
            return None
        key = own or fitted(self._make_key(), self._key_max)
        self._place.put(call, key)
        call.idempotency_key = key
        return own


async def own_key(call: Call, place: Place, key_max: int) -> bytes | None:
    """Give the key that the app sent, in the vendor's place or in ours. Raises BadRequest, and what `place` raises."""
    keys = await place.look(call)
    if call.idempotency_key is not None:
        keys.append(call.idempotency_key)
    return one_of(keys, key_max)


def key_for(
    place: Place, methods: frozenset[str], key_max: int, make_key: Callable[[], str]
) -> Callable[[Call], Awaitable[bytes | None]]:
    """Give the key that a call will have once it comes to this layer, for who has to know it before."""

    async def give(call: Call) -> bytes | None:
        try:
            own = await own_key(call, place, key_max)
        except NoPlace:
            return call.idempotency_key
        if own is None and call.method in methods:
            return fitted(make_key(), key_max)
        return own

    return give


def idempotency(
    place: Place,
    methods: frozenset[str],
    key_max: int,
    make_key: Callable[[], str],
    tell: Callable[..., None],
    once: Callable[[Handler], Keyed] | None = None,
) -> Layer:
    """Give calls with one of `methods` a key in `place`; `make_key` gives a fresh UUID, `once` remembers answers."""

    def around(inner: Handler) -> Handler:
        keyed = once(inner) if once is not None else None
        return IdempotencyLayer(place, methods, key_max, make_key, tell, inner, keyed)

    return around
