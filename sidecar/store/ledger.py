"""Ledger: who of a fleet may send how much of one limit; a machine, and the model of the script in valkey/permits.py.

The limit is a token bucket: `rate` permits a second, `burst` of them at once. It is dealt out as claims: this pod has
so much of the rate, and never more than so many permits in hand, until an end. What nobody claims flows into the
ledger's own level. At every instant the claims' rates add up to `rate` at most, and the permits in hands and in the
level to `burst` at most. So in any t seconds no more can be spent than what was there at their begin, `burst`, and what
flowed in, `rate` x t: the bound of one bucket, held by all pods together, however long a block lasts, and whether
its permits are spent or not.

That holds although messages take time, since a claim begins here before its pod hears of it, and a pod reckons its end
from the moment of its asking, which is before ours. A pod that asks again may go on with its old block until it hears:
so what the new claim has less of stays claimed until the old one's end.

A quota counts permits when they are leased, as if they were spent at the last moment of the block, and those that come
back are taken out from where they were counted: so all that can be spent in a window is counted in it.
"""

from math import floor
from typing import Final

from sidecar.store.base import Block, Wanted

CALLS_A_BLOCK: Final = 45.0  # So many permits a block is long, by the pace of its pod, ...
SPAN_MIN_S: Final = 1.5  # ... but no shorter than this, ...
SPAN_MAX_S: Final = 12.0  # ... and no longer.
TURN_S: Final = 1.0  # A block where there are more pods than permits at once, so that they take turns.
HEADROOM: Final = 1.1  # A pod's want beside its use: calls do not come evenly.
EXTRA: Final = 0.25  # Of a want is given on top while there is more than all want.
AHEAD: Final = 0.25  # Of its span before its end a block is asked for anew, ...
AHEAD_MAX_S: Final = 0.5  # ... and no earlier than this.
AGAIN_MIN_S: Final = 0.1  # Who has not got its share asks again as soon as something is free, but not sooner.
CAREFUL_S: Final = 3.0  # After its begin a ledger does not know who has blocks of one that was lost, ...
HEALED_S: Final = 8.0  # ... and after an outage not who is still on its own: none gets more than `fair`.
NEVER_S: Final = 1e9  # Nobody asked before.
AWAY_MIN_S: Final = 1.0  # A shorter time without the store is no outage.
SLICES: Final = 64  # Of a quota's window.
CLOSED_MAX: Final = 16  # Parts of an API. More: the whole of it.
SLACK: Final = 1e-9


class Claim:
    """A part of the rate, and of the burst, until an end."""

    __slots__ = ("burst", "ends_at", "rate")

    def __init__(self, rate: float, burst: float, ends_at: float) -> None:
        self.rate = rate
        self.burst = burst
        self.ends_at = ends_at


class Pod:
    """One that has use for the limit, with the block that it has, and what it may still have of others."""

    __slots__ = ("block", "others", "serial", "stamp_at", "until", "use")

    def __init__(self, serial: int, use: float, until: float, block: Claim | None, others: list[Claim]) -> None:
        self.serial = serial
        self.use = use
        self.stamp_at = until  # When its permits of quotas count.
        self.until = until  # Then it is forgotten, unless it asked again.
        self.block = block
        self.others = others

    @property
    def claims(self) -> list[Claim]:
        """Give all that it may have."""
        return self.others if self.block is None else [self.block, *self.others]


