"""Hints, as configured: the names under which a vendor announces its limits, and what is made of them.

`X-RateLimit-*`, `X-Rate-Limit-*`, `RateLimit-*`, `RateLimit` with `RateLimit-Policy`, `Retry-After`, `retry-after-ms`
and `x-should-retry` are known everywhere; what stands here comes on top, and wins for the headers that it names.
"""

import re
from collections.abc import Iterator
from typing import Literal

from sidecar.core.section import Section
from sidecar.core.statuses import Statuses
from sidecar.core.units import Duration, Size
from sidecar.upstream.hints.expression import Expression

DIMS_MAX = 32  # Dimensions of one dialect. More: refused when the config is read.
BODY_MAX = 1024 * 1024  # The most that `body_max` may be: an answer is held back until so much of it is there.

HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")  # RFC 9110 section 5.6.2.
_DIM = "{dim}"
SOURCES = ("remaining", "used", "ratio", "state", "load", "level", "near")

ResetAs = Literal["auto", "epoch", "epoch_ms", "delta", "delta_ms"]


class Dialect(Section, kw_only=True):
    """One way in which the vendor announces an allowance: exactly one of the seven sources, and what belongs to it.

    The name of a header may hold `{dim}`, which stands for each of `dims` in turn.
    """

    name: str = ""  # What people read, also as the metric's `window`. Absent: the dimension, or the source's own name.
    dims: tuple[str, ...] = ()  # Such as ["requests", "tokens"].
    kind: Literal["window", "bucket"] = "window"  # A bucket refills all the time; a window ends.

    # The sources.
    remaining: str | None = None  # Header with the calls that are left.
    used: str | None = None  # Header with the calls that were made; needs `limit` or `limit_is`.
    ratio: str | None = None  # Header with both: "32/40", or "api-usage=32/40" among others.
    state: str | None = None  # Header with all in one: RateLimit (RFC 9651), or "total=9; remaining=3; resets=20".
    load: str | None = None  # Header with the calls that are under way now: a gauge.
    level: str | None = None  # Header with the used share itself, such as "0.85"; from `near` on the limit is near.
    near: str | None = None  # Header that says "true" when the limit is near.

    # What belongs to them.
    limit: str | None = None  # Header with the whole allowance.
    limit_is: float | None = None  # The allowance itself, where the vendor does not announce it.
    reset: str | None = None  # Header with the end of the window; of a bucket: when it is full again.
    # How to read it. "auto" tells apart seconds to go, epoch seconds and milliseconds, durations ("6m0s") and dates.
    reset_as: ResetAs = "auto"
    window: Duration | None = None  # Length of the window; of a bucket: from empty to full.
    window_header: str | None = None  # Header with that length ...
    window_unit: Literal["s", "ms"] = "s"  # ... in this unit.
    ratio_key: str | None = None  # Which of the pairs in the `ratio` header: "api-usage".
    policy: str | None = None  # Header that goes with `state`: RateLimit-Policy.
    resource: str | None = None  # Header that names the part of the API to which the numbers belong.
    name_header: str | None = None  # Header whose value names the window, where one set of headers tells of several.

    def sources(self) -> dict[str, str]:
        """Give the sources that are set, with their headers."""
        return {field: header for field in SOURCES if (header := getattr(self, field)) is not None}

    def headers(self) -> dict[str, str]:
        """Give every field that names a header."""
        others = ("limit", "reset", "window_header", "policy", "resource", "name_header")
        return self.sources() | {field: header for field in others if (header := getattr(self, field)) is not None}

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong in itself."""
        found = [
            (field, sentence)
            for field, header in self.headers().items()
            if (sentence := _header_problem(header, has_dims=bool(self.dims)))
        ]
        sources = self.sources()
        if len(sources) != 1:
            found.append(("remaining", "set exactly one of remaining, used, ratio, state, load, level and near"))
        if self.dims and not any(_DIM in header for header in sources.values()):
            found.append(("dims", f"no source has {_DIM} in its name, so these would all read the same header"))
        return found + list(self._mismatches(sources))

    def _mismatches(self, sources: dict[str, str]) -> Iterator[tuple[str, str]]:
        if len(self.dims) > DIMS_MAX:
            yield "dims", f"there are at most {DIMS_MAX} dimensions"
        if "used" in sources and self.limit is None and self.limit_is is None:
            yield "used", "it means nothing without limit or limit_is"
        if self.ratio_key is not None and self.ratio is None:
            yield "ratio_key", "it belongs to ratio, which is not set"
        if self.policy is not None and self.state is None:
            yield "policy", "it belongs to state, which is not set"
        if self.limit_is is not None and not 0 < self.limit_is < float("inf"):
            yield "limit_is", "write a number above 0"
        if self.window is not None and self.window <= 0:
            yield "window", 'write a time above 0, such as "60s"'


class Signal(Section, kw_only=True):
    """An answer that says more than its status: a throttling one, a final one, or one with a wait of its own.

    All conditions must hold; the first signal that matches decides.
    """

    statuses: Statuses = Statuses()  # The answer's status is one of these. For others the body is not even looked at.
    header: str | None = None  # This header is there ...
    body: str | None = None  # ... and this JMESPath query finds something true in the JSON body.
    # With these, what header or query give must be among them, whatever the case: all of it, or its part after the
    # last `#` and up to the first `:`, `;` or `,`.
    values: tuple[str, ...] = ()
    throttled: bool = True  # The vendor refused for the sake of its limits. False: it did not, even with 429.
    final: bool = False  # Another attempt would end the same way.
    wait: Duration | None = None  # How long to wait, where the answer does not say.
    wait_body: str | None = None  # JMESPath query that gives the wait: seconds, a duration ("12s") or a date.

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong in itself."""
        found = [
            (field, sentence)
            for field in ("body", "wait_body")
            if (text := getattr(self, field)) is not None and (sentence := _query_problem(text))
        ]
        if not self.statuses:
            found.append(("statuses", "write at least one status, such as [403]"))
        if self.header is not None and (sentence := _header_problem(self.header, has_dims=False)):
            found.append(("header", sentence))
        if self.values and self.header is None and self.body is None:
            found.append(("values", "it needs a header or a body to compare with"))
        if self.header is not None and self.body is not None and self.values:
            found.append(("values", "write two signals, one for the header and one for the body"))
        return found


