"""Room: the bytes that all parts of the store in memory share."""

from collections.abc import Callable

from sidecar.store.base import StoreFull


class Room:
    """`bytes_max`, and how much of it is used. Full: StoreFull, and what is there stays."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used_bytes = 0
        self.clearing: list[Callable[[], None]] = []  # What takes away all that has ended: done before a refusal.

    def clear_for(self, count: int) -> None:
        """Take away what has ended, if `count` bytes do not fit beside it."""
        if self.used_bytes + count > self._bytes_max:
            for clear in self.clearing:
                clear()

    def take(self, count: int) -> None:
        """Use so many bytes more, or less below zero. Raises StoreFull."""
        if count > 0 and self.used_bytes + count > self._bytes_max:
            raise StoreFull("the store in memory is full: its bytes_max is reached; nothing was written")
        self.used_bytes += count
        assert self.used_bytes >= 0
