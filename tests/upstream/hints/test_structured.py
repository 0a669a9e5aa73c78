import pytest

from sidecar.upstream.hints.structured import Malformed, read_dictionary, read_list


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b'"default";r=50;t=30', [("default", {"r": 50.0, "t": 30.0})]),
        (b'"burst";q=100;w=60, "day";q=1000;w=86400', [
            ("burst", {"q": 100.0, "w": 60.0}), ("day", {"q": 1000.0, "w": 86400.0})]),
        (b"default; r=5 ,\tb;r=1", [("default", {"r": 5.0}), ("b", {"r": 1.0})]),
        (b'100;w=60;comment="a \\"b\\" \\\\"', [(100.0, {"w": 60.0, "comment": 'a "b" \\'})]),
        (b'"p";q=1.5;pk=:cHsdsRs894==:;flag;off=?0', [
            ("p", {"q": 1.5, "pk": ":cHsdsRs894==:", "flag": True, "off": False})]),
        (b'"a";r=1;r=2', [("a", {"r": 2.0})]),
        (b"-5", [(-5.0, {})]),
    ],
)  # fmt: skip
def test_a_list_is_read_with_its_parameters(value: bytes, expected: list[tuple[object, dict[str, object]]]) -> None:
    """RFC 9651 section 3.1."""
    assert read_list(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", {}),
        (b"limit=100, remaining=50, reset=30", {"limit": (100.0, {}), "remaining": (50.0, {}), "reset": (30.0, {})}),
        (b"total=100; remaining=99; resets=41", {"total": (100.0, {"remaining": 99.0, "resets": 41.0})}),
        (b"a, b;x", {"a": (True, {}), "b": (True, {"x": True})}),
        (b"a=1, a=2", {"a": (2.0, {})}),
    ],
)
def test_a_dictionary_is_read_with_its_parameters(
    value: bytes, expected: dict[str, tuple[object, dict[str, object]]]
) -> None:
    """RFC 9651 section 3.2."""
    assert read_dictionary(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b'"open', b'"a" b', b'"a",', b",", b'"a";', b'"a";R=1', b'"a";r=', b'"a";r=1;', b"(1 2)", b"@1659578233",
        b'%"f%c3"', b'"a";r=1234567890123456', b'"a";r=1.2345', b'"a";r=1.', b'"a";r=--1', b'"tab\t"', b'"\xe4"',
        b":abc", b"?2", b'"a"' + b";x" * 17, b",".join([b'"a"'] * 17), b'"' + b"a" * 3000 + b'"', b"\x00", b"=1",
        b'"a"\n, "b"', b'"a\\n"', b"1" * 16,
    ],
)  # fmt: skip
def test_what_is_malformed_anywhere_is_malformed_as_a_whole(value: bytes) -> None:
    """RFC 9651 section 4.2: parsing fails; also beyond our bounds, and for what limits have no use for."""
    with pytest.raises(Malformed):
        read_list(value)


@pytest.mark.parametrize("value", [b"A=1", b"a=1,", b"a=1 b=2", b"a=", b"a=(1)", b",".join([b"a=1"] * 17)])
def test_a_malformed_dictionary_is_none(value: bytes) -> None:
    """The same."""
    with pytest.raises(Malformed):
        read_dictionary(value)
