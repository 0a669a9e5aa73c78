"""Redaction: what is named like a secret, and the known values in every form in which they travel."""

import base64
import secrets
from urllib.parse import quote, quote_plus

import pytest

from sidecar.telemetry.redact import VALUE_MAX, Redactor, forms


def canary() -> str:
    """Make a value that needs escaping in URLs and in JSON, and is nowhere else."""
    return f'ca/na+ry "{secrets.token_hex(12)}'


def wrapped(value: str) -> list[str]:
    """Give the forms in which vendors, URLs and headers show a value."""
    raw = value.encode()
    return [
        value,
        quote(value, safe=""),
        quote_plus(value),
        raw.hex(),
        base64.b64encode(raw).decode(),
        *(base64.b64encode(b"u" * size + b":" + raw).decode() for size in range(4)),
        base64.urlsafe_b64encode(b"user:" + raw + b"\nmore").decode(),
        value.replace('"', '\\"').replace("/", "\\/"),
    ]


def test_a_known_value_shows_in_no_form() -> None:
    """Raw, URL-encoded, base64 at any offset, as Basic, hexadecimal, in JSON."""
    value = canary()
    redactor = Redactor()
    redactor.know(forms(value.encode()))
    for form in wrapped(value):
        shown = redactor.body(f"the vendor says {form} is wrong".encode())
        assert "***" in shown, form
        core = base64.b64encode(value.encode()[3:-3]).decode()[4:-4]
        assert secrets.compare_digest(shown.replace(form, ""), shown)
        assert value[10:-4] not in shown
        assert core not in shown


def test_a_known_value_that_is_cut_at_the_end_shows_no_beginning() -> None:
    """Only 2 KiB of a body are kept, and the cut may go through the middle."""
    value = secrets.token_hex(20)
    redactor = Redactor()
    redactor.know(forms(value.encode()))
    assert value[:15] not in redactor.body(b"key: " + value[:15].encode())


def test_a_forgotten_value_is_not_masked_but_another_owner_still_counts() -> None:
    """Two services may share one secret: the first that goes does not take it away."""
    value = secrets.token_hex(20).encode()
    redactor = Redactor()
    first, second = redactor.know([value]), redactor.know([value])
    first()
    first()
    assert redactor.text(value) == "***"
    second()
    assert redactor.text(value) == value.decode()


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer abcdefgh", "Authorization: Bearer ***"),
        ("authorization", "abcdefgh", "authorization: ***"),
        ("Proxy-Authorization", "Basic dTpw", "Proxy-Authorization: Basic ***"),
        ("Cookie", "a=b", "Cookie: ***"),
        ("Set-Cookie", "sid=abc; Path=/", "Set-Cookie: ***"),
        ("X-Api-Key", "abc", "X-Api-Key: ***"),
        ("X-Shop-Access-Token", "abc", "X-Shop-Access-Token: ***"),
        ("Sidecar-Token", "abc", "Sidecar-Token: ***"),
        ("WWW-Authenticate", 'Digest nonce="abc"', "WWW-Authenticate: Digest ***"),
        ("Content-Type", "text/html", "Content-Type: text/html"),
        ("X-Author", "ann", "X-Author: ann"),
        ("Location", "http://u:p@h/?code=a#access_token=q", "Location: http://***@h/?code=***#access_token=***"),
        ("Link", '<https://h/x?api%5Fkey=abc&b=2>; rel="next"', 'Link: <https://h/x?api%5Fkey=***&b=2>; rel="next"'),
    ],
)  # fmt: skip
def test_headers_are_masked_by_name(name: str, value: str, shown: str) -> None:
    """The scheme word stays, as it is what one looks for; the rest goes."""
    assert Redactor().headers([(name.encode(), value.encode())]) == [shown]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ('{"access_token": "abc", "id": 7}', '{"access_token": "***", "id": 7}'),
        ('{"client_secret":"a\\"b","ok":true}', '{"client_secret":"***","ok":true}'),
        ('{"token":null,"pwd":"x"}', '{"token":null,"pwd":"***"}'),
        ('{"credentials":{"a":"b"},"id":1}', '{"credentials":"***","id":1}'),
        ('{"password":"cut in the mid', '{"password":"***"'),
        ("grant_type=x&client_secret=abc&a=b", "grant_type=x&client_secret=***&a=b"),
        ("sent Bearer abcdefghijkl to us", "sent Bearer *** to us"),
        ('{"author":"ann","message":"no"}', '{"author":"ann","message":"no"}'),
    ],
)
def test_bodies_are_masked_by_the_names_of_their_fields(raw: str, shown: str) -> None:
    """JSON, forms and text, whole or cut."""
    assert Redactor().body(raw.encode()) == shown


def test_a_head_is_bounded() -> None:
    """A vendor's thousand fields make no line of a megabyte."""
    lines = Redactor().headers([(b"X-A", b"v" * 10_000)] * 1000)
    assert len(lines) == 101
    assert max(map(len, lines)) < VALUE_MAX + 20


def test_binary_bytes_are_shown_as_text() -> None:
    """A compressed body must not break the line."""
    assert Redactor().body(bytes(range(256)))


def test_a_field_is_masked_at_any_depth() -> None:
    """Vendors wrap what they say in an error object, and that in a list."""
    text = Redactor().body(
        b'{"errors": [{"detail": {"token": "t-1", "plan": "p"}, "client_secret": {"a": 1}}], "x": 2}'
    )
    assert text == '{"errors": [{"detail": {"token": "***", "plan": "p"}, "client_secret": "***"}], "x": 2}'
