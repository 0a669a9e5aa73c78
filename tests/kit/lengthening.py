"""Lengthening: go on with a SHA-256 whose text is not known, from its value alone, as whoever attacks a plain hash."""

import struct

_PRIMES = [n for n in range(2, 312) if all(n % d for d in range(2, n))]


def _root(prime: int) -> int:
    """Give the first 32 bits behind the point of a cube root."""
    low, high = 0, prime << 32
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= prime << 96 else (low, middle - 1)
    return low & 0xFFFFFFFF


_ROUNDS = [_root(prime) for prime in _PRIMES]


def _turned(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & 0xFFFFFFFF


def _step(state: list[int], block: bytes) -> list[int]:
    words = list(struct.unpack(">16I", block))
    for n in range(16, 64):
        old, new = words[n - 15], words[n - 2]
        words.append(
            (
                words[n - 16] + (_turned(old, 7) ^ _turned(old, 18) ^ old >> 3)
                + words[n - 7] + (_turned(new, 17) ^ _turned(new, 19) ^ new >> 10)
            ) & 0xFFFFFFFF
        )  # fmt: skip
    a, b, c, d, e, f, g, h = state
    for constant, word in zip(_ROUNDS, words, strict=True):
        one = h + (_turned(e, 6) ^ _turned(e, 11) ^ _turned(e, 25)) + (e & f ^ ~e & g) + constant + word
        two = (_turned(a, 2) ^ _turned(a, 13) ^ _turned(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (one + two) & 0xFFFFFFFF, a, b, c, (d + one) & 0xFFFFFFFF, e, f, g
    return [(x + y) & 0xFFFFFFFF for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True)]


def padding(length: int) -> bytes:
    """Give what SHA-256 puts behind a text of so many bytes."""
    return b"\x80" + bytes((55 - length) % 64) + (8 * length).to_bytes(8, "big")


def lengthened(digest: bytes, length: int, more: bytes) -> tuple[bytes, bytes]:
    """Give what to put behind a text of `length` bytes with this hash, and the hash of both together."""
    state, glue = list(struct.unpack(">8I", digest)), padding(length)
    rest = more + padding(length + len(glue) + len(more))
    for at in range(0, len(rest), 64):
        state = _step(state, rest[at : at + 64])
    return glue + more, struct.pack(">8I", *state)
