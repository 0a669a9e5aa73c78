"""Recent: the lengths of the last attempts, for the questions how long one usually takes, and when one is late."""


class Recent:
    """The last `size` lengths in seconds; the oldest makes room for the newest."""

    __slots__ = ("_at", "_lengths", "_size")

    def __init__(self, size: int = 64) -> None:
        assert size >= 1
        self._size = size
        self._lengths: list[float] = []
        self._at = 0  # Where the next one goes, once all places are taken.

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, seconds: float) -> None:
        """Remember one length."""
        lengths = self._lengths
        if len(lengths) < self._size:
            lengths.append(seconds)
            return
        at = self._at
        lengths[at] = seconds
        self._at = at + 1 if at + 1 < self._size else 0

    def quantile(self, share: float) -> float | None:
        """Give the length that `share` of them (0 to 1) do not exceed; None when there is none yet."""
        assert 0 <= share <= 1
        lengths = sorted(self._lengths)
        if not lengths:
            return None
        return lengths[min(len(lengths) - 1, int(share * len(lengths)))]
