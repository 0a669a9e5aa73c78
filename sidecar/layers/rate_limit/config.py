"""`[services.<name>.rate_limit]`: the pace that the vendor agreed to."""

from sidecar.core.section import Section
from sidecar.core.units import Duration, Rates


class RateLimitConfig(Section, kw_only=True):
    """Several windows hold at once. Without this section only what the vendor announces is kept, if hints are on."""

    rate: Rates  # The one value without a default: only you know your contract.
    burst: int | None = None  # At once, of the shortest window; absent: a tenth of its count, at least 1.
    wait_max: Duration = Duration(1)  # Longer than this, and the call is refused at once.
    waiting_max: int = 1000  # Full: refused at once.
    shared: bool = False  # It holds for all pods together, which agree through the store.

    def problems(self) -> list[tuple[str, str]]:
        """Give what does not go together."""
        found = []
        if self.burst is not None and self.burst < 1:
            found.append(("burst", "write at least 1, since nothing passes without a permit"))
        if self.burst is not None and self.burst > self.rate[0].count:
            found.append(("burst", f"{self.burst} at once is more than {self.rate[0]} allows; write a smaller burst"))
        if self.wait_max < 0:
            found.append(("wait_max", "write a time of at least 0s"))
        if self.waiting_max < 0:
            found.append(("waiting_max", "write at least 0, which lets nobody wait"))
        return found
