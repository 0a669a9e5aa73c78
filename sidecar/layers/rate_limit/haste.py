"""Haste: whether a pod asks for permits before its block's end, because a call did not get one."""

from typing import Final

from sidecar.layers.rate_limit.demand import Demand
from sidecar.store.base import Block

EARLY_S: Final = 0.1  # Between two questions, while the fleet has more than all want; ...
EARLY_SLOW_S: Final = 1.0  # ... the same, ...
EARLY_TAKEN: Final = 15.0  # ... with fewer permits spent than this.
EARLY_SHARE: Final = 0.9  # Of what the pace gave was spent: who has no such use for it would get no more.
QUOTA_EVERY_S: Final = 5.0  # With a quota used up, between two questions whether some of it came back.
RETRY_S: Final = 0.25  # Between two questions while the store is away; they cost nothing then.


class Haste:
    """When asking may bring more than waiting for the next block."""

    __slots__ = ("_early_at", "_permits_at")

    def __init__(self) -> None:
        self._early_at = 0.0
        self._permits_at = 0.0  # The same, where only permits of a quota are missing.

    def answered(self, block: Block, asked_at: float, *, is_used_up: bool) -> None:
        """Learn from an answer; `is_used_up`: it brought no permits of the quotas."""
        # At its limit the fleet gives a pod no more before others have asked.
        is_full = block.is_full or block.rate < block.share * EARLY_SHARE or block.rate <= 0
        self._permits_at = asked_at + (min(block.again, QUOTA_EVERY_S) if is_used_up else EARLY_S)
        self._early_at = asked_at + (block.again if is_full else EARLY_S)
        if is_used_up:
            self._early_at = self._permits_at

    def failed(self, now: float) -> None:
        """Learn that there was no answer."""
        self._early_at = self._permits_at = now + RETRY_S

    def may_ask_without(self, now: float) -> bool:
        """Whether to ask without a block."""
        return now >= self._early_at

    def may_ask_for_permits(self, now: float) -> bool:
        """Whether to ask because those of a quota are spent."""
        return now >= self._permits_at

    def may_ask_for_pace(self, now: float, asked_at: float, rate: float, demand: Demand) -> bool:
        """Whether to ask because the block's pace is too low."""
        if now < self._early_at:
            return False
        if demand.refused:
            return True
        seconds = now - asked_at
        is_due = demand.taken >= EARLY_TAKEN or seconds >= EARLY_SLOW_S
        return is_due and demand.taken >= rate * seconds * EARLY_SHARE
