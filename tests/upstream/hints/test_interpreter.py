"""The rules that hold for every vendor, and what is not believed of any."""

import gzip
import json
import tracemalloc
import zlib

import pytest

from sidecar.core.advice import Advice
from sidecar.upstream.hints.config import HintsConfig
from sidecar.upstream.hints.interpreter import Interpreter
from tests.upstream.hints.vendors import WALL, config_of, read

KNOWN = Interpreter(HintsConfig())


def of(status: int, fields: dict[str, str], reader: Interpreter = KNOWN, body: bytes | None = None) -> Advice:
    """The advice of an answer; an empty one when there is none."""
    return read(reader, status, fields, body) or Advice()


def test_an_answer_that_announces_nothing_is_no_advice() -> None:
    """A plain 200 is most of the traffic."""
    assert read(KNOWN, 200, {"Content-Type": "text/plain"}) is None
    assert read(KNOWN, 403, {"Content-Type": "text/plain"}) is None
    assert read(KNOWN, 200, {"X-RateLimit-Limit": "5000"}) is None


def test_the_names_are_in_lower_case_and_without_date() -> None:
    """They are looked up as they are; a name that every answer has would cost every answer."""
    assert {b"x-ratelimit-remaining", b"ratelimit", b"retry-after", b"retry-after-ms", b"x-should-retry"} < KNOWN.names
    assert all(name == name.lower() for name in KNOWN.names)
    assert b"date" not in KNOWN.names


def test_429_is_a_refusal_whatever_else_it_says() -> None:
    """RFC 6585 section 4."""
    assert of(429, {}).is_throttled


@pytest.mark.parametrize("status", [403, 503])
def test_403_and_503_are_refusals_only_if_they_announce_a_limit(status: int) -> None:
    """Otherwise they are what they always were."""
    assert not of(status, {}).is_throttled
    assert not of(status, {"X-RateLimit-Remaining": "1"}).is_throttled
    assert not of(status, {"Retry-After": "never"}).is_throttled
    assert of(status, {"X-RateLimit-Remaining": "0"}).is_throttled
    assert of(status, {"Retry-After": "1"}).is_throttled
    assert of(status, {"RateLimit": '"day";r=0;t=5'}).is_throttled


def test_a_wait_with_another_status_is_told_but_no_refusal() -> None:
    """Such as a 202 that is not ready, or a 500."""
    for status in (202, 301, 500):
        advice = of(status, {"Retry-After": "5"})
        assert (advice.retry_after, advice.is_throttled) == (5, False)


def test_the_finer_of_two_waits_counts() -> None:
    """Retry-After has whole seconds, rounded up."""
    assert of(429, {"Retry-After": "1", "retry-after-ms": "250"}).retry_after == 0.25
    advice = of(429, {"Retry-After": "1", "retry-after-ms": "-3"})
    assert advice.retry_after == 1
    assert len(advice.doubts) == 1


def test_a_long_wait_is_told_uncut() -> None:
    """Whoever retries must know that it does not fit; whoever closes a bucket cuts it."""
    assert of(429, {"Retry-After": "86400"}).retry_after == 86400


def test_without_a_wait_a_refused_call_waits_for_the_last_of_the_used_up_windows() -> None:
    """A window with something left does not matter."""
    fields = {
        "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30", "RateLimit-Remaining": "0", "RateLimit-Reset": "60",
        "X-Rate-Limit-Remaining": "5", "X-Rate-Limit-Reset": "3600",
    }  # fmt: skip
    assert of(429, fields).retry_after == 60


def test_a_bucket_that_is_empty_names_no_wait() -> None:
    """It refills all the time; how much the next call takes is not known here."""
    reader = Interpreter(config_of('dialects = [{ kind = "bucket", remaining = "X-Left", reset = "X-Full" }]'))
    advice = of(429, {"X-Left": "0", "X-Full": "6m0s"}, reader)
    assert (advice.is_throttled, advice.retry_after) == (True, None)


