"""Counted: an allowance told by headers of its own for what is left, or used, the whole, and the end."""

from sidecar.core.advice import Advice
from sidecar.upstream.hints.config import Dialect
from sidecar.upstream.hints.dialect import Common, Fields, Source, lower, until_reset
from sidecar.upstream.hints.doubts import doubt
from sidecar.upstream.hints.numbers import read_number
from sidecar.upstream.hints.times import Moment, read_time

PARALLEL_MAX = 8  # Windows in one set of headers, as `1, 15000`. More: the set is not believed.


class Counted(Source):
    """The well-known three, `Limit`, `Remaining` and `Reset`, under whatever names."""

    __slots__ = ("_common", "_form", "_is_used", "_limit", "_limit_is", "_reset")

    def __init__(self, dialect: Dialect, name: str) -> None:
        source = dialect.remaining if dialect.remaining is not None else dialect.used
        assert source is not None
        super().__init__(
            source, dialect.limit, dialect.reset, dialect.window_header, dialect.resource, dialect.name_header
        )
        self._common = Common(dialect, name)
        self._is_used = dialect.remaining is None
        self._limit = lower(dialect.limit)
        self._limit_is = dialect.limit_is
        self._reset = lower(dialect.reset)
        self._form: str = dialect.reset_as

    def tell(self, fields: Fields, moment: Moment, advice: Advice) -> None:
        """Add the allowance."""
        value = fields[self.anchor]
        remaining = read_number(value)
        if remaining is None:
            self._tell_several(fields, moment, advice)
            return
        window: float | None = None
        limit = self._limit_is
        if self._limit in fields:
            limit = read_number(fields[self._limit])
            if limit is None:
                limit, window = read_policies(fields[self._limit])
                if limit is None:
                    doubt(advice, self._limit, fields[self._limit], "which is no count")
        if self._is_used:
            if limit is None:
                return
            remaining = max(0.0, limit - remaining)
        if limit is not None and not self._is_sound(limit, remaining, fields, advice):
            return
        reset_in = until_reset(fields, self._reset, self._form, moment, advice) if self._reset else None
        self._common.add(fields, advice, self._common.name, limit, remaining, reset_in, window)

    def _is_sound(self, limit: float, remaining: float, fields: Fields, advice: Advice) -> bool:
        if limit == 0:
            # Okta tells of too many calls at once in this way, on a 429.
            doubt(advice, self._limit or self.anchor, fields.get(self._limit, b"0"), "which tells nothing about a rate")
            return False
        if remaining > limit:
            doubt(advice, self.anchor, fields[self.anchor], f"which is over the whole of {limit:.15g}")
            return False
        return True

    def _tell_several(self, fields: Fields, moment: Moment, advice: Advice) -> None:
        """Read lists that go in step: `1, 15000` with `0, 14990` and `1, 86400`."""
        value = fields[self.anchor]
        parts = _parts(value)
        counts = [read_number(part) for part in parts]
        limits = [read_number(part) for part in _parts(fields.get(self._limit, b""))]
        resets = _parts(fields.get(self._reset, b""))
        is_in_step = len(limits) in (0, len(counts)) and len(resets) in (0, len(counts))
        if not 1 < len(counts) <= PARALLEL_MAX or not is_in_step or None in counts or None in limits:
            doubt(advice, self.anchor, value, "which is no count")
            return
        for index, count in enumerate(counts):
            assert count is not None
            limit = limits[index] if limits else None
            remaining = max(0.0, limit - count) if self._is_used and limit is not None else count
            if limit is not None and not self._is_sound(limit, remaining, fields, advice):
                continue
            reset_in = read_time(resets[index], self._form, moment) if resets else None
            name = f"{self._common.name}-{index + 1}" if index else self._common.name
            self._common.add(fields, advice, name, limit, remaining, reset_in, None)

    def hold(self, fields: Fields, moment: Moment, advice: Advice) -> float | None:
        """Give the time to a reset that came without a count, or with an allowance of 0."""
        if self._common.kind != "window" or self._reset not in fields:
            return None
        if self.anchor in fields and read_number(fields.get(self._limit, b"")) != 0:
            return None
        return until_reset(fields, self._reset, self._form, moment, advice)


def _parts(value: bytes) -> list[bytes]:
    return [part.strip() for part in value.split(b",", PARALLEL_MAX)] if value else []


def read_policies(value: bytes) -> tuple[float | None, float | None]:
    """Read `10, 10;w=1, 150;w=60` (draft-03): the allowance in force, and its window when one policy fits it."""
    first, _, rest = value.partition(b",")
    limit = read_number(first.partition(b";")[0])
    lengths = set()
    for policy in (first, *rest.split(b",", PARALLEL_MAX)):
        quota, *parameters = policy.split(b";", PARALLEL_MAX)
        for parameter in parameters:
            key, _, length = parameter.strip().partition(b"=")
            if key == b"w" and limit is not None and read_number(quota) == limit:
                lengths.add(read_number(length))
    return limit, lengths.pop() if len(lengths) == 1 else None
