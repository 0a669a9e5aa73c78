"""What a vendor says of the end of its API: in the forms of the RFCs, of their drafts, and of others."""

import re
from calendar import timegm

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import Headers
from sidecar.upstream.notice import AT_MAX, FIELDS_MAX, SINCE_EVER, Notice, read_instant, read_notice, spelled

WALL = 1_790_000_000.0
DAY = b"Sun, 11 Nov 2029 23:59:59 GMT"
DAY_AT = float(timegm((2029, 11, 11, 23, 59, 59)))
LATER = b"Mon, 12 Nov 2029 23:59:59 GMT"


def read(*fields: tuple[bytes, bytes]) -> Notice:
    """Read an answer with these fields."""
    return read_notice(list(fields), WALL)


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (DAY, DAY_AT),
        (b"Sunday, 11-Nov-29 23:59:59 GMT", DAY_AT),
        (b"Sun Nov 11 23:59:59 2029", DAY_AT),
        (b"@1688169599", 1688169599.0),
        (b'@1688169599;note="x"', 1688169599.0),
        (b"2029-11-11T23:59:59Z", DAY_AT),
        (b"2029-11-12T00:59:59+01:00", DAY_AT),
        (b"2029-11-11", DAY_AT - 86399),
        (b"@0", 0.0),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", AT_MAX - 1),
    ],
)
def test_each_form_of_a_date_is_read(value: bytes, at: float) -> None:
    """Both fields take all of them: vendors mix them up."""
    assert read_instant(value, WALL) == at
    assert read((b"Sunset", value)).sunset_at == at
    assert read((b"deprecation", value)).deprecated_at == at


@pytest.mark.parametrize(
    "value",
    [
        b"", b"soon", b"@", b"@1.5", b"@-1", b"@1688169599x", b"1688169599", b"@999999999999999", b"2029-13-01",
        b"2029-02-30", b"Sun, 31 Feb 2029 00:00:00 GMT", b"Sun, 11 Nov 2029 23:59:59 CET", b"@" + b"1" * 100,
        b"true", b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_no_date_is_left_out_with_a_sentence(value: bytes) -> None:
    """And never raised: the answer is on its way to the app."""
    notice = read((b"Sunset", value))
    assert (notice.sunset_at, notice.says_anything) == (None, False)
    [doubt] = notice.doubts
    assert doubt.startswith("Sunset: ")
    assert doubt.endswith("is no date")
    assert len(doubt) < 300


@pytest.mark.parametrize("value", [b"true", b"?1", b"True"])
def test_deprecated_without_a_date_is_since_some_time(value: bytes) -> None:
    """As the drafts of RFC 9745 had it."""
    assert read((b"Deprecation", value)).deprecated_at == SINCE_EVER


def test_a_date_that_is_over_is_a_date() -> None:
    """It still answered, and that may end at any moment."""
    assert read((b"Sunset", b"Sat, 01 Jan 2000 00:00:00 GMT")).sunset_at == 946684800


def test_of_several_the_soonest_counts() -> None:
    """In fields of their own, or joined by somebody on the way; what is malformed beside them is told."""
    assert read((b"Sunset", LATER), (b"Sunset", DAY)).sunset_at == DAY_AT
    assert read((b"Sunset", LATER + b", " + DAY)).sunset_at == DAY_AT
    assert read((b"Deprecation", b"@1900000000, @1800000000")).deprecated_at == 1800000000
    notice = read((b"Sunset", b"soon"), (b"Sunset", DAY))
    assert notice.sunset_at == DAY_AT
    assert len(notice.doubts) == 1


def test_of_many_only_the_first_are_looked_at() -> None:
    """A vendor that sends a thousand costs no more than one that sends a few."""
    many = [(b"Sunset", b"soon")] * 1000
    assert len(read(*many).doubts) == FIELDS_MAX
    assert len(read((b"Sunset", b", ".join([LATER] * 1000))).doubts) <= FIELDS_MAX


@pytest.mark.parametrize(
    ("value", "link"),
    [
        (b'<https://crm.example/v1-ends>; rel="sunset"; type="text/html"', "https://crm.example/v1-ends"),
        (b"<https://crm.example/why>;rel=deprecation", "https://crm.example/why"),
        (b'</docs/ends>; title="a, b"; rel="help sunset"', "/docs/ends"),
        (b'<https://crm.example/2>; rel="next", <https://crm.example/end>; rel="sunset"', "https://crm.example/end"),
        (b'<https://crm.example/2>; rel="next"', ""),
        (b'<https://crm.example/2>; rel="sunsets"', ""),
        (b'<https://crm.example/\x1b[31m>; rel="sunset"', ""),
        (b"<" + b"x" * 600 + b'>; rel="sunset"', ""),
        (b"<x>; rel=sunset" + b" " * 5000, ""),
    ],
)
def test_the_link_that_explains_it_is_found(value: bytes, link: str) -> None:
    """Of the relations that the RFCs name, printable, and of a length that fits a line."""
    assert read((b"Sunset", DAY), (b"Link", value)).link == link


def test_an_instant_is_spelled_for_people() -> None:
    """As RFC 3339, in UTC."""
    assert spelled(DAY_AT) == "2029-11-11T23:59:59Z"


FIELDS = st.lists(
    st.tuples(st.sampled_from([b"Sunset", b"DEPRECATION", b"Link", b"Date"]), st.binary(max_size=200)), max_size=8
)


@given(FIELDS)
def test_whatever_comes_is_read_without_a_fault(headers: Headers) -> None:
    """And what is read can be spelled."""
    notice = read_notice(headers, WALL)
    for at in (notice.sunset_at, notice.deprecated_at):
        assert at is None or re.fullmatch(r"[0-9]{4}-.*Z", spelled(at))
    assert notice.link.isprintable()
