import re

from sidecar.core.ids import BLOCK_BYTES, Ids


def test_an_id_has_as_many_hex_digits_as_asked() -> None:
    """Lower case, as traceparent wants it."""
    ids = Ids()
    assert re.fullmatch("[0-9a-f]{32}", ids.take(32))
    assert re.fullmatch("[0-9a-f]{16}", ids.take(16))


def test_no_digit_is_given_twice() -> None:
    """Ids that follow each other are cut from the block side by side, over the block's end too."""
    drawn: list[bytes] = []

    def draw(size: int) -> bytes:
        block = bytes((len(drawn) * size + i) * 37 % 251 for i in range(size))
        drawn.append(block)
        return block

    ids = Ids(draw)
    per_block = BLOCK_BYTES * 2 // 32
    taken = [ids.take(32) for _ in range(per_block * 2)]
    assert len(drawn) == 2
    assert "".join(taken) == (drawn[0] + drawn[1]).hex()


def test_a_rest_that_is_too_short_is_not_used() -> None:
    """An id never lies across two blocks, nor is it shorter at the end of one."""
    ids = Ids(bytes)
    for _ in range(BLOCK_BYTES * 2 // 16 - 1):
        ids.take(16)
    assert len(ids.take(32)) == 32


def test_one_system_call_serves_many_ids() -> None:
    """The point of the block."""
    draws = 0

    def draw(size: int) -> bytes:
        nonlocal draws
        draws += 1
        return bytes(size)

    ids = Ids(draw)
    for _ in range(100):
        ids.take(32)
    assert draws == 1
