"""Rolling: exact counts over the last seconds, in slices, so that old ones fall out without a list of instants."""

SLICES = 10


class RollingCounts:
    """Counts of some kinds (numbered from 0) over the last `window` seconds.

    The window is cut into `slices` equal parts; the running one and those before it are counted, so what is counted
    is at most `window` old, and nothing younger than `window` less one slice is missing. Each call costs the same,
    however many were counted; the counts of a window that passed in silence are gone at the next look.
    """

    __slots__ = (
        "_ends_at", "_first", "_kinds", "_slice_s", "_slices", "_slices_max", "_started_at", "_totals", "_turn",
    )  # fmt: skip

    def __init__(self, window: float, kinds: int, now: float, slices: int = SLICES) -> None:
        assert window > 0
        assert kinds >= 1
        assert slices >= 1
        self._slice_s = window / slices
        self._kinds = kinds
        self._slices_max = slices
        self._slices = [0] * (slices * kinds)  # A ring: the kinds of one slice stand side by side.
        self._totals = [0] * kinds
        self._first = 0  # Where the running slice begins in the ring.
        self._turn = 0  # Its number since the start.
        self._started_at = now
        self._ends_at = now + self._slice_s

    def add(self, kind: int, now: float, count: int = 1) -> None:
        """Count something that happens now; a `now` from before the running slice counts as if it were in it."""
        if now >= self._ends_at:
            self._move_to(now)
        self._slices[self._first + kind] += count
        self._totals[kind] += count

    def total(self, kind: int, now: float) -> int:
        """Give the count over the window that ends now."""
        if now >= self._ends_at:
            self._move_to(now)
        return self._totals[kind]

    def peek(self, kind: int, now: float) -> int:
        """Give the same and change nothing: for a reader in another thread."""
        gone = self._turn_at(now) - self._turn if now >= self._ends_at else 0
        kept = max(0, self._slices_max - gone)
        size = len(self._slices)
        return sum(self._slices[(self._first - age * self._kinds) % size + kind] for age in range(kept))

    def take_back(self, kind: int, at: float, now: float) -> None:
        """Uncount one that was added at the instant `at`, if it is still within the window."""
        if now >= self._ends_at:
            self._move_to(now)
        age = max(0, self._turn - self._turn_at(at))
        if age < self._slices_max:
            place = (self._first - age * self._kinds) % len(self._slices) + kind
            assert self._slices[place] > 0, "what is taken back was added"
            self._slices[place] -= 1
            self._totals[kind] -= 1

    def clear(self) -> None:
        """Forget everything that was counted."""
        self._slices = [0] * len(self._slices)
        self._totals = [0] * self._kinds

    def _turn_at(self, at: float) -> int:
        turn = int((at - self._started_at) / self._slice_s)
        # The quotient may be rounded to either side of the edge; `_ends_at` is the edge that decides.
        if at >= self._end_of(turn):
            return turn + 1
        return turn - 1 if turn and at < self._end_of(turn - 1) else turn

    def _end_of(self, turn: int) -> float:
        return self._started_at + (turn + 1) * self._slice_s

    def _move_to(self, now: float) -> None:
        """Begin the slice in which `now` lies, and let fall out what is too old."""
        turn = self._turn_at(now)
        passed = turn - self._turn
        assert passed >= 1
        self._turn = turn
        self._ends_at = self._end_of(turn)
        if passed >= self._slices_max:
            self.clear()
            return
        for _ in range(passed):
            self._first = (self._first + self._kinds) % len(self._slices)
            for kind in range(self._kinds):
                self._totals[kind] -= self._slices[self._first + kind]
                self._slices[self._first + kind] = 0
