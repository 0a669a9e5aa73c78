"""Rows: what is kept in order, in memory, of things that stop belonging there by themselves.

Nothing is searched for to be taken out. What does not belong any more is passed over when it comes up, and cleared away
when a row has doubled since it was last cleared, so each step costs the same however long the row is, on average.
"""

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar


class Numbered(Protocol):
    """Something with a place of its own in the order of arrival."""

    @property
    def seq(self) -> int:
        """Greater for those that came later."""


T = TypeVar("T", bound=Numbered)

SLACK = 64  # What may lie in a short row without being looked at.


class Heap(Generic[T]):
    """By rank, the lowest first, and of equal ones by arrival. `belongs(rank, thing)` says whether that still holds."""

    def __init__(self, belongs: Callable[[float, T], bool]) -> None:
        self._belongs = belongs
        self._items: list[tuple[float, int, int, T]] = []
        self._pushed = 0  # No two items are equal, so things are never compared.
        self._clear_at = SLACK

    def __len__(self) -> int:
        return len(self._items)

    def push(self, rank: float, thing: T) -> None:
        """Put it in; again, perhaps."""
        self._pushed += 1
        heapq.heappush(self._items, (rank, thing.seq, self._pushed, thing))
        if len(self._items) > self._clear_at:
            self._items = [item for item in self._items if self._belongs(item[0], item[3])]
            heapq.heapify(self._items)
            self._clear_at = 2 * len(self._items) + SLACK

    def first(self) -> tuple[float, T] | None:
        """Give the rank and the thing that come first, and leave them there."""
        items = self._items
        while items:
            rank, _, _, thing = items[0]
            if self._belongs(rank, thing):
                return rank, thing
            heapq.heappop(items)
        return None


class Order(Generic[T]):
    """By arrival, to be read from the newest on."""

    def __init__(self, belongs: Callable[[T], bool]) -> None:
        self._belongs = belongs
        self._things: list[T] = []
        self._clear_at = SLACK

    def add(self, thing: T) -> None:
        """Put it in its place, where it may lie already."""
        things = self._things
        at = len(things)
        if things and things[-1].seq >= thing.seq:
            at = bisect_left(things, thing.seq, key=_seq)
        if at < len(things) and things[at] is thing:
            return
        things.insert(at, thing)
        if len(things) > self._clear_at:
            self._things = [thing for thing in things if self._belongs(thing)]
            self._clear_at = 2 * len(self._things) + SLACK

    def newest(self, before: float) -> Iterator[T]:
        """Give those that arrived before the number `before`, the newest first. Nothing is added meanwhile."""
        things = self._things
        for at in range(bisect_left(things, before, key=_seq) - 1, -1, -1):
            if self._belongs(things[at]):
                yield things[at]


def _seq(thing: Numbered) -> int:
    return thing.seq