class Ledger:
    """One limit; as many pods and parts as there are, and of each quota SLICES and a few."""

    def __init__(self, burst: float, now: float) -> None:
        self.level = burst
        self.filled_at = now
        self.asked_at = now - NEVER_S
        self.careful_until = now + CAREFUL_S
        self.serial = 0
        self.pods: dict[str, Pod] = {}
        self.slices: dict[float, dict[int, float]] = {}  # By the window's seconds, then by the slice's number.
        self.closed: dict[str, float] = {}

    def lease(self, wanted: Wanted, now: float) -> Block:
        """Give a block in place of the one that the pod has."""
        if wanted.away >= AWAY_MIN_S and now - self.asked_at >= wanted.away:
            self.careful_until = max(self.careful_until, now + HEALED_S)  # Nobody else was served meanwhile.
        self.asked_at = now
        self._advance(wanted, now)
        if wanted.use < 0:
            return self._give_back(wanted, now)
        old = self.pods.pop(wanted.pod, None)
        ghosts: list[Claim] = []
        if old is not None and old.serial != wanted.serial:
            ghosts, old = old.claims, None  # It did not hear of its last block, and may have one before it.
        claims = [*ghosts, *(claim for pod in self.pods.values() for claim in pod.claims)]
        claimed = (sum(claim.rate for claim in claims), sum(claim.burst for claim in claims))
        lefts = self._take_back(wanted, old, now)
        self.serial += 1
        share, is_full, used = self._share(wanted, now)
        rate, burst = self._free(wanted, old, share, claimed, now)
        span = wanted.span
        if is_full:  # What others want is not held for long by one that has gone.
            span = min(span, max(SPAN_MIN_S, CALLS_A_BLOCK / share))
        if len(self.pods) >= floor(wanted.burst):
            span = min(span, TURN_S)
        block = Claim(rate, burst, now + span) if rate > 0 else None
        before = old.block if old is not None else None
        if before is not None and block is None:
            block = before  # It keeps that until its end.
        elif before is not None and (before.rate > rate + SLACK or before.burst > burst + SLACK):
            ghosts = [Claim(max(0.0, before.rate - rate), max(0.0, before.burst - burst), before.ends_at)]
        # Who was on its own spent without us: what it did not keep in hand is gone, and not in the level. And while
        # others may still be on their own, what nobody claims is theirs; but for what one that is new begins with.
        is_dealt = not wanted.away and (now >= self.careful_until or not wanted.serial)
        level = max(0.0, min(self.level, burst - wanted.level)) if rate > 0 and is_dealt else 0.0
        held = wanted.held if old is not None else 0.0
        permits, again_at = self._permits(wanted, held, lefts, span, now)
        self.pods[wanted.pod] = Pod(self.serial, wanted.use, now + span, block, ghosts)
        self.level -= level
        self._cap(wanted)
        again = span - min(span * AHEAD, AHEAD_MAX_S)
        if rate < share * 0.9:
            again = min(again, max(AGAIN_MIN_S, self._next_end(wanted.pod, now + again) - now))
        if wanted.quotas and permits < wanted.least:
            again = max(AGAIN_MIN_S, again_at - now)
        return Block(
            self.serial, rate, burst, level, permits, span, again, share, is_full, len(self.pods), used,
            tuple(lefts), tuple((part, until - now) for part, until in self.closed.items() if until > now),
        )  # fmt: skip

    def _give_back(self, wanted: Wanted, now: float) -> Block:
        """Take a pod out; one that has another block than it says keeps it until its end."""
        old = self.pods.get(wanted.pod)
        if old is not None and old.serial != wanted.serial:
            old = None
        lefts = self._take_back(wanted, old, now)
        if old is not None:
            del self.pods[wanted.pod]
            self.level += max(0.0, wanted.level)
            self._cap(wanted)
        nothing = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        return Block(0, *nothing, is_full=False, pods=len(self.pods), used=0.0, left=tuple(lefts), closed=())

    def close(self, part: str, seconds: float, now: float) -> None:
        """Note until when the vendor closed a part."""
        self.closed = {known: until for known, until in self.closed.items() if until > now}
        if part not in self.closed and len(self.closed) >= CLOSED_MAX:
            part = ""
        self.closed[part] = max(self.closed.get(part, 0.0), now + seconds)

    def _advance(self, wanted: Wanted, now: float) -> None:
        """Let time pass: what nobody claims flows in, from end to end of the claims."""
        claims = sorted((claim for pod in self.pods.values() for claim in pod.claims), key=_ends_at)
        rate = sum(claim.rate for claim in claims)
        burst = sum(claim.burst for claim in claims)
        for claim in claims:
            if claim.ends_at > now:
                break
            self._fill(wanted, rate, burst, claim.ends_at)
            rate -= claim.rate
            burst -= claim.burst
        self._fill(wanted, rate, burst, now)
        for name, pod in list(self.pods.items()):
            pod.others = [claim for claim in pod.others if claim.ends_at > now]
            if pod.block is not None and pod.block.ends_at <= now:
                pod.block = None
            if not pod.claims and pod.until <= now:
                del self.pods[name]

    def _fill(self, wanted: Wanted, rate: float, burst: float, at: float) -> None:
        inflow = max(0.0, wanted.rate - rate) * max(0.0, at - self.filled_at)
        self.level = max(0.0, min(wanted.burst - burst, self.level + inflow))
        self.filled_at = max(self.filled_at, at)

    def _cap(self, wanted: Wanted) -> None:
        claimed = sum(claim.burst for pod in self.pods.values() for claim in pod.claims)
        self.level = max(0.0, min(self.level, wanted.burst - claimed))

    def _share(self, wanted: Wanted, now: float) -> tuple[float, bool, float]:
        """Give the pace that is fair, whether there is less than all want, and the share of the rate that is used."""
        want = _want(wanted.use, wanted.span)
        wants = sorted([want, *(_want(pod.use, wanted.span) for pod in self.pods.values())])
        total = sum(wants)
        used = min(1.0, (wanted.use + sum(pod.use for pod in self.pods.values())) / wanted.rate)
        is_full = total > wanted.rate
        if is_full:
            left, share = wanted.rate, 0.0
            for number, other in enumerate(wants):
                share = left / (len(wants) - number)
                if other > share:
                    break
                left -= other
            share = min(want, share)
        else:
            extra = min((wanted.rate - total) / 2, max(wanted.fair - want, want * EXTRA))
            share = want + extra
        places = floor(wanted.burst)
        if is_full and len(wants) > places:
            share = max(share, wanted.rate / places)  # They take turns (`_free`).
        if now < self.careful_until:
            share = min(share, wanted.fair)
        return share, is_full, used

    def _free(
        self, wanted: Wanted, old: Pod | None, share: float, claimed: tuple[float, float], now: float
    ) -> tuple[float, float]:
        """Give how much of the rate and of the burst the pod gets; nothing, where it is not a whole permit."""
        count = len(self.pods) + 1
        burst = min(wanted.need, max(1.0, (wanted.burst - 1) / count))
        if now < self.careful_until:
            burst = min(burst, max(1.0, wanted.fair_burst))
        free = wanted.burst - claimed[1]
        burst = min(max(1.0, burst), free)
        rate = min(share, wanted.rate - claimed[0])
        if burst < 1 - SLACK or rate <= SLACK:
            return 0.0, 0.0
        others_wait = any(not pod.claims for pod in self.pods.values())
        if old is not None and old.block and count > wanted.burst and others_wait and free - burst < 1 - SLACK:
            return 0.0, 0.0  # More pods than permits at once: they take turns.
        return rate, burst

    def _next_end(self, name: str, latest_at: float) -> float:
        ends = (claim.ends_at for other, pod in self.pods.items() if other != name for claim in pod.claims)
        return min(ends, default=latest_at)

    # Quotas.

    def _take_back(self, wanted: Wanted, old: Pod | None, now: float) -> list[float]:
        """Count what came back and what was spent elsewhere; gives what is left of each quota."""
        lefts = []
        for count, seconds in wanted.quotas:
            slices = self.slices.setdefault(seconds, {})
            size = seconds / SLICES
            oldest = floor(now / size) - SLICES
            for number in [number for number in slices if number < oldest]:
                del slices[number]
            if old is not None:
                number = floor(old.stamp_at / size)
                slices[number] = max(0.0, slices.get(number, 0.0) - wanted.held - wanted.back)
            if wanted.spent > 0:
                number = floor(now / size)
                slices[number] = slices.get(number, 0.0) + wanted.spent
            lefts.append(max(0.0, count - sum(slices.values())))
        return lefts

    def _permits(self, wanted: Wanted, held: float, lefts: list[float], span: float, now: float) -> tuple[float, float]:
        """Lease permits of the quotas, what is held included; gives when some will be free, if there are none."""
        if not wanted.quotas:
            return 0.0, now
        left = min(lefts)
        count = len(self.pods) + 1
        permits = min(wanted.permits, max(wanted.least, left / (2 * count)))  # Near the end, blocks are small.
        permits = floor(min(permits, left) + SLACK)
        if permits < wanted.least:
            permits = 0
        leased = max(held, float(permits))
        again_at = now
        for number, (count_max, seconds) in enumerate(wanted.quotas):
            slices, size = self.slices[seconds], seconds / SLICES
            missing = wanted.least - (count_max - sum(slices.values()))
            for index in sorted(slices):
                if missing <= SLACK:
                    break
                missing -= slices[index]
                again_at = max(again_at, (index + SLICES + 1) * size)
            if leased:
                stamp = floor((now + span) / size)
                slices[stamp] = slices.get(stamp, 0.0) + leased
            lefts[number] = max(0.0, lefts[number] - leased)
        return leased, again_at


def _want(use: float, span: float) -> float:
    """Give what a pod wants: a permit at the least, in the length of a block."""
    return max(use * HEADROOM, 1 / span)


def _ends_at(claim: Claim) -> float:
    return claim.ends_at