def test_all_windows_of_an_answer_are_told() -> None:
    """In lists that go in step, under several names, and as items of a structured field."""
    fields = {
        "X-RateLimit-Limit": "1, 15000", "X-RateLimit-Remaining": "1, 14990", "X-RateLimit-Reset": "1, 86400",
        "RateLimit": '"burst";r=9;t=1, "day";r=90;t=3600', "RateLimit-Policy": '"burst";q=10;w=1, "day";q=100;w=86400',
    }  # fmt: skip
    told = [(one.name, one.limit, one.remaining, one.reset_in, one.window) for one in of(200, fields).told]
    assert told == [
        ("x-ratelimit", 1, 1, 1, None), ("x-ratelimit-2", 15000, 14990, 86400, None),
        ("burst", 10, 9, 1, 1), ("day", 100, 90, 3600, 86400),
    ]  # fmt: skip


def test_a_field_that_comes_twice_is_a_list() -> None:
    """RFC 9110 section 5.3; the same twice is once."""
    headers = [
        (b"ratelimit", b'"a";r=1;t=2'), (b"ratelimit", b'"b";r=3;t=4'), (b"retry-after", b"7"), (b"retry-after", b"7"),
    ]  # fmt: skip
    advice = KNOWN.read(429, headers, headers, None, WALL)
    assert advice is not None
    assert [one.name for one in advice.told] == ["a", "b"]
    assert advice.retry_after == 7


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"RateLimit": "limit=100, remaining=50, reset=30"}, (100, 50, 30, None)),
        (
            {"RateLimit": "limit=100, remaining=50, reset=30", "RateLimit-Policy": "10;w=1, 100;w=60"},
            (100, 50, 30, 60),
        ),
        ({"RateLimit": "default;r=50;t=30"}, (None, 50, 30, None)),
        ({"RateLimit": '"default";r=50;t=30', "RateLimit-Policy": "malformed("}, (None, 50, 30, None)),
        ({"RateLimit": '"x=y";r=50;t=30'}, (None, 50, 30, None)),
    ],
)
def test_the_drafts_of_ratelimit_are_told_apart(
    fields: dict[str, str], expected: tuple[float | None, float, float, float | None]
) -> None:
    """An IETF draft changes; the servers out there do not follow at once."""
    (one,) = of(200, fields).told
    assert (one.limit, one.remaining, one.reset_in, one.window) == expected


def test_a_window_that_two_policies_could_mean_is_not_guessed() -> None:
    """The limit alone does not say which of them is in force."""
    (one,) = of(200, {"RateLimit-Limit": "10, 10;w=1, 10;w=60", "RateLimit-Remaining": "9"}).told
    assert (one.limit, one.window) == (10, None)


def test_a_configured_dialect_takes_the_place_of_a_known_one() -> None:
    """For its own header; the others stay known."""
    reader = Interpreter(config_of('dialects = [{ name = "mine", remaining = "x-RATELIMIT-remaining" }]'))
    fields = {"X-RateLimit-Remaining": "5", "X-RateLimit-Limit": "10", "RateLimit-Remaining": "7"}
    told = [(one.name, one.limit, one.remaining) for one in of(200, fields, reader).told]
    assert told == [("mine", None, 5), ("ratelimit", None, 7)]


def test_used_is_taken_from_the_whole() -> None:
    """Some vendors count up."""
    reader = Interpreter(config_of('dialects = [{ used = "X-Used", limit = "X-Max" }]'))
    told = [(one.name, one.limit, one.remaining) for one in of(200, {"X-Used": "3", "X-Max": "10"}, reader).told]
    assert told == [("x-used", 10, 7)]
    assert of(200, {"X-Used": "12", "X-Max": "10"}, reader).told[0].remaining == 0


# What is not believed.

