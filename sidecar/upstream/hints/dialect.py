"""Dialect: the names by which a vendor announces allowances, compiled into one reader per source."""

from sidecar.core.advice import TOLD_MAX, Advice, Told
from sidecar.upstream.hints.config import Dialect
from sidecar.upstream.hints.doubts import doubt, word
from sidecar.upstream.hints.numbers import read_number
from sidecar.upstream.hints.times import Moment, read_time

Fields = dict[bytes, bytes]  # Lower-case names.


class Source:
    """One header from which something is told, with what belongs to it; the names are in lower case."""

    __slots__ = ("anchor", "names")

    def __init__(self, anchor: str, *others: str | None) -> None:
        self.anchor = anchor.lower().encode()
        self.names = frozenset({self.anchor, *(other.lower().encode() for other in others if other)})

    def tell(self, fields: Fields, moment: Moment, advice: Advice) -> None:
        """Add what `fields`, which hold the anchor, say."""
        raise NotImplementedError

    def hold(self, fields: Fields, moment: Moment, advice: Advice) -> float | None:  # noqa: ARG002 - a source's signature
        """Give the wait of a refused call, in seconds, from a reset that came without a count; mostly there is none."""
        return None


class Common:
    """What the sources that count have in common: names, window and resource."""

    def __init__(self, dialect: Dialect, name: str) -> None:
        self.kind = dialect.kind
        self.name = name
        self._name_header = lower(dialect.name_header)
        self._resource = lower(dialect.resource)
        self._window = None if dialect.window is None else float(dialect.window)
        self._window_header = lower(dialect.window_header)
        self._window_factor = 0.001 if dialect.window_unit == "ms" else 1.0

    def add(
        self,
        fields: Fields,
        advice: Advice,
        name: str,
        limit: float | None,
        remaining: float,
        reset_in: float | None,
        window: float | None,
    ) -> None:
        """Add an allowance; `window` is what its own headers said of it."""
        if len(advice.told) >= TOLD_MAX:
            return
        if self._name_header in fields:
            name = word(fields[self._name_header])
        resource = word(fields[self._resource]) if self._resource in fields else ""
        if window is None:
            window = self._length(fields, advice) if self._window_header in fields else self._window
        if reset_in is None and self.kind == "bucket" and window is not None and limit is not None:
            reset_in = (limit - remaining) / limit * window
        told = Told(name, self.kind, resource=resource, limit=limit, remaining=remaining, reset_in=reset_in)
        told.window = window
        advice.told.append(told)

    def _length(self, fields: Fields, advice: Advice) -> float | None:
        value = fields[self._window_header]
        number = read_number(value)
        if not number:
            doubt(advice, self._window_header, value, "which is no length")
            return self._window
        return number * self._window_factor


class Ratio(Source):
    """`32/40`, or `api-usage=32/40, per-app-api-usage=1/9(appName=x)` among others: used and whole."""

    __slots__ = ("_common", "_key")

    def __init__(self, dialect: Dialect, name: str) -> None:
        assert dialect.ratio is not None
        super().__init__(dialect.ratio, dialect.window_header, dialect.resource, dialect.name_header)
        self._common = Common(dialect, name)
        self._key = (dialect.ratio_key or "").lower().encode()

    def tell(self, fields: Fields, moment: Moment, advice: Advice) -> None:  # noqa: ARG002 - a source's signature
        """Add the pair; in a list without it, nothing."""
        value = fields[self.anchor]
        pair = self._pair(value)
        if pair is None:
            return
        before, _, after = pair.partition(b"/")
        used, limit = read_number(before), read_number(after)
        if used is None or not limit:
            doubt(advice, self.anchor, value, "which is no pair of counts")
            return
        self._common.add(fields, advice, self._common.name, limit, max(0.0, limit - used), None, None)

    def _pair(self, value: bytes) -> bytes | None:
        if not self._key:
            return value
        for part in value[:1024].split(b","):
            key, _, pair = part.strip().partition(b"=")
            if key.strip().lower() == self._key:
                return pair.partition(b"(")[0]
        return None


class Load(Source):
    """How many calls are under way, as the vendor counts them."""

    __slots__ = ("_limit", "_name")

    def __init__(self, dialect: Dialect, name: str) -> None:
        assert dialect.load is not None
        super().__init__(dialect.load)
        self._name = name
        self._limit = dialect.limit_is

    def tell(self, fields: Fields, moment: Moment, advice: Advice) -> None:  # noqa: ARG002 - a source's signature
        """Add the gauge."""
        load = read_number(fields[self.anchor])
        if load is None:
            doubt(advice, self.anchor, fields[self.anchor], "which is no count")
        elif len(advice.told) < TOLD_MAX:
            advice.told.append(Told(self._name, "gauge", limit=self._limit, load=load))


class Level(Source):
    """The used share itself; over the configured share the limit is near."""

    __slots__ = ("_near",)

    def __init__(self, header: str, near: float) -> None:
        super().__init__(header)
        self._near = near

    def tell(self, fields: Fields, moment: Moment, advice: Advice) -> None:  # noqa: ARG002 - a source's signature
        """Note that the limit is near."""
        level = read_number(fields[self.anchor])
        if level is None:
            doubt(advice, self.anchor, fields[self.anchor], "which is no share")
        elif level >= self._near:
            advice.is_near = True


class Flag(Source):
    """`true` when the limit is near."""

    __slots__ = ()

    def tell(self, fields: Fields, moment: Moment, advice: Advice) -> None:  # noqa: ARG002 - a source's signature
        """Note that the limit is near."""
        said = read_flag(fields[self.anchor])
        if said is None:
            doubt(advice, self.anchor, fields[self.anchor], "which is neither true nor false")
        elif said:
            advice.is_near = True


def read_flag(value: bytes) -> bool | None:
    """Read `true` or `false`; None for all else."""
    text = value.strip().lower()
    return text == b"true" if text in (b"true", b"false") else None


def lower(header: str | None) -> bytes:
    """Give a header's name as it is looked up; empty when there is none."""
    return header.lower().encode() if header else b""


def spread(dialect: Dialect) -> list[tuple[str, Dialect]]:
    """Give (name, dialect) for each dimension, with `{dim}` filled in."""
    source = next(iter(dialect.sources().values()))
    if not dialect.dims:
        return [(dialect.name or source.lower(), dialect)]
    return [(f"{dialect.name}-{dim}" if dialect.name else dim, _filled(dialect, dim)) for dim in dialect.dims]


def _filled(dialect: Dialect, dim: str) -> Dialect:
    filled = {field: header.replace("{dim}", dim) for field, header in dialect.headers().items()}
    kept = {field: getattr(dialect, field) for field in dialect.__struct_fields__}
    return Dialect(**{**kept, **filled})


def until_reset(fields: Fields, reset: bytes, form: str, moment: Moment, advice: Advice) -> float | None:
    """Read a header with the end of a window; None when it is not there, or not believed."""
    value = fields.get(reset)
    if value is None:
        return None
    seconds = read_time(value, form, moment)
    if seconds is None:
        doubt(advice, reset, value, "which is no time within a year")
    return seconds
