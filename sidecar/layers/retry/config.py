"""`retry`: when an attempt that failed is followed by another."""

from sidecar.core.section import Section
from sidecar.core.statuses import Statuses
from sidecar.core.units import Duration, Size


class RetryConfig(Section, kw_only=True):
    """What may be tried again, how often, and how much of it altogether."""

    attempts_max: int = 3  # The first one counts. 1: no retry.
    backoff: Duration = Duration(0.5)  # The longest first wait; the real one is drawn from 0 to it.
    backoff_max: Duration = Duration(10)  # The wait doubles with each attempt, up to this.
    statuses: Statuses = Statuses({408, 425, 429, 500, 502, 503, 504})
    unprocessed: Statuses = Statuses()  # By these the vendor says that it did nothing, so any method may go again.
    budget: float = 0.2  # Extra attempts as a share of the calls of the last 10 s. Used up: no retry.
    budget_min: int = 3  # So many extra attempts a second are allowed in any case.
    replay_max: Size = Size(2**20)  # A longer request body streams once, and is not tried again.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = []
        if not 0 <= self.budget <= 1:
            found.append(("budget", f"{self.budget:g} is not a share; write a number from 0 (none) to 1 (one each)"))
        if self.backoff > self.backoff_max > 0:
            found.append(("backoff", f"{self.backoff} is longer than backoff_max ({self.backoff_max})"))
        return found
