"""Permits in Valkey: the ledger of store/ledger.py as a script, in the server's time.

A limit is one hash: its level, and what each pod has; and one hash for each quota, of its slices. What is told there is
what the ledger says, line by line; a test holds the two to the same answers.
"""

from pathlib import Path

from sidecar.store.base import Block, Wanted
from sidecar.store.ledger import (
    AGAIN_MIN_S,
    AHEAD,
    AHEAD_MAX_S,
    AWAY_MIN_S,
    CALLS_A_BLOCK,
    CAREFUL_S,
    CLOSED_MAX,
    EXTRA,
    HEADROOM,
    HEALED_S,
    SLACK,
    SLICES,
    SPAN_MIN_S,
    TURN_S,
)
from sidecar.store.valkey.client import Script, ValkeyClient
from sidecar.store.valkey.records import milliseconds

KEPT_S = 86_400.0  # After the last question: a ledger that begins is careful, so it begins seldom.

SERVER_TIME = """local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""
CONSTANTS = f"""local HEADROOM, EXTRA, AHEAD, AHEAD_MAX = {HEADROOM}, {EXTRA}, {AHEAD}, {AHEAD_MAX_S}
local AGAIN_MIN, CAREFUL, HEALED, AWAY_MIN = {AGAIN_MIN_S}, {CAREFUL_S}, {HEALED_S}, {AWAY_MIN_S}
local SLICES, SLACK, CLOSED_MAX = {SLICES}, {SLACK:.9f}, {CLOSED_MAX}
local CALLS_A_BLOCK, SPAN_MIN, TURN = {CALLS_A_BLOCK}, {SPAN_MIN_S}, {TURN_S}
"""
_FOLDER = Path(__file__).parent
LEASE = CONSTANTS + (_FOLDER / "lease.lua").read_text()
CLOSE = CONSTANTS + (_FOLDER / "close.lua").read_text()
_LEASE = Script(SERVER_TIME + LEASE)
_CLOSE = Script(SERVER_TIME + CLOSE)
_QUOTAS_AT = 12  # Where the answer tells of the quotas, after their number.


class ValkeyPermits:
    """Limits that a fleet shares, dealt out by the server."""

    def __init__(self, client: ValkeyClient) -> None:
        self._client = client

    async def lease(self, limit: str, wanted: Wanted) -> Block:
        """Give a block in place of the one that the pod has."""
        return block_of(await self._client.ask(_LEASE, self.keys(limit, wanted), *arguments(wanted)))

    async def close(self, limit: str, part: str, seconds: float) -> None:
        """Note until when the vendor closed a part."""
        await self._client.ask(_CLOSE, [self._client.key(tag=f"p:{limit}")], part, seconds)

    def keys(self, limit: str, wanted: Wanted) -> list[str]:
        """Give the keys of a limit: its ledger, and one for each quota."""
        tag = f"p:{limit}"
        return [self._client.key(tag=tag), *(self._client.key(f"{seconds:g}", tag=tag) for _, seconds in wanted.quotas)]


def arguments(wanted: Wanted) -> list[str | int | float]:
    """Give what the script takes: all but the quotas in their order, then how long it is kept, then these."""
    kept = milliseconds(max(KEPT_S, 2 * wanted.burst / wanted.rate))
    quotas = [number for quota in wanted.quotas for number in quota]
    return [*wanted[:4], *wanted[5:], kept, *quotas]


def block_of(answer: list[bytes | int]) -> Block:
    """Read what the script gives."""
    serial, rate, burst, level, permits, span, again, share, is_full, pods, used, count = answer[:_QUOTAS_AT]
    closed_at = _QUOTAS_AT + int(count)
    told = answer[closed_at:]
    return Block(
        int(serial), float(rate), float(burst), float(level), float(permits), float(span), float(again), float(share),
        bool(is_full), int(pods), float(used), tuple(float(left) for left in answer[_QUOTAS_AT:closed_at]),
        tuple((_text(part), float(left)) for part, left in zip(told[::2], told[1::2], strict=True)),
    )  # fmt: skip


def _text(part: bytes | int) -> str:
    assert isinstance(part, bytes)
    return part.decode()
