"""The fields of an answer that are put aside for whoever reads hints."""

import pytest

from sidecar.core.body import Headers
from sidecar.core.call import Reply
from sidecar.upstream.answer import AnswerReader

WANTED = frozenset({b"retry-after", b"x-ratelimit-remaining", b"sidecar-told", b"x-request-id"})


async def read(*fields: tuple[bytes, bytes], notable: frozenset[bytes] = WANTED, before: bytes = b"") -> Reply:
    """Read an answer with these fields, as one feed."""
    reader = AnswerReader(lambda: None, lambda: None, notable)
    future = reader.begin(is_head_request=False, is_upgrade_asked=False)
    head = b"".join(b"%b: %b\r\n" % field for field in fields)
    reader.feed(memoryview(before + b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n" + head + b"\r\n"))
    return await future


async def test_notable_fields_are_put_aside_under_lower_case_names() -> None:
    """In their order, each time they occur, with their values as they came; the app still gets them as sent."""
    sent: Headers = [(b"Retry-AFTER", b"3"), (b"X-RateLimit-Remaining", b"0"), (b"X-a", b"1"), (b"retry-after", b"4")]
    reply = await read(*sent)
    assert reply.notable == [(b"retry-after", b"3"), (b"x-ratelimit-remaining", b"0"), (b"retry-after", b"4")]
    assert reply.headers == [(b"Content-Length", b"0"), *sent]


async def test_without_such_a_field_there_is_nothing_to_read() -> None:
    """None, so that an answer without hints costs its readers one look."""
    assert (await read((b"X-a", b"1"))).notable is None
    assert (await read((b"Retry-After", b"3"), notable=frozenset())).notable is None


async def test_what_a_vendor_says_in_our_name_is_not_believed() -> None:
    """It does not reach the app either."""
    reply = await read((b"Sidecar-Told", b"1"))
    assert reply.notable is None
    assert reply.headers == [(b"Content-Length", b"0")]


@pytest.mark.parametrize("status", [100, 103])
async def test_fields_of_an_interim_answer_are_not_those_of_the_answer(status: int) -> None:
    """Early hints are not hints about limits."""
    reply = await read((b"X-a", b"1"), before=b"HTTP/1.1 %d X\r\nRetry-After: 9\r\n\r\n" % status)
    assert reply.notable is None


async def test_trailers_are_not_read_for_hints() -> None:
    """They come when the answer has long been judged."""
    reader = AnswerReader(lambda: None, lambda: None, WANTED)
    future = reader.begin(is_head_request=False, is_upgrade_asked=False)
    chunks = b"2\r\nok\r\n0\r\nRetry-After: 9\r\n\r\n"
    reader.feed(memoryview(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks))
    reply = await future
    assert reply.notable is None
    assert reply.body.trailers == [(b"Retry-After", b"9")]


async def test_fields_of_the_connection_are_no_hints() -> None:
    """What the vendor names in `Connection` was meant for the next hop alone."""
    reply = await read((b"Connection", b"Retry-After"), (b"Retry-After", b"9"))
    assert reply.notable is None


async def test_the_next_answer_starts_with_a_clean_sheet() -> None:
    """A connection is used again, and the last answer's hints are not this one's."""
    reader = AnswerReader(lambda: None, lambda: None, WANTED)
    found = []
    for field in (b"Retry-After: 9\r\n", b""):
        future = reader.begin(is_head_request=False, is_upgrade_asked=False)
        reader.feed(memoryview(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + field + b"\r\n"))
        found.append((await future).notable)
        reader.end()
    assert found == [[(b"retry-after", b"9")], None]