class Allowance(Section, kw_only=True):
    """A bucket that the vendor announces in the JSON body, as Shopify's `throttleStatus`. All are JMESPath queries."""

    name: str  # What people read, also as the metric's `window`.
    statuses: Statuses = Statuses()  # Answers with these are held back until `body_max` of them, or all, is there.
    limit: str  # Gives the size of the bucket.
    remaining: str  # Gives what is left.
    refill: str | None = None  # Gives what comes back per second.
    needed: str | None = None  # Gives what the refused call would have taken: so long it has to wait.

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong in itself."""
        found = [
            (field, sentence)
            for field in ("limit", "remaining", "refill", "needed")
            if (text := getattr(self, field)) is not None and (sentence := _query_problem(text))
        ]
        if not self.statuses:
            found.append(("statuses", "write at least one status, such as [200]"))
        return found


class RetryHeader(Section, kw_only=True):
    """A header that says when to try again."""

    name: str
    unit: Literal["s", "ms"] = "s"  # Of a bare number; dates and durations are told apart.

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong in itself."""
        sentence = _header_problem(self.name, has_dims=False)
        return [("name", sentence)] if sentence else []


class HintsConfig(Section, kw_only=True):
    """How far the vendor's announcements are heard, and under which names it makes them."""

    hint_max: Duration = Duration(900)  # The longest time for which a hint may hold calls back. More: cut to this.
    pace_below: float = 0.2  # With less than this share left, calls are spread evenly over the rest of the window.
    settle: Duration = Duration(0.02)  # Waited beyond a reset: vendors are late, and clocks are coarse.
    wait_max: Duration = Duration(1)  # How long a call waits for what was announced, where no rate_limit says so.
    near: float = 0.8  # From this used share on, a line is written.
    resource_segments: int = 1  # Leading segments of the path that tell apart the resources which a header names.
    body_max: Size = Size(64 * 1024)  # Bytes of an answer that signals and allowances see. Longer: they see nothing.
    retry_after: tuple[RetryHeader, ...] = ()  # Headers beside Retry-After and retry-after-ms; they are asked first.
    should_retry: tuple[str, ...] = ()  # Headers beside x-should-retry that say "true" or "false".
    dialects: tuple[Dialect, ...] = ()
    signals: tuple[Signal, ...] = ()
    allowances: tuple[Allowance, ...] = ()

    def problems(self) -> list[tuple[str, str]]:
        """Give what is wrong in itself."""
        found = [
            ("should_retry", sentence)
            for name in self.should_retry
            if (sentence := _header_problem(name, has_dims=False))
        ]
        found += [
            (field, "write a share from 0 to 1, such as 0.2")
            for field in ("pace_below", "near")
            if not 0 <= getattr(self, field) <= 1
        ]
        if self.hint_max <= 0:
            found.append(("hint_max", 'write a time above 0, such as "15m"; `hints = false` switches hints off'))
        if not 0 <= self.resource_segments <= 8:
            found.append(("resource_segments", "write a whole number from 0 to 8"))
        if not 1 <= self.body_max <= BODY_MAX:
            found.append(("body_max", 'write a size up to "1MiB", such as "64KiB"'))
        return found


def _header_problem(header: str, *, has_dims: bool) -> str | None:
    """Say what is wrong with a header's name, `{dim}` in it included."""
    plain = header.replace(_DIM, "x")
    if "{" in plain or "}" in plain:
        return f"the only placeholder is {_DIM}"
    if _DIM in header and not has_dims:
        return f"{_DIM} needs dims, a list of what it stands for"
    return None if HEADER.fullmatch(plain) else "this is no name of a header"


def _query_problem(text: str) -> str | None:
    try:
        Expression(text)
    except ValueError as error:
        return str(error)
    return None
