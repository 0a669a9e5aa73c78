"""Own quotas: the longer windows of a shared limit, while the store is away: this pod's part of what was left."""

from collections.abc import Sequence

from sidecar.layers.rate_limit.quota import Quota


class OwnQuotas:
    """As many as there are windows, or none while the store counts."""

    __slots__ = ("_quotas", "spent")

    def __init__(self) -> None:
        self._quotas: list[Quota] = []
        self.spent = 0.0  # Permits that the store does not know of.

    def begin(self, windows: tuple[tuple[float, float], ...], left: Sequence[float], pods: int, now: float) -> None:
        """Go on from what was left of each; where that was never told, from all."""
        self._quotas = []
        for number, (count, seconds) in enumerate(windows):
            share = count / pods
            quota = Quota(share, seconds, now) if share >= 1 else Quota(1.0, seconds / share, now)
            quota.take(now, quota.count * (1 - left[number] / count) if left else 0.0)
            self._quotas.append(quota)

    def end(self) -> None:
        """Be none: the store counts again, and was told what was spent."""
        self._quotas = []
        self.spent = 0.0

    def take(self, now: float, cost: float) -> None:
        """Count an attempt."""
        self.spent += cost
        for quota in self._quotas:
            quota.take(now, cost)

    def give_back(self, cost: float) -> None:
        """Do not count it."""
        self.spent = max(0.0, self.spent - cost)
        for quota in self._quotas:
            quota.forget(cost)

    def wait(self, now: float, cost: float, ahead: float) -> float:
        """Give the seconds until all let an attempt go, behind `ahead` permits."""
        wait = 0.0
        for quota in self._quotas:
            wait = max(wait, quota.wait(now, cost, ahead))
        return wait

    def ratios(self, now: float) -> list[float]:
        """Give the used shares."""
        return [quota.used_ratio(now) for quota in self._quotas]
