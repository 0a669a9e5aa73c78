"""Local leases: who holds what, where this process is the only one; so they end with it."""

from sidecar.core.clock import Clock

LEASES_MAX = 10_000  # Full: those that have ended are cleared away; nobody holds this many.


class LocalLeases:
    """Leases in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}  # Name to holder and end, monotonic.

    async def take(self, name: str, holder: str, seconds: float) -> float:
        """Take a free lease, or keep one's own for longer; give 0.0, or the seconds until the other's ends."""
        now = self._clock.now()
        other, ends_at = self._held.get(name, (holder, 0.0))
        if other != holder and now < ends_at:
            return ends_at - now
        if len(self._held) >= LEASES_MAX:
            self._held = {held: lease for held, lease in self._held.items() if now < lease[1]}
        self._held[name] = (holder, now + seconds)
        return 0.0

    async def give_back(self, name: str, holder: str) -> None:
        """Let go of one's own."""
        if self._held.get(name, ("", 0.0))[0] == holder:
            del self._held[name]
