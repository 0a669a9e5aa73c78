"""Basket: those who ask for different things at the same time, until one call goes for all. Pure: no clock, no I/O."""

from collections.abc import Iterator
from typing import Generic, TypeVar

C = TypeVar("C")

CHARACTERS_MAX = 4000  # Of all ids together: a target may not grow beyond what vendors take. Full: it goes at once.


class Basket(Generic[C]):
    """Callers with the ids that they ask for; an id that several ask for is there once, in order of arrival."""

    __slots__ = ("_callers", "_characters", "_ids", "_ids_max", "_waiting_max")

    def __init__(self, ids_max: int, waiting_max: int) -> None:
        self._ids_max = ids_max
        self._waiting_max = waiting_max
        self._callers: dict[C, str] = {}
        self._ids: dict[str, int] = {}  # How many ask for it.
        self._characters = 0

    def __len__(self) -> int:
        return len(self._callers)

    def __iter__(self) -> Iterator[C]:
        return iter(self._callers)

    @property
    def ids(self) -> list[str]:
        """What is asked for, each once."""
        return list(self._ids)

    def asked(self) -> list[str]:
        """Give what each asks for, in order of arrival."""
        return list(self._callers.values())

    @property
    def is_full(self) -> bool:
        """Whether nothing more fits, so that waiting on is in vain."""
        return len(self._ids) >= self._ids_max or len(self._callers) >= self._waiting_max

    def fits(self, asked: str) -> bool:
        """Whether one more, who asks for this, has room."""
        if len(self._callers) >= self._waiting_max:
            return False
        if asked in self._ids:
            return True
        return len(self._ids) < self._ids_max and self._characters + len(asked) <= CHARACTERS_MAX

    def put(self, caller: C, asked: str) -> None:
        """Add one that fits."""
        assert self.fits(asked)
        assert caller not in self._callers
        self._callers[caller] = asked
        if asked not in self._ids:
            self._characters += len(asked)
        self._ids[asked] = self._ids.get(asked, 0) + 1

    def drop(self, caller: C) -> None:
        """Take one out, who left; what nobody else asks for is not asked for any more."""
        asked = self._callers.pop(caller)
        self._ids[asked] -= 1
        if not self._ids[asked]:
            del self._ids[asked]
            self._characters -= len(asked)
        assert self._characters >= 0

    def empty(self) -> list[tuple[C, str]]:
        """Take everybody out."""
        all_of_them = list(self._callers.items())
        self._callers.clear()
        self._ids.clear()
        self._characters = 0
        return all_of_them
