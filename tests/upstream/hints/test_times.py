import pytest

from sidecar.core.body import Headers
from sidecar.upstream.hints.times import (
    AUTO,
    DELTA,
    DELTA_MS,
    EPOCH,
    EPOCH_MS,
    Moment,
    find_time,
    read_duration,
    read_http_date,
    read_iso,
    read_time,
)

NOW = 1_795_356_000.0  # 2026-11-22T14:00:00Z
TODAY = NOW // 86400


def seconds(value: str, form: str = AUTO, headers: Headers | None = None, wall: float = NOW) -> float | None:
    """Read a time at NOW."""
    return read_time(value.encode("latin-1"), form, Moment(headers or [], wall))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("30", 30),
        ("2.0", 2),
        ("0.25", 0.25),
        (" 7 ", 7),
        ("31536000", 31536000),  # A year.
        ("1795356060", 60),  # Epoch seconds.
        ("1795356001.650", 1.65),  # With a fraction.
        ("1795356030500", 30.5),  # Epoch milliseconds.
        ("1795355999", 0),  # Just over.
        ("12ms", 0.012),
        ("1s", 1),
        ("6m0s", 360),
        ("1h2m3.5s", 3723.5),
        ("500us", 0.0005),
        ("500\xc2\xb5s", 0.0005),
        ("2026-11-22T14:01:00Z", 60),
        ("2026-11-22T14:01Z", 60),
        ("2026-11-22t14:01:00z", 60),
        ("2026-11-22 14:01:00", 60),
        ("2026-11-22T14:01", 60),
        ("2026-11-22T15:01:00.5+01:00", 60.5),
        ("2026-11-22T06:01:00.123456789-0800", 60.123457),
        ("2026-11-23T00:00:00Z", 36000),
        ("Sun, 22 Nov 2026 14:01:00 GMT", 60),
        ("Sunday, 22-Nov-26 14:01:00 GMT", 60),
        ("Sun Nov 22 14:01:00 2026", 60),
        ("Sun Dec  6 14:00:00 2026", 1209600),
        ("Sun, 22 Nov 2026 14:00:60 GMT", 59),  # A leap second is the one before it.
    ],
)
def test_the_forms_are_told_apart(value: str, expected: float) -> None:
    """Under the same header's name, one vendor sends this and another that."""
    assert seconds(value) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "+5",
        "NaN",
        "inf",
        "Infinity",
        "1e3",
        "0x10",
        "1_000",
        "12,5",
        ".5",
        "5.",
        "soon",
        "true",
        "31622401",  # Over a year.
        "999999999",  # Neither a wait nor an instant.
        "9" * 1000,
        "1" * 16,
        "4102444800",  # 2100.
        "946684800",  # 2000.
        "1795350000",  # Over an hour ago.
        "9999999999999",
        "1h" * 7,
        "1d",
        "-5s",
        "5 s",
        "9999999h",
        "2026-11-22",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22T25:00:00Z",
        "2026-11-22T14:00:00+99:00",
        "0001-01-01T00:00:00+23:00",
        "1999-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "Sun, 31 Feb 2026 14:01:00 GMT",
        "Sun, 22 Nov 2026 14:01:00 CET",
        "Sun, 22 Nov 2036 14:01:00 GMT",
        "\x00\xff",
        "٣",  # A digit, but none of ASCII.
    ],
)
def test_what_is_no_time_within_a_year_is_none(value: str) -> None:
    """Absurd, malformed, long past: nothing is guessed."""
    assert read_time(value.encode(), AUTO, Moment([], NOW)) is None


@pytest.mark.parametrize(
    ("value", "form", "expected"),
    [
        ("1500", DELTA_MS, 1.5),
        ("1500", DELTA, 1500),
        ("1795356001", EPOCH, 1),
        ("1795356001500", EPOCH_MS, 1.5),
        ("30", EPOCH, None),
        ("1795356001", DELTA, None),
        ("Sun, 22 Nov 2026 14:01:00 GMT", DELTA, 60),
    ],
)
def test_a_form_can_be_told_in_the_config(value: str, form: str, expected: float | None) -> None:
    """Then a number is read in no other way; words speak for themselves."""
    assert seconds(value, form) == expected


@pytest.mark.parametrize("off", [-300.0, 300.0, -86400.0 * 30])
def test_a_clock_that_is_off_does_not_matter(off: float) -> None:
    """An instant is measured against the vendor's own clock."""
    headers = [(b"dAtE", b"Sun, 22 Nov 2026 14:00:00 GMT")]
    for value in ("1795356060", "1795356060000", "2026-11-22T14:01:00Z", "Sun, 22 Nov 2026 14:01:00 GMT"):
        found = seconds(value, headers=headers, wall=NOW + off)
        assert found is not None
        assert 59 <= found <= 60


def test_within_the_second_of_the_vendors_date_our_clock_is_finer() -> None:
    """Date has whole seconds; our clock says where in that second we are."""
    headers = [(b"Date", b"Sun, 22 Nov 2026 14:00:00 GMT")]
    assert seconds("1795356060", headers=headers, wall=NOW + 0.75) == 59.25


@pytest.mark.parametrize("date", [b"yesterday", b"", b"\xff" * 5000])
def test_a_date_that_is_none_leaves_our_own_clock(date: bytes) -> None:
    """Rather a clock that may be off than none."""
    assert seconds("1795356060", headers=[(b"Date", date)]) == 60


@pytest.mark.parametrize("text", ["84", "94"])
def test_a_year_of_two_digits_is_at_most_fifty_years_ahead(text: str) -> None:
    """RFC 9110 section 5.6.7."""
    assert read_http_date(f"Sunday, 06-Nov-{text} 08:49:37 GMT".encode(), TODAY) == read_http_date(
        f"Sun, 06 Nov 19{text} 08:49:37 GMT".encode(), TODAY
    )


def test_the_example_of_rfc_9110_is_the_same_in_all_three_forms() -> None:
    """1994-11-06T08:49:37Z."""
    for value in (
        b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994",
    ):  # fmt: skip
        assert read_http_date(value, TODAY) == 784111777


def test_a_time_is_found_in_a_sentence() -> None:
    """Gmail writes one."""
    moment = Moment([], NOW)
    assert find_time("User-rate limit exceeded. Retry after 2026-11-22T14:01:00.5Z.", moment) == 60.5
    assert find_time("wait for it", moment) is None
    assert find_time("x" * 10**6, moment) is None
    assert find_time("12s", moment) == 12


def test_what_is_left_of_a_duration_is_not_swallowed() -> None:
    """It is read as a whole or not at all."""
    assert read_duration(b"6m0s") == 360
    assert read_duration(b"6m0") is None
    assert read_duration(b"6m0sx") is None
    assert read_duration(b"") is None


def test_a_date_before_the_epoch_is_still_a_number() -> None:
    """Whether it is believed is decided elsewhere."""
    assert read_iso(b"1969-12-31T23:59:59Z") == -1
