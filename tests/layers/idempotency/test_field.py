"""The key in a JSON body: put behind the brace, every other byte as it was; or not at all."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import NO_BODY, Body, Headers
from sidecar.core.call import Call
from sidecar.core.errors import DeadlineExceeded, RequestTimeout
from sidecar.layers.idempotency.field import FieldPlace
from sidecar.layers.idempotency.places import NoPlace
from tests.kit.clock import ManualClock, settle
from tests.layers.calls import call_for, read_all

JSON = (b"Content-Type", b"application/json")


def place(clock: ManualClock | None = None, bytes_max: int = 1000) -> FieldPlace:
    """Make the place of Square's key."""
    return FieldPlace("idempotency_key", bytes_max, clock or ManualClock())


def call_with(content: bytes, headers: Headers | None = None) -> Call:
    """Make a call with this body."""
    return call_for("POST", headers=[JSON] if headers is None else headers, body=Body.of(content))


async def sent(content: bytes, key: bytes = b"k") -> bytes:
    """Put a key into a body."""
    call, field = call_with(content), place(bytes_max=10**6)
    await field.look(call)
    field.put(call, key)
    assert call.body.length == call.body.received_bytes  # Content-Length follows from it.
    return await read_all(call.body)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{}", b'{"idempotency_key":"k"}'),
        (b" { } ", b' { "idempotency_key":"k"} '),
        (b'{"a":1}', b'{"idempotency_key":"k","a":1}'),
        (b'{\r\n\t"a" : 1.0 , "a": "\\u00e9" }\n', b'{\r\n\t"idempotency_key":"k","a" : 1.0 , "a": "\\u00e9" }\n'),
        (b'{"b":{"idempotency_key":"inner"}}', b'{"idempotency_key":"k","b":{"idempotency_key":"inner"}}'),
    ],
)
async def test_the_key_comes_first_and_every_other_byte_stays(content: bytes, expected: bytes) -> None:
    """Numbers, spaces, doubles and escapes are the app's; a parser of ours would write them otherwise."""
    assert await sent(content) == expected


@given(
    st.dictionaries(st.text(max_size=5), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=4)),
    st.sampled_from([None, 2]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
)
def test_what_the_vendor_reads_is_the_apps_object_and_the_key(
    members: dict[str, object], indent: int | None, key: str
) -> None:
    """Whatever is in it, and however it is written; quotes and backslashes of the key are escaped."""
    members.pop("idempotency_key", None)
    content = asyncio.run(sent(json.dumps(members, indent=indent).encode(), key.encode()))
    assert json.loads(content) == {"idempotency_key": key, **members}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b'{"idempotency_key":"mine"}', b"mine"),
        (b'{"a":[1], "idempotency_\\u006bey" : "m\\u0069ne"}', b"mine"),
        (b'{"idempotency_key": 17}', b"17"),
    ],
)
async def test_the_apps_own_key_is_found_and_the_body_is_not_touched(content: bytes, key: bytes) -> None:
    """Discord's SDKs send a number as nonce; a name may be written with escapes."""
    call, field = call_with(content), place()
    assert await field.look(call) == [key]
    field.put(call, key)
    assert await read_all(call.body) == content


@pytest.mark.parametrize("value", [b"null", b'""', b"true", b"1.5", b"{}", b"[]"])
async def test_a_field_without_a_key_in_it_is_left_to_the_vendor(value: bytes) -> None:
    """A second field of the name would be worse than what the app did."""
    with pytest.raises(NoPlace, match="no key"):
        await place().look(call_with(b'{"idempotency_key":%b}' % value))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'"text"', b"{", b'{"a"}', b"null", b"{}{}", b"a=1", b"\xef\xbb\xbf{}", b'{"a":' + b"[" * 900],
)
async def test_what_is_no_json_object_is_not_touched(content: bytes) -> None:
    """Nor is it refused: to judge it is the vendor's business."""
    call = call_with(content)
    with pytest.raises(NoPlace, match="not a JSON object"):
        await place().look(call)
    assert call.body.take_all() == content


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Type", b"application/x-www-form-urlencoded")],
        [(b"Content-Type", b"application/json; charset=utf-16")],
        [JSON, (b"Content-Encoding", b"gzip")],
        [JSON, (b"Content-MD5", b"Q2hlY2sgSW50ZWdyaXR5IQ==")],
        [JSON, (b"Digest", b"sha-256=x")],
        [JSON, (b"content-digest", b"sha-256=:x:")],
        [JSON, (b"Repr-Digest", b"sha-256=:x:")],
    ],
)
async def test_a_body_whose_head_speaks_against_it_is_not_touched(headers: Headers) -> None:
    """Another type, another encoding, or a digest that would not be true any more."""
    with pytest.raises(NoPlace):
        await place().look(call_with(b"{}", headers))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"content-type", b"APPLICATION/JSON;charset=UTF-8")],
        [(b"Content-Type", b"application/merge-patch+json")],
        [JSON, (b"Content-Encoding", b"identity")],
    ],
)
async def test_json_under_its_other_names_is_json(headers: Headers) -> None:
    """Also without a Content-Type: an object is an object."""
    assert await place().look(call_with(b"{}", headers)) == []


async def test_a_call_without_a_body_has_no_place_for_a_key() -> None:
    """None is made up for it."""
    with pytest.raises(NoPlace, match="no body"):
        await place().look(call_for("POST", body=NO_BODY))


async def test_a_body_with_trailers_is_not_touched() -> None:
    """They come after it and may tell about its bytes."""
    call = call_with(b"{}")
    call.body.trailers = [(b"X-Sum", b"1")]
    with pytest.raises(NoPlace, match="trailers"):
        await place().look(call)


@pytest.mark.parametrize("size", [1000, 1001])
async def test_a_body_up_to_the_bound_is_waited_for_and_one_byte_more_streams(size: int) -> None:
    """What is over it goes on at once, with nothing taken from it."""
    content = b'{"a":"%b"}' % (b"x" * (size - 8))
    body = Body(None)
    call = call_for("POST", headers=[JSON], body=body)
    asked = asyncio.create_task(place().look(call))
    body.feed(content[:500])
    await settle()
    assert not asked.done()
    body.feed(content[500:])
    if size > 1000:
        with pytest.raises(NoPlace, match="body_max"):
            await asked
        body.finish()
    else:
        body.finish()
        assert await asked == []
    assert await read_all(body) == content


async def test_a_body_that_says_it_is_longer_is_not_waited_for() -> None:
    """It streams from the first byte on."""
    with pytest.raises(NoPlace, match="body_max"):
        await place().look(call_for("POST", headers=[JSON], body=Body(1001)))


async def test_a_body_that_breaks_off_is_left_to_the_reader() -> None:
    """Who sends it on meets the failure with its own sentence."""
    body = Body(100)
    call = call_for("POST", headers=[JSON], body=body)
    asked = asyncio.create_task(place().look(call))
    await settle()
    body.fail(RequestTimeout("too slow"))
    with pytest.raises(NoPlace, match="broke off"):
        await asked


async def test_an_app_that_is_slow_with_its_body_uses_up_its_own_time(clock: ManualClock) -> None:
    """The deadline ends the wait, and the vendor is not blamed."""
    call = call_for("POST", headers=[JSON], body=Body(100))
    call.deadline_at = clock.now() + 2
    asked = asyncio.create_task(place(clock).look(call))
    await clock.advance(1.99)
    assert not asked.done()
    await clock.advance(0.01)
    with pytest.raises(DeadlineExceeded, match="receiving the request's body") as raised:
        await asked
    assert not raised.value.blames_vendor
    assert clock.pending == 0
