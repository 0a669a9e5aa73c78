"""Keys: how one is made, and which of the app's are taken."""

import uuid as standard
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import BadRequest
from sidecar.core.ids import Ids
from sidecar.layers.idempotency.key import fitted, one_of, uuid


@given(st.binary(min_size=16, max_size=16))
def test_a_made_key_is_a_random_uuid_whatever_the_bits(bits: bytes) -> None:
    """RFC 9562 section 5.4; vendors that ask for a UUID check version and variant."""
    draw: Callable[[int], bytes] = lambda count: (bits * count)[:count]  # noqa: E731
    made = standard.UUID(uuid(Ids(draw)))
    assert (made.version, made.variant) == (4, standard.RFC_4122)
    assert str(made) == uuid(Ids(draw))


def test_made_keys_differ() -> None:
    """They are drawn from one block, which is drawn anew when it is used up."""
    ids = Ids()
    assert len({uuid(ids) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(("key_max", "length"), [(255, 36), (36, 36), (35, 32), (25, 25), (16, 16)])
def test_a_made_key_fits_the_vendor(key_max: int, length: int) -> None:
    """Discord's nonce has 25 characters; what is left of the UUID is as random."""
    made = uuid(Ids())
    key = fitted(made, key_max)
    assert len(key) == length
    assert made.replace("-", "").startswith(key.decode().replace("-", ""))


@pytest.mark.parametrize("keys", [[], [b""], [b"", b""]])
def test_an_empty_key_is_none(keys: list[bytes]) -> None:
    """So one is made."""
    assert one_of(keys, 255) is None


@pytest.mark.parametrize("key", [b"a", b"k" * 255, b'"8e03978e-40d5-43dd"', b"order 17", b"~!"])
def test_a_key_of_the_apps_is_taken_as_it_is(key: bytes) -> None:
    """Also in the quotes of the IETF draft: to the vendor it is a name, and every byte counts."""
    assert one_of([key, key, b""], 255) == key


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ([b"first-17", b"second-17"], "two different"),
        ([b"k" * 46], r"46 characters.*takes 45"),
        ([b"caf\xc3\xa9"], "printable ASCII"),
        ([b"a\r\nX-Evil: 1"], "printable ASCII"),
        ([b" a17"], "printable ASCII"),
        ([b"a\n"], "printable ASCII"),
    ],
)
def test_a_key_that_cannot_be_kept_is_refused_without_repeating_it(keys: list[bytes], sentence: str) -> None:
    """A key of the app's is never changed in silence: the vendor would see another operation."""
    with pytest.raises(BadRequest, match=sentence) as refused:
        one_of(keys, 45)
    assert keys[0].decode() not in refused.value.detail
