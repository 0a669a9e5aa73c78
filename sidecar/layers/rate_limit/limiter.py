"""Limiter: everything that one `rate_limit` section and the vendor's word hold a call to."""

from typing import Any, Final

from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.bucket import Bucket
from sidecar.layers.rate_limit.leased import Leased
from sidecar.layers.rate_limit.quota import Quota

BURST_SHARE: Final = 0.1  # Of the shortest window's count, when the section does not say.


class Limiter:
    """The own windows, each with the name under which it is shown, and what the vendor announced."""

    __slots__ = ("_bucket_name", "_quota_names", "announced", "bucket", "leased", "quotas")

    def __init__(self, announced: Announced) -> None:
        self.announced = announced
        self.bucket: Bucket | None = None
        self.leased: Leased | None = None  # The bucket, when the fleet shares it; all windows are in it.
        self.quotas: list[Quota] = []
        self._bucket_name = ""
        self._quota_names: list[str] = []

    def hold(self, name: str, count: float, seconds: float, now: float, *, burst: float | None, replicas: int) -> None:
        """Hold one window, this pod's share of it; the first, which is the shortest, with a burst.

        A share below one permit is one permit in so much more time.
        """
        share = count / replicas
        if self.bucket is None:
            burst = (max(1.0, count * BURST_SHARE) if burst is None else burst) / replicas
            self.bucket = Bucket(share, seconds, max(1.0, burst), now)
            self._bucket_name = name
        else:
            self.quotas.append(Quota(share, seconds, now) if share >= 1 else Quota(1.0, seconds / share, now))
            self._quota_names.append(name)

    def share(self, leased: Leased, names: list[str]) -> None:
        """Hold what the fleet shares: the windows of `names`, the shortest first."""
        self.bucket = self.leased = leased
        self._bucket_name, *self._quota_names = names

    # For each attempt.

    def may_take(self, now: float, cost: float, resource: str) -> bool:
        """Take the permits for an attempt from everything, or nothing from anything."""
        bucket, announced = self.bucket, self.announced
        if announced.is_silent and not self.quotas:
            if bucket is not None and not bucket.may_take(now, cost):
                return False
        else:
            if self.wait(now, cost, 0.0, resource) > 0:
                if self.leased is not None:
                    self.leased.look(now, cost)
                return False
            if bucket is not None:
                is_taken = bucket.may_take(now, cost)
                assert is_taken, "there was nothing to wait for"
            for quota in self.quotas:
                quota.take(now, cost)
        announced.take(now, cost, resource)
        return True

    def is_free(self, now: float, cost: float) -> bool:
        """Whether an attempt may go at once, or needs but ask for a block."""
        if self.leased is not None and self.leased.needs_none and not self.leased.is_asked:
            return self.announced.wait(now, cost, 0.0, "") <= 0
        return self.wait(now, cost, 0.0, "") <= 0

    def refuse(self, cost: float) -> None:
        """Note that an attempt was not let into the line."""
        if self.leased is not None:
            self.leased.demand.refused += cost

    def own_wait(self, now: float, cost: float, ahead: float) -> float:
        """Give the seconds until the own windows let an attempt go, behind `ahead` permits."""
        wait = self.bucket.wait(now, cost, ahead) if self.bucket is not None else 0.0
        for quota in self.quotas:
            wait = max(wait, quota.wait(now, cost, ahead))
        return wait

    def wait(self, now: float, cost: float, ahead: float, resource: str) -> float:
        """Give the seconds until everything lets an attempt go, behind `ahead` permits; 0 is now."""
        return max(self.own_wait(now, cost, ahead), self.announced.wait(now, cost, ahead, resource))

    def predict(self, now: float, cost: float, ahead: float, resource: str) -> float:
        """Give the seconds that one who comes now has to wait behind those who wait already.

        What holds the first back lets the other windows fill up meanwhile, so they are asked for the time after it.
        """
        first = self.wait(now, min(1.0, cost), 0.0, resource)
        return first + self.wait(now + first, cost, ahead, resource)

    def give_back(self, number: float, sent_at: float, cost: float, resource: str, now: float) -> None:
        """Give back, after `done`, what an attempt took that the vendor did not see."""
        if self.bucket is not None:
            self.bucket.give_back(cost)
        for quota in self.quotas:
            quota.give_back(sent_at, cost)
        self.announced.give_back(number, cost, resource, now)

    # For people.

    def why(self, now: float, cost: float, ahead: float, resource: str) -> str:
        """Say which limit holds an attempt back most."""
        own = self.own_wait(now, cost, ahead)
        if self.announced.wait(now, cost, ahead, resource) >= own:
            if self.announced.is_told(now, cost, ahead, resource):
                return "the limit that the vendor announced"
            return "the pace that the vendor took before it refused calls, without a time to come back,"
        if self.bucket is not None and self.bucket.wait(now, cost, ahead) >= own:
            return f"the rate limit of {self._bucket_name}"
        if self.leased is not None:
            return f"the rate limit of {', '.join(self._quota_names)}"
        waits = [quota.wait(now, cost, ahead) for quota in self.quotas]
        return f"the rate limit of {self._quota_names[waits.index(max(waits))]}"

    def ratios(self, now: float) -> list[tuple[str, float]]:
        """Give (window, used share) of everything, own and announced."""
        shares = [(self._bucket_name, self.bucket.used_ratio(now))] if self.bucket is not None else []
        shares.extend(zip(self._quota_names, self._window_ratios(now), strict=True))
        return shares + self.announced.ratios(now)

    def _window_ratios(self, now: float) -> list[float]:
        if self.leased is not None:
            return self.leased.window_ratios(now)
        return [quota.used_ratio(now) for quota in self.quotas]

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show it for people."""
        shown: dict[str, Any] = {}
        if self.bucket is not None:
            shown[self._bucket_name] = self.bucket.snapshot(now)
        if self.leased is not None:
            ratios = self.leased.window_ratios(now)
            return shown | {name: {"used_ratio": ratio} for name, ratio in zip(self._quota_names, ratios, strict=True)}
        for name, quota in zip(self._quota_names, self.quotas, strict=True):
            shown[name] = quota.snapshot(now)
        return shown
