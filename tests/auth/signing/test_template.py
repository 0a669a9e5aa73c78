import pytest

from sidecar.auth.signing.template import Template


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("", {}, b""),
        ("plain\ntext", {}, b"plain\ntext"),
        ("{a}\n{b}", {"a": b"1", "b": b"\xff"}, b"1\n\xff"),
        ("{a}{a}", {"a": b"{b}"}, b"{b}{b}"),
        ("{{{a}}}", {"a": b"1"}, b"{1}"),
        ("ü{header:X-Id}", {"header:x-id": b"7"}, "ü7".encode()),
    ],
)
def test_names_are_filled_in_and_nothing_else(text: str, values: dict[str, bytes], expected: bytes) -> None:
    """What a value holds is not read again, and a header's name has no case."""
    template = Template(text)
    assert template.fill(values) == expected
    assert template.names == values.keys()


@pytest.mark.parametrize("text", ["{", "}", "{a", "a}", "{a{b}", "{a}}"])
def test_a_lone_brace_is_refused(text: str) -> None:
    """It is a slip of the pen, and would be signed as it stands."""
    with pytest.raises(ValueError, match="brace"):
        Template(text)
