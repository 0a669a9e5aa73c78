"""The layer: whose key it is, where it stands, and that the app is told."""

from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call, Reply
from sidecar.core.errors import BadRequest
from sidecar.layers.idempotency.field import FieldPlace
from sidecar.layers.idempotency.layer import idempotency
from sidecar.layers.idempotency.places import HeaderPlace, Place, QueryPlace
from tests.kit.clock import ManualClock
from tests.layers.calls import Innermost, call_for, through

MADE = "00000000-0000-4000-8000-000000000001"
PAYPAL = HeaderPlace("PayPal-Request-Id")
STANDARD = HeaderPlace("Idempotency-Key")
REQUEST_ID = QueryPlace("requestid")


class Told:
    """What was told to the log."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, level: str, msg: str, **fields: Any) -> None:
        """Take an event."""
        self.events.append((level, msg, fields))


def keyed_call(key: bytes | None, method: str = "POST", target: bytes = b"/x", headers: Headers | None = None) -> Call:
    """Make a call as the door hands it over: the app's Idempotency-Key is read, and stands among the headers, too."""
    own = [] if key is None else [(b"Idempotency-Key", key)]
    call = call_for(method, target, [*(headers or []), *own], NO_BODY)
    call.idempotency_key = key
    return call


async def send(
    place: Place, call: Call, innermost: Innermost | None = None, make_key: Callable[[], str] = lambda: MADE
) -> Reply:
    """Send a call through the layer."""
    return await through(idempotency(place, frozenset({"POST", "PATCH"}), 45, make_key, Told()), call, innermost)


async def test_a_key_is_made_for_an_unsafe_call_and_told_to_the_app() -> None:
    """Whoever has to look for the payment at the vendor finds it by this key."""
    call = keyed_call(None, "PATCH", headers=[(b"Accept", b"*/*")])
    reply = await send(PAYPAL, call)
    assert call.headers == [(b"Accept", b"*/*"), (b"PayPal-Request-Id", MADE.encode())]
    assert call.idempotency_key == MADE.encode()
    assert reply.headers == [(b"Idempotency-Key", MADE.encode())]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_no_key_is_made_for_what_may_be_repeated_anyway(method: str) -> None:
    """Nothing is made, sent or told."""
    call = keyed_call(None, method)
    reply = await send(PAYPAL, call)
    assert (call.headers, call.idempotency_key, reply.headers) == ([], None, [])


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_the_apps_key_is_translated_to_the_vendors_header_and_stands_there_once(method: str) -> None:
    """`Idempotency-Key` means nothing to this vendor, so it does not go on."""
    call = keyed_call(b"mine", method)
    reply = await send(PAYPAL, call)
    assert call.headers == [(b"PayPal-Request-Id", b"mine")]
    assert reply.headers == [(b"Idempotency-Key", b"mine")]


async def test_the_apps_key_in_the_vendors_own_header_is_kept_with_its_spelling() -> None:
    """An SDK of the vendor's does it so; not a byte changes."""
    call = keyed_call(None, headers=[(b"paypal-request-id", b"mine"), (b"A", b"b")])
    await send(PAYPAL, call)
    assert call.headers == [(b"paypal-request-id", b"mine"), (b"A", b"b")]
    assert call.idempotency_key == b"mine"


async def test_a_key_sent_twice_stands_once_afterwards() -> None:
    """Of two fields, some vendors take the first, some the last, and some both with a comma."""
    call = keyed_call(b"mine", headers=[(b"idempotency-key", b"mine")])
    await send(STANDARD, call)
    assert call.headers == [(b"Idempotency-Key", b"mine")]


async def test_an_empty_header_of_the_apps_is_replaced_by_a_made_key() -> None:
    """An empty key protects from nothing."""
    call = keyed_call(b"")
    await send(STANDARD, call)
    assert call.headers == [(b"Idempotency-Key", MADE.encode())]


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"/x", b"/x?requestid=" + MADE.encode()),
        (b"/x?a=%2F&b", b"/x?a=%2F&b&requestid=" + MADE.encode()),
        (b"/x?requestid=&a=1", b"/x?a=1&requestid=" + MADE.encode()),
        (b"/x?requestid=its%2Dkey&a=1", b"/x?requestid=its%2Dkey&a=1"),
        (b"/x?request%69d=k&requestid=k", b"/x?requestid=k"),
    ],
)
async def test_the_query_carries_the_key_once_and_nothing_else_of_it_changes(target: bytes, sent: bytes) -> None:
    """The app's stays where it stands, byte for byte; a made one comes at the end."""
    call = keyed_call(None, target=target)
    await send(REQUEST_ID, call)
    assert call.target == sent


async def test_a_key_in_the_query_is_encoded_and_read_back_decoded() -> None:
    """A blank or an ampersand in a key must not end the parameter."""
    call = keyed_call(b"a b&c=d")
    await send(REQUEST_ID, call)
    assert (call.target, call.headers) == (b"/x?requestid=a%20b%26c%3Dd", [])
    again = keyed_call(None, target=b"/x?requestid=a+b%26c%3Dd")
    await send(REQUEST_ID, again)
    assert (again.target, again.idempotency_key) == (b"/x?requestid=a+b%26c%3Dd", b"a b&c=d")


async def test_two_different_keys_are_refused_before_anything_is_sent() -> None:
    """Whichever we took, it would be the wrong one for somebody."""
    innermost = Innermost()
    with pytest.raises(BadRequest, match="two different"):
        await send(PAYPAL, keyed_call(b"one", headers=[(b"PayPal-Request-Id", b"two")]), innermost)
    assert not innermost.calls


async def test_a_key_longer_than_the_vendor_takes_is_refused() -> None:
    """Square takes 45; cut silently, two operations could become one."""
    with pytest.raises(BadRequest, match="takes 45"):
        await send(PAYPAL, keyed_call(b"k" * 46))


async def test_the_vendors_own_word_about_the_key_stays() -> None:
    """Stripe answers with the key; twice would be a list of two."""
    reply = await send(STANDARD, keyed_call(b"mine"), Innermost(headers=[(b"idempotency-key", b"mine")]))
    assert reply.headers == [(b"idempotency-key", b"mine")]


async def test_a_call_that_switches_protocols_has_no_key() -> None:
    """A WebSocket is no operation that is repeated."""
    call = keyed_call(None)
    call.upgrade = b"websocket"
    await send(PAYPAL, call)
    assert call.headers == []


async def test_the_headers_of_the_call_are_not_changed_in_place() -> None:
    """An earlier holder of the list goes on seeing what it had."""
    call = keyed_call(b"mine")
    before = call.headers
    await send(PAYPAL, call)
    assert before == [(b"Idempotency-Key", b"mine")]


async def test_a_body_that_cannot_carry_the_key_passes_and_nobody_believes_in_the_key() -> None:
    """Without its key at the vendor, the call must not be retried; the log tells why at level debug, not the key."""
    told, innermost = Told(), Innermost()
    call = keyed_call(b"mine")
    call.body = Body.of(b"[1]")
    layer = idempotency(FieldPlace("nonce", 100, ManualClock()), frozenset({"POST"}), 45, lambda: MADE, told)
    reply = await through(layer, call, innermost)
    assert innermost.call.body.take_all() == b"[1]"
    assert innermost.call.headers == [(b"Idempotency-Key", b"mine")]
    assert (call.idempotency_key, reply.headers) == (None, [])
    ((level, msg, fields),) = told.events
    assert (level, msg, fields["service"]) == ("debug", "idempotency_key_not_put", "crm")
    assert "not a JSON object" in fields["why"]
    assert "mine" not in str(told.events)
