"""Bodies: how much of what others send is in hand at once, all requests together."""


class Bodies:
    """A bound on bytes; who takes, gives back."""

    def __init__(self, bytes_max: int) -> None:
        self._free = self._bytes_max = bytes_max

    def take(self, size: int) -> bool:
        """Take room; False when there is none."""
        if size > self._free:
            return False
        self._free -= size
        return True

    def give_back(self, size: int) -> None:
        """Give it back."""
        self._free += size
        assert self._free <= self._bytes_max
