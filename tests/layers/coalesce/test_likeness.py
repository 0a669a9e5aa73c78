"""Which calls are equal."""

import pytest

from sidecar.core.body import Body, Headers
from sidecar.layers.coalesce.likeness import Likeness
from tests.layers.calls import call_for

ALL = Likeness(None)
LANGUAGE = Likeness(("Accept-Language",))


def key_of(likeness: Likeness, headers: Headers, target: bytes = b"/x") -> object:
    """Give the key of a GET."""
    return likeness.key(call_for("GET", target, headers))


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"])
def test_only_gets_are_shared(method: str) -> None:
    """HEAD has no body to share, and the others do something."""
    assert ALL.key(call_for(method)) is None


def test_a_get_with_a_body_or_an_upgrade_or_for_a_part_is_not_shared() -> None:
    """The body would have to be compared, a socket has one owner, and a part is large."""
    assert ALL.key(call_for("GET", body=Body.of(b"{}"))) is None
    assert key_of(ALL, [(b"range", b"bytes=0-1")]) is None
    call = call_for("GET")
    call.upgrade = b"websocket"
    assert ALL.key(call) is None


def test_by_default_all_that_would_be_sent_tells_calls_apart() -> None:
    """But a name's case, which means nothing, and the trace, which tells about the caller."""
    same = key_of(ALL, [(b"Accept", b"a"), (b"tracestate", b"x=1")])
    assert same is not None
    assert same == key_of(ALL, [(b"accept", b"a"), (b"tracestate", b"x=2")])
    assert same != key_of(ALL, [(b"Accept", b"b")])
    assert same != key_of(ALL, [(b"Accept", b"a"), (b"Accept", b"a")])
    assert same != key_of(ALL, [(b"Accept", b"a")], b"/x?")
    assert same != key_of(ALL, [(b"Accept", b"a")], b"/X")


def test_a_list_of_headers_leaves_the_others_out() -> None:
    """A request id of the app's own would otherwise make every call another one."""
    same = key_of(LANGUAGE, [(b"X-My-Id", b"1"), (b"accept-language", b"de")])
    assert same == key_of(LANGUAGE, [(b"X-My-Id", b"2"), (b"Accept-Language", b"de")])
    assert same != key_of(LANGUAGE, [(b"Accept-Language", b"en")])


@pytest.mark.parametrize(
    "name",
    [b"Authorization", b"Cookie", b"X-Api-Key", b"X-Auth-Token", b"Accept-Encoding", b"If-None-Match", b"Prefer"],
)
def test_credentials_and_conditions_tell_calls_apart_even_if_the_list_forgets_them(name: bytes) -> None:
    """One user's answer must never be another's, and a 304 is of no use to who has nothing."""
    assert key_of(LANGUAGE, [(name, b"1")]) != key_of(LANGUAGE, [(name, b"2")])


def test_calls_that_allow_different_numbers_of_attempts_are_different() -> None:
    """Who allows one must not decide for who allows three."""
    careful = call_for("GET")
    careful.attempts_max = 1
    assert ALL.key(careful) != ALL.key(call_for("GET"))