HOSTILE = [
    "-1", "NaN", "nan", "inf", "Infinity", "1e9", "9" * 1000, "9" * 60000, "", " ", "0x7f", "\x00", "\xff\xfe",
    "1,2", ",", "1_000", "%s%s", "'; drop", "٣".encode().decode("latin-1"), "1;w=", "(((((((((",
]  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("name", ["X-RateLimit-Remaining", "X-RateLimit-Limit", "X-RateLimit-Reset"])
def test_an_absurd_value_is_ignored_with_a_doubt(name: str, value: str) -> None:
    """It does not end in a number, and it is told in few visible characters."""
    fields = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "5", "X-RateLimit-Reset": "30"} | {name: value}
    advice = of(200, fields)
    assert 1 <= len(advice.doubts) <= 4
    for sentence in advice.doubts:
        assert sentence.isascii()
        assert sentence.isprintable()
        assert len(sentence) < 200
        assert "ignored" in sentence
    for told in advice.told:
        assert told.remaining == 5
        assert told.limit in (10, None)
        assert told.reset_in in (30, None)


@pytest.mark.parametrize("value", [*HOSTILE, "31622401", "4102444800", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_an_absurd_wait_is_ignored_with_a_doubt(value: str) -> None:
    """The refusal itself still counts."""
    advice = of(429, {"Retry-After": value})
    assert advice.is_throttled
    assert advice.retry_after is None
    assert len(advice.doubts) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "11"},
        {"X-RateLimit-Limit": "0", "X-RateLimit-Remaining": "0"},
        {"X-RateLimit-Remaining": "1, 2", "X-RateLimit-Limit": "5, 5, 5"},
        {"X-RateLimit-Remaining": ", ".join(["1"] * 100)},
        {"RateLimit": '"a";r=5;t=1', "RateLimit-Policy": '"a";q=4;w=1'},
        {"RateLimit": '"a";r=-5;t=1'},
        {"RateLimit": '"a";r="5"'},
        {"RateLimit": "limit=5"},
        {"RateLimit": "5;r=1"},
    ],
)
def test_numbers_that_cannot_be_are_not_told(fields: dict[str, str]) -> None:
    """Nothing is held back for the sake of nonsense."""
    advice = of(200, fields)
    assert advice.told == []
    assert len(advice.doubts) == 1


def test_a_flood_of_hints_is_cut_off() -> None:
    """A head may have 64 KiB; what is kept of it is bounded."""
    headers = [(b"ratelimit", b'"%d";r=1;t=2' % count) for count in range(3000)]
    advice = KNOWN.read(200, headers, headers, None, WALL)
    assert advice is not None
    assert len(advice.told) <= 16
    assert advice.doubts
    many = ", ".join(f'"{"n" * 100}{count}";r=1;t=2' for count in range(15))
    told = of(200, {"RateLimit": many}).told
    assert 0 < len(told) <= 16
    assert all(len(one.name) <= 64 for one in told)


def test_of_many_fields_the_first_are_read() -> None:
    """And it is said that there were more."""
    headers = [(b"x-ratelimit-limit", b"1")] * 64 + [(b"retry-after", b"5")]
    advice = KNOWN.read(429, headers, headers, None, WALL)
    assert advice is not None
    assert advice.retry_after is None
    assert advice.doubts == ["the vendor's answer has 65 hints; those after the first 64 are ignored"]


def test_what_one_answer_may_tell_is_bounded() -> None:
    """In allowances and in doubts."""
    names = ("X-RateLimit", "X-Rate-Limit", "RateLimit")
    assert len(of(200, {f"{name}-Remaining": "1, 2, 3, 4, 5, 6, 7, 8" for name in names}).told) == 16
    absurd = {f"{name}-{what}": "-1" for name in names for what in ("Remaining", "Limit", "Reset")}
    assert len(of(200, absurd | {"Retry-After": "-1", "x-should-retry": "x", "RateLimit": "("}).doubts) == 4


