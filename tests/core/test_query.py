"""A parameter is put into a target; everything else of it stays as it was written."""

import pytest

from sidecar.core.query import put


@pytest.mark.parametrize(
    ("target", "after"),
    [
        (b"/a", b"/a?k=v"),
        (b"/a?", b"/a?k=v"),
        (b"/a?x=%2F+1;y", b"/a?x=%2F+1;y&k=v"),
        (b"/a?k=old&x=1&k=older", b"/a?x=1&k=v"),
        (b"/a?kk=1&k", b"/a?kk=1&k=v"),
        (b"?x=1", b"?x=1&k=v"),
    ],
)
def test_a_parameter_takes_the_place_of_its_namesakes(target: bytes, after: bytes) -> None:
    """What the app sent under the same name is replaced, never added to; the rest is byte for byte."""
    assert put(target, b"k", b"v") == after
