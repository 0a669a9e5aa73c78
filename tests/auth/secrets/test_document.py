import json

import pytest

from sidecar.auth.secrets.document import with_field
from sidecar.auth.secrets.store import StoreFailed


def test_one_field_is_written_and_the_others_stay() -> None:
    """In their order, and as they were written: no number is rounded."""
    stored = '{"a": 1.0, "token": "old", "é": [null, true], "big": 12345678901234567890}'.encode()
    written = json.loads(with_field(stored, "token", b"new"))
    assert written == {"a": 1.0, "token": "new", "é": [None, True], "big": 12345678901234567890}
    assert list(written) == ["a", "token", "é", "big"]


def test_without_a_field_the_value_is_the_whole() -> None:
    """Whatever is stored."""
    assert with_field(b"not json", None, b"\xff") == b"\xff"


def test_where_nothing_is_stored_an_object_begins() -> None:
    """A first login writes the first field."""
    assert json.loads(with_field(None, "token", "é".encode())) == {"token": "é"}


@pytest.mark.parametrize(
    ("stored", "value", "sentence"),
    [
        (b"canary", b"new", "so it has no fields"),
        (b"\xffcanary", b"new", "so it has no fields"),
        (b'["canary"]', b"new", "so it has no fields"),
        (b"{}", b"canary\xff", "not UTF-8"),
    ],
)
def test_what_has_no_fields_is_not_written_over(stored: bytes, value: bytes, sentence: str) -> None:
    """And neither value stands in the failure, nor behind it."""
    with pytest.raises(StoreFailed, match=sentence) as failure:
        with_field(stored, "token", value)
    assert "canary" not in repr(failure.value)
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__