def test_names_that_a_vendor_chose_are_short_and_visible() -> None:
    """They end up in logs and metrics."""
    fields = {"X-RateLimit-Remaining": "1", "X-RateLimit-Resource": "a\x1b[2J\xe9" + "x" * 500}
    (told,) = of(200, fields).told
    assert told.resource.isascii()
    assert told.resource.isprintable()
    assert len(told.resource) == 64


# The body.

BODY = Interpreter(
    config_of("""
body_max = "1KiB"
signals = [{ statuses = [400], body = "sort_by(errors, &code)[0].code", values = ["slow", "7"], wait_body = "wait" }]
""")
)


def refused(body: bytes, kind: str = "application/json", coding: str | None = None) -> Advice:
    """The advice of a 400 with this body."""
    fields = {"Content-Type": kind} | ({} if coding is None else {"Content-Encoding": coding})
    return of(400, fields, BODY, body)


SLOW = json.dumps({"errors": [{"code": "slow"}], "wait": 3}).encode()


def test_a_body_is_asked_for_only_where_it_says_something() -> None:
    """Everything else streams through."""
    assert not any(KNOWN.needs_body(status) for status in range(100, 1000))
    assert [status for status in range(100, 1000) if BODY.needs_body(status)] == [400]
    assert not BODY.needs_body(400, [(b"Content-Type", b"text/html")])
    assert BODY.needs_body(400, [(b"Content-Type", b"application/problem+json; charset=utf-8")])


@pytest.mark.parametrize(
    ("body", "coding"),
    [(SLOW, None), (SLOW, "identity"), (gzip.compress(SLOW, mtime=0), "gzip"), (zlib.compress(SLOW), "deflate")],
)
def test_a_packed_body_is_read_too(body: bytes, coding: str | None) -> None:
    """As vendors send it when the app accepts it."""
    advice = refused(body, coding=coding)
    assert (advice.is_throttled, advice.retry_after, advice.doubts) == (True, 3, [])


@pytest.mark.parametrize(
    ("body", "kind", "coding"),
    [
        (SLOW, "text/html", None),
        (SLOW, "", None),
        (SLOW[:-1], "application/json", None),
        (b" " * 1024 + SLOW, "application/json", None),
        (b"", "application/json", None),
        (SLOW, "application/json", "gzip"),
        (SLOW, "application/json", "br"),
        (gzip.compress(gzip.compress(SLOW, mtime=0), mtime=0), "application/json", "gzip, gzip"),
        (gzip.compress(SLOW, mtime=0)[:-9], "application/json", "gzip"),
        (gzip.compress(b" " * 10**7 + SLOW, mtime=0), "application/json", "gzip"),
        (b"\xff" * 100, "application/json", None),
    ],
)
def test_a_body_that_is_not_wholly_json_within_the_bound_matches_nothing(
    body: bytes, kind: str, coding: str | None
) -> None:
    """An edge's HTML is not the vendor's word, and a bomb is not unpacked."""
    advice = refused(body, kind, coding)
    assert (advice.is_throttled, advice.retry_after) == (False, None)


@pytest.mark.parametrize(
    "document", [{"errors": [{"code": 1}, {"code": "a"}]}, {"errors": "text"}, {"errors": [1]}, {}, [], 7, None]
)
def test_a_query_that_does_not_fit_matches_nothing(document: object) -> None:
    """The vendor may answer in any shape; at worst there is a doubt."""
    advice = refused(json.dumps(document).encode())
    assert not advice.is_throttled
    assert all("does not fit" in sentence for sentence in advice.doubts)


def test_a_bomb_is_not_unpacked() -> None:
    """Fifty megabytes in fifty kilobytes: only what the bound allows is ever there."""
    bomb = gzip.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        refused(bomb, coding="gzip")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_configured_wait_stands_in_for_one_that_is_absurd() -> None:
    """As if the body had said nothing."""
    reader = Interpreter(config_of('signals = [{ statuses = [400], wait = "9s", wait_body = "wait" }]'))
    waits: list[object] = [-1, "later", None, []]
    for wait in waits:
        assert of(400, {}, reader, json.dumps({"wait": wait}).encode()).retry_after == 9


