import pytest

from sidecar.core import headers

FIELDS = [(b"Set-Cookie", b"a=1"), (b"ETag", b'"x"'), (b"set-cookie", b"b=2")]


def test_a_field_is_found_in_any_spelling_and_the_first_counts() -> None:
    """Names are compared without case, as RFC 9110 section 5.1 has it."""
    assert headers.find(FIELDS, b"set-cookie") == b"a=1"
    assert headers.find(FIELDS, b"etag") == b'"x"'
    assert headers.find(FIELDS, b"age") is None


def test_all_values_of_a_field_keep_their_order() -> None:
    """Duplicates are values of their own."""
    assert headers.find_all(FIELDS, b"set-cookie") == [b"a=1", b"b=2"]
    assert headers.find_all(FIELDS, b"age") == []


def test_lists_are_split_over_fields_and_commas() -> None:
    """Empty members and spaces are nothing; case is none."""
    assert headers.tokens([b"Close, X-Foo", b",, HTTP2-Settings\t,"]) == [b"close", b"x-foo", b"http2-settings"]
    assert headers.tokens([]) == []


@pytest.mark.parametrize(
    "name", [b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"proxy-connection"]
)
def test_the_connections_own_fields_are_known(name: bytes) -> None:
    """RFC 9110 section 7.6.1."""
    assert name in headers.HOP_BY_HOP


def test_trailer_goes_through() -> None:
    """It announces trailers, and trailers are passed on."""
    assert b"trailer" not in headers.HOP_BY_HOP
