"""What a vendor said of the end of its API is kept for a day, bounded, and is news once."""

from sidecar.core.body import Body
from sidecar.core.call import Reply
from sidecar.layers.notices import KEPT_S, NOTICES_MAX, Notices, hearing
from sidecar.upstream.notice import Notice
from tests.kit.clock import ManualClock
from tests.layers.calls import call_for


def says(sunset: float | None, deprecated: float | None = None, link: str = "") -> Notice:
    """Make a notice."""
    return Notice(sunset, deprecated, link, ())


def test_a_notice_is_news_the_first_time() -> None:
    """For each route, and for each date: a vendor that moves its date says something new."""
    notices = Notices()
    assert notices.hear("search", says(100.0), 0)
    assert not notices.hear("search", says(100.0), 1)
    assert notices.hear("", says(100.0), 2)
    assert notices.hear("search", says(200.0), 3)


def test_the_soonest_counts_for_each_route() -> None:
    """And what says nothing of one of both dates is none of its series."""
    notices = Notices()
    for sunset in (300.0, 100.0, 200.0):
        notices.hear("search", says(sunset), 0)
    notices.hear("", says(None, 50.0), 0)
    assert notices.sunsets(1) == [("search", 100.0)]
    assert notices.deprecations(1) == [("", 50.0)]


def test_what_is_not_heard_for_a_day_is_forgotten() -> None:
    """The app calls it no more, or the vendor has given a later date; heard again, it is news again."""
    notices = Notices()
    notices.hear("", says(100.0), 0)
    notices.hear("", says(200.0), KEPT_S - 1)
    assert notices.sunsets(KEPT_S - 1) == [("", 100.0)]
    assert notices.sunsets(KEPT_S) == [("", 200.0)]
    assert [shown["sunset"] for shown in notices.snapshot(KEPT_S)] == ["1970-01-01T00:03:20Z"]
    assert notices.hear("", says(100.0), KEPT_S)
    assert notices.sunsets(3 * KEPT_S) == []


def test_full_it_forgets_what_was_not_heard_for_longest() -> None:
    """A vendor that writes another date into each answer costs no more than so much."""
    notices = Notices()
    notices.hear("", says(1.0), 0)
    for number in range(NOTICES_MAX - 1):
        notices.hear("", says(100.0 + number), number)
    notices.hear("", says(1.0), 1000)
    notices.hear("", says(9000.0), 1001)
    held = {shown["sunset"] for shown in notices.snapshot(1002)}
    assert len(held) == NOTICES_MAX
    assert "1970-01-01T00:00:01Z" in held
    assert "1970-01-01T00:01:40Z" not in held


def test_people_see_when_and_where_it_is_explained() -> None:
    """Without what was not said; a link that came once stays with it."""
    notices = Notices()
    notices.hear("search", says(86400.0, 0.0, "https://crm.example/end"), 0)
    notices.hear("search", says(86400.0, 0.0), 1)
    assert notices.snapshot(1) == [
        {
            "route": "search",
            "sunset": "1970-01-02T00:00:00Z",
            "deprecated": "yes",
            "link": "https://crm.example/end",
        }
    ]


def test_a_line_comes_once_and_names_the_call(clock: ManualClock) -> None:
    """The request id leads to the call's own line; what cannot be read has one line, too."""
    lines: list[tuple[str, dict[str, object]]] = []
    hear = hearing("crm", Notices(), clock, lambda _, msg, **fields: lines.append((msg, fields)))
    headers = [(b"Sunset", b"Sun, 11 Nov 2029 23:59:59 GMT"), (b"Deprecation", b"maybe")]
    for _ in range(3):
        call = call_for()
        call.app, call.request_id, call.route = "checkout", "r1", "search"
        hear(call, Reply(200, b"OK", list(headers), Body.of(b"")))
    [(first, ignored), (second, heard)] = lines
    assert (first, ignored["service"], ignored["request_id"]) == ("notice_ignored", "crm", "r1")
    assert second == "notice_heard"
    assert heard == {
        "service": "crm",
        "request_id": "r1",
        "method": "GET",
        "app": "checkout",
        "route": "search",
        "sunset": "2029-11-11T23:59:59Z",
    }
