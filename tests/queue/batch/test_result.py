import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.body import Headers
from sidecar.queue.batch.result import DEPTH_MAX, Counts, Result, written

JSON: Headers = [(b"Content-Type", b"application/json; charset=utf-8")]


def put(content: bytes, headers: Headers) -> dict[str, object]:
    """Put a body into a result, and read what the app gets."""
    result = Result("a", 0, "r-0", 200, "success", 1, {})
    result.put(content, headers)
    line = result.line()
    assert b"\n" not in line
    assert b"\r" not in line
    found: dict[str, object] = json.loads(line)
    return {key: value for key, value in found.items() if key.startswith("body")}


@pytest.mark.parametrize(
    ("content", "kind", "wanted"),
    [
        (b"", b"application/json", {}),
        (b'{"a": [1,\r\n 2.50]}\n', b"application/json", {"body": {"a": [1, 2.5]}}),
        (b"null", b"application/json", {"body": None}),
        (b'{"a":1}', b"application/vnd.api+json", {"body": {"a": 1}}),
        (b'{"a":1}', b"application/jsonlines", {"body": '{"a":1}'}),
        (b'{"a":1}', b"text/plain", {"body": '{"a":1}'}),
        (b'{"a":', b"application/json", {"body": '{"a":'}),
        (b'{"a":NaN}', b"application/json", {"body": '{"a":NaN}'}),
        (b'{"a":1}{"b":2}', b"application/json", {"body": '{"a":1}{"b":2}'}),
        (b'["\\ud800 "]', b"application/json", {"body": '["\\ud800 "]'}),
        (b'["\xff"]', b"application/json", {"body_base64": "WyL/Il0="}),
        (b"line\nline\r\x00", b"text/plain", {"body": "line\nline\r\x00"}),
        (b"\x89PNG", b"image/png", {"body_base64": "iVBORw=="}),
    ],
)
def test_a_body_is_told_so_that_nothing_is_lost(content: bytes, kind: bytes, wanted: dict[str, object]) -> None:
    """JSON as JSON, else text, else base64; never with a line break, which would cut the line."""
    assert put(content, [(b"content-type", kind)]) == wanted


def test_what_is_compressed_stays_so() -> None:
    """It was asked for plain; unpacking what comes all the same has no bound."""
    assert put(b"abc", [*JSON, (b"Content-Encoding", b"gzip")]) == {"body_base64": "YWJj"}
    assert put(b"[1]", [*JSON, (b"Content-Encoding", b"identity")]) == {"body": [1]}


@pytest.mark.parametrize("depth", [DEPTH_MAX, DEPTH_MAX + 1, 900, 100_000])
def test_a_body_that_is_nested_deeply_breaks_no_parser(depth: int) -> None:
    """Beyond the bound it is text; many brackets beside each other are no depth, nor are those within strings."""
    deep = b"[" * depth + b"]" * depth
    assert isinstance(put(deep, JSON)["body"], str) == (depth > DEPTH_MAX)
    wide = b"[" + b",".join([b'{"a\\"[[":"[[[["}'] * depth) + b"]"
    assert isinstance(put(wide, JSON)["body"], list)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_json_comes_back_as_it_was(value: object) -> None:
    """However it is laid out."""
    assert put(json.dumps(value, indent=1).encode(), JSON) == {"body": value}


def test_a_field_that_came_twice_is_a_list() -> None:
    """Joined, cookies could not be told apart."""
    headers = [(b"Set-Cookie", b"a=1"), (b"X", b"\xe4"), (b"set-cookie", b"b=2"), (b"SET-COOKIE", b"c=3")]
    assert written(headers) == {"set-cookie": ["a=1", "b=2", "c=3"], "x": "\xe4"}


def test_every_result_is_counted_once() -> None:
    """By its outcome."""
    counts = Counts()
    for outcome in ("success", "success", "failure", "rejected", "cancelled"):
        counts.add(Result("a", 0, "r-0", 200, outcome, 2, {}))
    assert counts == Counts(items=5, success=2, failure=2, rejected=1, attempts=10)