@pytest.mark.parametrize("digits", [400, 5000, 50000])
def test_a_number_of_any_length_is_harmless(digits: int) -> None:
    """Python refuses to read, and to write, one of over 4300 digits."""
    reader = Interpreter(
        config_of("""
signals = [{ statuses = [400], body = "code", values = ["7"] }, { statuses = [400], wait_body = "wait" }]
""")
    )
    number = b"9" * digits
    advice = of(400, {}, reader, b'{"code":' + number + b',"wait":' + number + b"}")
    assert advice.retry_after is None


def test_a_deep_body_matches_nothing() -> None:
    """It is doubted, and nothing overflows."""
    reader = Interpreter(config_of('signals = [{ statuses = [400], body = "a" }]'))
    advice = of(400, {}, reader, b"[" * 60000)
    assert not advice.is_throttled
    assert advice.doubts == ["the JSON in the vendor's answer: it is nested too deeply; it is ignored"]


@pytest.mark.parametrize(
    ("wait", "expected", "doubts"),
    [
        (3, 3, 0), (0.5, 0.5, 0), ("12s", 12, 0), ("5", 5, 0), ("later", None, 0), (None, None, 0), (-1, None, 1),
        (1e300, None, 1), ([], None, 1), (10**400, None, 1), ("9" * 5000, None, 0), (True, None, 1),
    ],
)  # fmt: skip
def test_a_wait_in_the_body_is_held_to_the_same_bounds(wait: object, expected: float | None, doubts: int) -> None:
    """From 0 to a year, in any of the forms; text may be a sentence without one."""
    advice = refused(json.dumps({"errors": [{"code": 7}], "wait": wait}).encode())
    assert advice.retry_after == expected
    assert len(advice.doubts) == doubts


def test_the_first_signal_that_matches_decides() -> None:
    """So the narrow one stands before the wide one."""
    reader = Interpreter(
        config_of("""
signals = [{ statuses = ["5xx"], header = "X-Why", values = ["busy"], final = true }, { statuses = [500], wait = "9s" }]
""")
    )
    assert of(500, {"X-Why": "BUSY; today"}, reader).is_final
    assert of(500, {"X-Why": "broken"}, reader).retry_after == 9
    assert not of(502, {"X-Why": "broken"}, reader).is_throttled


@pytest.mark.parametrize(
    ("limit", "remaining", "refill", "doubts"),
    [(100, 101, 1, 1), (0, 0, 1, 1), (-1, 0, 1, 0), ("x", 1, 1, 0), (None, None, None, 0), (10**30, 1, 1, 0)],
)
def test_an_allowance_in_the_body_that_cannot_be_is_not_told(
    limit: object, remaining: object, refill: object, doubts: int
) -> None:
    """The same holds for it as for headers."""
    reader = Interpreter(
        config_of("""
allowances = [{ name = "a", statuses = [200], limit = "l", remaining = "r", refill = "f" }]
""")
    )
    advice = of(200, {}, reader, json.dumps({"l": limit, "r": remaining, "f": refill}).encode())
    assert advice.told == []
    assert len(advice.doubts) == doubts


def test_a_refused_call_waits_for_all_allowances_that_it_needs() -> None:
    """The slowest of them says when."""
    reader = Interpreter(
        config_of("""
[[allowances]]
name = "a"
statuses = [429]
limit = "l"
remaining = "a"
refill = "f"
needed = "n"
[[allowances]]
name = "b"
statuses = [429]
limit = "l"
remaining = "b"
refill = "f"
needed = "n"
""")
    )
    body = json.dumps({"l": 100, "a": 5, "b": 40, "f": 10, "n": 50}).encode()
    advice = of(429, {}, reader, body)
    assert advice.retry_after == 4.5
    assert [told.name for told in advice.told] == ["a", "b"]
