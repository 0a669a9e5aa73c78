"""Redaction: what is named like a secret, and the known values in every form in which they travel."""

import base64
import secrets
import time
from urllib.parse import quote, quote_plus

import pytest

from sidecar.telemetry.redact import PATTERNS_MAX, VALUE_MAX, Redactor, TooManyValues, forms


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
        ('{"secret":{"a":{"b":"c"},"d":"e"},"id":1}', '{"secret":"***","id":1}'),
        ('{"tokens":[{"a":["b"]},"c"],"id":1}', '{"tokens":"***","id":1}'),
        ('{"secret":{"a":"}","b":"\\"}c"},"id":1}', '{"secret":"***","id":1}'),
        ('{"secret":{"a":{"b":"c"},"d":"cut', '{"secret":"***"'),
        ('{"secret":{"a":{"b":"c"}', '{"secret":"***"'),
        ('{"secret":{"a":[1}, "b":"c"}, "d":"e"}', '{"secret":"***"'),
        ('{"secret":[],"x":{}}', '{"secret":"***","x":{}}'),
        ('{"\\u0074oken":"abc","id":1}', '{"\\u0074oken":"***","id":1}'),
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


def test_a_value_that_ends_in_what_is_cut_shows_no_beginning() -> None:
    """Only the beginning of a long header is looked at, and a known value may lie across its end."""
    redactor = Redactor()
    value = secrets.token_hex(20)
    redactor.know(forms(value.encode()))
    for at in range(VALUE_MAX - 50, 2 * VALUE_MAX + 10):
        masked = value + ", "  # Masks shorten the text, so that more of it is shown.
        raw = masked * 15 + "x" * (at - 15 * len(masked)) + value + "y" * 100_000
        [line] = redactor.headers([(b"X-A", raw.encode())])
        assert value[:8] not in line
        assert len(line) < VALUE_MAX + 20


def test_binary_bytes_are_shown_as_text() -> None:
    """A compressed body must not break the line."""
    assert Redactor().body(bytes(range(256)))


def test_a_terminal_obeys_nothing_of_a_peers() -> None:
    """JSON escapes the old control characters only; others clear screens and turn lines round."""
    text = Redactor().body("a\x9b2Jb\u202ec\u2028d\x7fe é€".encode())
    assert text == "a?2Jb?c?d?e é€"


def test_a_field_is_masked_at_any_depth() -> None:
    """Vendors wrap what they say in an error object, and that in a list."""
    text = Redactor().body(
        b'{"errors": [{"detail": {"token": "t-1", "plan": "p"}, "client_secret": {"a": 1}}], "x": 2}'
    )
    assert text == '{"errors": [{"detail": {"token": "***", "plan": "p"}, "client_secret": "***"}], "x": 2}'


@pytest.mark.parametrize(
    "hostile",
    ['{"token":' * 400, '"token":{' * 400, '"token":["' * 300, '{"token":' + "[" * 2000, '"' * 2048, '"a"' + " " * 2045,
     '"token":"' + "\\" * 2040, "://" * 680, "bearer " * 290, "?" * 2048, "a=" * 1024, '"token":[' + '"\\' * 1000,
     '{"token":[{}' * 170, '"\\u0074oken":{' * 140],
)  # fmt: skip
def test_hostile_text_takes_no_time(hostile: str) -> None:
    """A vendor that fails on purpose must not hold the loop: 2 KiB take far less than a call."""
    redactor = Redactor()
    for _ in range(30):
        redactor.know(forms(secrets.token_bytes(40)))
    raw = hostile.encode()[:2048]
    before = time.process_time()
    for _ in range(10):
        redactor.body(raw)
    assert (time.process_time() - before) / 10 < 0.02


def test_a_long_secret_costs_no_more_than_a_short_one() -> None:
    """A mounted file may hold a megabyte; each failed call looks for its beginning at the end of each text."""
    redactor = Redactor()
    value = secrets.token_hex(100_000)
    redactor.know([value.encode()])
    before = time.process_time()
    for _ in range(100):
        assert redactor.body(b"x" * 2000 + value[:48].encode()) == "x" * 2000 + "***"
    assert time.process_time() - before < 1


def test_more_values_than_the_table_holds_are_refused() -> None:
    """What cannot be masked is not used; the sentence names none of them."""
    redactor = Redactor()
    redactor.know(f"value-{number}".encode() for number in range(PATTERNS_MAX))
    with pytest.raises(TooManyValues, match="use fewer secrets"):
        redactor.know([b"one-more"])
