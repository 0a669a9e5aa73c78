"""A JSON body cut at its list: every value keeps its bytes, and what is no such body is said in a sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.layers.pieces import Misfit, Pieces, id_text, is_path, path_of, read

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("content", "path", "items", "whole"),
    [
        (b"[1.0, 2]", "@", [b"1.0", b"2"], b'["x"]'),
        (b'{"records":[]}', "records", [], b'{"records":["x"]}'),
        (
            b' { "all" : 1.0 , "n": {"e": 10000000000000000000000000000001, "list" : [ {"a" : 1e5} , null ] } } ',
            "n.list",
            [b'{"a" : 1e5}', b"null"],
            b'{"all":1.0,"n":{"e":10000000000000000000000000000001,"list":["x"]}}',
        ),
        (
            '{"é":"\\u00fc","records":["ß"]}'.encode(),
            "records",
            ['"ß"'.encode()],
            '{"é":"\\u00fc","records":["x"]}'.encode(),
        ),
    ],
)  # fmt: skip
def test_items_and_what_is_around_them_keep_their_bytes(
    content: bytes, path: str, items: list[bytes], whole: bytes
) -> None:
    """Amounts, long numbers and escapes are the app's and the vendor's; a parser of ours would write them otherwise."""
    pieces = Pieces(content, path_of(path))
    assert pieces.items == items
    assert pieces.with_items([b'"x"']) == whole


@given(st.lists(JSON, max_size=5), st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_put_together_again_it_means_the_same(items: list[object], around: dict[str, object]) -> None:
    """Whatever stands around the list."""
    document = {**around, "data": {**around, "items": items}}
    pieces = Pieces(json.dumps(document).encode(), ("data", "items"))
    assert [json.loads(item) for item in pieces.items] == items
    assert json.loads(pieces.with_items(pieces.items)) == document


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"{}", b'{"records":{}}', b'{"records":[1,]}', b'{"records":[1', b"[1]", b'{"records":[tru]}',
        b'\xef\xbb\xbf{"records":[]}', b"<html>", b'{"records":[]} x', b'{"records":' + b"[" * 100_000, b"\x1f\x8b\x08",
    ],
    ids=lambda content: str(content[:20]),
)  # fmt: skip
def test_what_is_no_such_body_is_a_misfit(content: bytes) -> None:
    """It says what is missing, and repeats nothing of the body."""
    with pytest.raises(Misfit, match="there is no"):
        Pieces(content, ("records",))


def test_an_item_that_cannot_be_read_is_a_misfit() -> None:
    """Half a character, or a number beyond all measure, is nothing to judge by."""
    for item in (b'"\xff"', b'"\\ud800"', b"1e999", b"[" * 100_000):
        with pytest.raises(Misfit):
            read(item)


@pytest.mark.parametrize(("found", "text"), [("a", "a"), (7, "7"), (-1, "-1"), (2**64, "18446744073709551616")])
def test_an_id_is_text_or_a_whole_number(found: object, text: str) -> None:
    """Vendors answer 7 where they were asked for "7"."""
    assert id_text(found) == text


@pytest.mark.parametrize("found", [None, "", True, 1.0, [], {}, 10**100, -(10**100)])
def test_nothing_else_is_an_id(found: object) -> None:
    """What cannot be compared for sure would give an item to somebody else."""
    with pytest.raises(Misfit):
        id_text(found)


def test_a_path_is_names_with_dots() -> None:
    """It is written to as well as read, so it is not any query."""
    assert [is_path(text) for text in ("records", "a.b_2.c", "@")] == [True] * 3
    assert not any(is_path(text) for text in ("", "a.", "a[0]", "a-b", "*", "a | b", "@.a"))
