import msgspec
import pytest

from sidecar.core.errors import BadRequest
from sidecar.queue.batch.item import SENTENCE_MAX, Broken, Item, read

START = b'{"id":"a","method":"POST","path":"/x"'


def item(rest: bytes = b"") -> Item:
    """Read an item with further members."""
    found = read(START + rest + b"}")
    assert isinstance(found, Item), found
    return found


@pytest.mark.parametrize(
    ("rest", "content", "is_json"),
    [
        (b"", None, False),
        (b',"body":null', None, False),
        (b',"body":""', b"", False),
        (b',"body":"caf\xc3\xa9\\n"', b"caf\xc3\xa9\n", False),
        (b',"body": {"a": 1.0, "b":[ ]} ', b'{"a": 1.0, "b":[ ]}', True),
        (b',"body":[1]', b"[1]", True),
        (b',"body":false', b"false", True),
        (b',"body":12345678901234567890123', b"12345678901234567890123", True),
        (b',"body_base64":"/wA="', b"\xff\x00", False),
        (b',"body":null,"body_base64":"YQ=="', b"a", False),
    ],
)
def test_a_body_is_text_or_json_as_written_or_bytes(rest: bytes, content: bytes | None, is_json: bool) -> None:
    """A number keeps its digits and an object its spaces: what is JSON goes on byte for byte."""
    assert item(rest).content() == (content, is_json)


@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        (b',"body":"a","body_base64":"YQ=="', "not both"),
        (b',"body_base64":"YQ"', "not base64"),
        (b',"body_base64":"Y Q=="', "not base64"),
        (b',"body_base64":"\xc3\xa9"', "not base64"),
    ],
)
def test_a_body_that_cannot_be_is_told(rest: bytes, sentence: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadRequest, match=sentence):
        item(rest).content()


def test_a_header_with_several_values_is_several_fields() -> None:
    """In their order."""
    assert item(b',"headers":{"A":["1","2"],"b":"3"}').fields() == [("A", "1"), ("A", "2"), ("b", "3")]


@pytest.mark.parametrize(
    ("raw", "where", "what", "name"),
    [
        (b"", "", "input data was truncated", None),
        (b"nonsense", "", "JSON is malformed", None),
        (b"[]", "", "expected object, got array", None),
        (b'{"id":"a"}', "", "object missing required field method", "a"),
        (b'{"id":"","method":"GET","path":"/"}', ".id", "expected str of length >= 1", None),
        (b'{"id":7,"method":"GET","path":"/"}', ".id", "expected str, got int", None),
        (START + b',"bdy":1}', "", "object contains unknown field bdy", "a"),
        (START + b',"headers":{"a":1}}', ".headers[...]", "expected str | array, got int", "a"),
        (START + b',"headers":[]}', ".headers", "expected object, got array", "a"),
        (START + b',"body":"\xff"}', ".body", "not UTF-8", "a"),
        (START + b',"body":[1,"\xff"]}', ".body", "not UTF-8", "a"),
        (b'{"id":"\xff","method":"GET","path":"/"}', "", "not UTF-8", None),
        (START + b',"body":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "", "nested too deeply", None),
        (START + b',"body":' + b"[" * 100_000, "", "nested too deeply", None),
        (START + b',"body":"\\ud800 is half a character"}', "", "JSON is malformed", None),
        (START + b',"body":NaN}', "", "JSON is malformed", None),
        (b'{"id":"' + b"a" * 129 + b'","method":"GET","path":"/"}', ".id", "expected str of length <= 128", None),
    ],
)
def test_what_is_no_item_says_where_and_why(raw: bytes, where: str, what: str, name: str | None) -> None:
    """With its id, if that could be read."""
    found = read(raw)
    assert isinstance(found, Broken)
    assert (found.where, found.id) == (where, name)
    assert found.what.startswith(what)


def test_a_sentence_does_not_repeat_a_megabyte() -> None:
    """An unknown member is quoted in part."""
    found = read(START + b',"' + b"x" * 10**6 + b'":1}')
    assert isinstance(found, Broken)
    assert len(found.what) <= SENTENCE_MAX


def test_an_item_is_read_out_of_the_whole_as_by_itself() -> None:
    """The JSON form hands over a part of its bytes."""
    raw = msgspec.json.decode(b" [ " + START + b',"body":[1]} ]', type=list[msgspec.Raw])[0]
    found = read(raw)
    assert isinstance(found, Item)
    assert found.content() == (b"[1]", True)
