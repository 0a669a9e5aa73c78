"""Hedge's settings: when an attempt is late."""

from sidecar.core.section import Section
from sidecar.core.units import Duration

SAMPLES_MAX = 64  # How many lengths of attempts are remembered.


class HedgeConfig(Section, kw_only=True):
    """`hedge`: off unless it stands there. Each second attempt costs a permit, and a part of the retry budget."""

    quantile: float = 0.95  # Late is what takes longer than this share of the last attempts.
    delay_min: Duration = Duration(0.01)  # But never earlier than this.
    samples_min: int = 20  # Answered attempts; before there are so many, none is late.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = []
        if not 0.5 <= self.quantile < 1:
            found.append(
                ("quantile", f"{self.quantile:g} would hedge most calls, or none; write a share from 0.5 to 0.99")
            )
        if not 1 <= self.samples_min <= SAMPLES_MAX:
            found.append(
                (
                    "samples_min",
                    f"the last {SAMPLES_MAX} attempts are remembered; write a number from 1 to {SAMPLES_MAX}",
                )
            )
        return found
