"""Known: what the log masks for the owner of a secret, as its value changes."""

from collections.abc import Callable, Iterable

from sidecar.core.clock import Clock

Know = Callable[[Iterable[bytes]], Callable[[], None]]  # Has values masked in the log, until the function it gives.
FORGET_AFTER = 60.0  # Seconds. Calls under way may carry the credential of a generation that is gone.
VALUES_KEPT = 2  # Calls under way may still carry the value before the last. Full: the oldest is forgotten.


class Known:
    """What the log masks for one owner, as its value changes."""

    __slots__ = ("_forgets", "_know")

    def __init__(self, know: Know) -> None:
        self._know = know
        self._forgets: list[Callable[[], None]] = []

    def add(self, patterns: Iterable[bytes]) -> None:
        """Mask the forms of a new value, too, and forget those of old ones: rotation has no end, the table has one."""
        if len(self._forgets) >= VALUES_KEPT:
            self._forgets.pop(0)()
        self._forgets.append(self._know(patterns))

    def forget(self) -> None:
        """Forget all of them: the owner goes away."""
        while self._forgets:
            self._forgets.pop()()


def forgetting_late(know: Know, clock: Clock) -> Know:
    """Have values masked for FORGET_AFTER seconds longer than their owners ask for."""

    def know_longer(patterns: Iterable[bytes]) -> Callable[[], None]:
        forget = know(patterns)

        def forget_late() -> None:
            clock.call_at(clock.now() + FORGET_AFTER, forget)

        return forget_late

    return know_longer
