"""Slots: so many may be inside at once; the others wait in line, and each who leaves lets the first of them in."""

import asyncio
from collections import deque

Waiter = asyncio.Future[None]  # Done: the slot is handed over, and counted as taken.


class Slots:
    """Counts who is inside. Whoever took a slot gives it back once; nobody overtakes the line."""

    __slots__ = ("_waiting", "capacity", "taken", "waiting_max")

    def __init__(self, capacity: int, waiting_max: int) -> None:
        assert capacity >= 1
        assert waiting_max >= 0
        self.capacity = capacity
        self.waiting_max = waiting_max
        self.taken = 0
        self._waiting: deque[Waiter] = deque()  # In order of arrival; only while no slot is free.

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._waiting)

    @property
    def is_line_full(self) -> bool:
        """Whether nobody else may wait."""
        return len(self._waiting) >= self.waiting_max

    def take(self) -> bool:
        """Take a slot if one is free, and say whether it was."""
        if self.taken >= self.capacity:
            return False
        self.taken += 1
        return True

    def stand_in_line(self) -> Waiter:
        """Give what is done when a slot was handed over. Whoever does not take it up says `leave_line`."""
        assert self.taken >= self.capacity, "nobody waits beside a free slot"
        assert not self.is_line_full
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return waiter

    def leave_line(self, waiter: Waiter) -> None:
        """Go without a slot; one that was handed over in this moment goes to the next in line."""
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif not waiter.cancelled():
            self.give_back()

    def give_back(self) -> None:
        """Leave: the first in line comes in, unless there are more inside than there should be by now."""
        assert self.taken > 0, "a slot is given back once"
        self.taken -= 1
        self._let_in()

    def resize(self, capacity: int) -> None:
        """Change how many may be inside; those who are in too many stay until they leave."""
        assert capacity >= 1
        self.capacity = capacity
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self.taken < self.capacity:
            waiter = self._waiting.popleft()
            if not waiter.done():  # Done: cancelled, and whoever waited for it has not run since.
                self.taken += 1
                waiter.set_result(None)
