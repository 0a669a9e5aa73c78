"""Interpreter: reads one answer, and gives what it announces; compiled at load from what is known and configured."""

from sidecar.core.advice import Advice
from sidecar.core.body import Headers
from sidecar.upstream.hints.allowance import CompiledAllowance
from sidecar.upstream.hints.config import Dialect, HintsConfig, RetryHeader
from sidecar.upstream.hints.counted import Counted
from sidecar.upstream.hints.dialect import Fields, Flag, Level, Load, Ratio, Source, lower, read_flag, spread
from sidecar.upstream.hints.document import is_json, read_document
from sidecar.upstream.hints.doubts import doubt
from sidecar.upstream.hints.signal import CompiledSignal
from sidecar.upstream.hints.state import State
from sidecar.upstream.hints.times import AUTO, DELTA_MS, Moment, read_time

FIELDS_MAX = 64  # Notable fields of one answer. More: the rest is left out, with a doubt.

THROTTLED = 429  # RFC 6585 section 4: refused for the sake of a limit, whatever else it says.
MAYBE_THROTTLED = frozenset({403, 503})  # So only if they announce a limit: GitHub and Salesforce; Zendesk and Graph.

# Known everywhere, without configuration.
KNOWN = (
    Dialect(name="x-ratelimit", remaining="X-RateLimit-Remaining", limit="X-RateLimit-Limit",
            reset="X-RateLimit-Reset", resource="X-RateLimit-Resource"),
    Dialect(name="x-rate-limit", remaining="X-Rate-Limit-Remaining", limit="X-Rate-Limit-Limit",
            reset="X-Rate-Limit-Reset"),
    Dialect(name="ratelimit", remaining="RateLimit-Remaining", limit="RateLimit-Limit", reset="RateLimit-Reset"),
    Dialect(name="ratelimit", state="RateLimit", policy="RateLimit-Policy"),
    Dialect(near="X-RateLimit-NearLimit"),
)  # fmt: skip
KNOWN_WAITS = (RetryHeader(name="retry-after-ms", unit="ms"), RetryHeader(name="Retry-After"))  # The finer one first.
KNOWN_WORDS = ("x-should-retry",)


class Interpreter:
    """What one service's vendor may announce; it keeps nothing between answers."""

    __slots__ = ("_allowances", "_body_max", "_body_statuses", "_by_anchor", "_signals", "_sources", "_special",
                 "_waits", "_word_names", "_words", "names")  # fmt: skip

    def __init__(self, config: HintsConfig) -> None:
        sources = [source for dialect in config.dialects for source in compiled(dialect, config.near)]
        taken = {source.anchor for source in sources}
        known = [source for dialect in KNOWN for source in compiled(dialect, config.near)]
        sources += [source for source in known if source.anchor not in taken]
        self._sources = tuple(sources)
        self._by_anchor = {one.anchor: tuple(two for two in sources if two.anchor == one.anchor) for one in sources}
        waits = {header.name.lower(): header for header in (*KNOWN_WAITS, *config.retry_after)}
        order = [header.name.lower() for header in (*config.retry_after, *KNOWN_WAITS)]
        self._waits = tuple(
            (name.encode(), DELTA_MS if waits[name].unit == "ms" else AUTO) for name in dict.fromkeys(order)
        )
        self._words = tuple(dict.fromkeys(lower(name) for name in (*config.should_retry, *KNOWN_WORDS)))
        self._word_names = frozenset((*self._words, *(name for name, _ in self._waits)))
        self._signals = tuple(CompiledSignal(signal) for signal in config.signals)
        self._allowances = tuple(CompiledAllowance(allowance) for allowance in config.allowances)
        self._body_max = int(config.body_max)
        readers = [*(signal.statuses for signal in self._signals if signal.reads_body)]
        self._body_statuses = frozenset[int]().union(*readers, *(one.statuses for one in self._allowances))
        named = frozenset[int]().union(*(signal.statuses for signal in self._signals))
        self._special = self._body_statuses | named | MAYBE_THROTTLED | {THROTTLED}
        # Lower-case names of the fields to be gathered from each answer; without `Date`, which every answer has.
        self.names = self._word_names.union(*(source.names for source in sources))

    @property
    def listened(self) -> frozenset[int]:
        """Statuses of answers that may say something although they have none of the fields."""
        return self._special

    def needs_body(self, status: int, headers: Headers | None = None) -> bool:
        """Whether an answer with this status says something in its body; with its headers, whether it may be read."""
        return status in self._body_statuses and (headers is None or is_json(headers))

    def read(
        self, status: int, notable: Headers | None, headers: Headers, body: bytes | None, wall: float
    ) -> Advice | None:
        """Give what an answer announces, or None when that is nothing.

        `notable` are its fields among `names`, under lower-case names; `headers` all of them, which are looked at only
        if there is something to look for. `body` is what is there of it, up to `body_max`. `wall` is Unix seconds.
        """
        is_special = status in self._special
        if notable is None and not is_special:
            return None
        advice = Advice()
        moment = Moment(headers, wall)
        fields: Fields = {}
        if notable is not None:
            fields = dict(notable)
            if len(fields) != len(notable):
                fields = gather(notable, advice)
            by_anchor = self._by_anchor
            for name in fields:
                if name in by_anchor:
                    for source in by_anchor[name]:
                        source.tell(fields, moment, advice)
            if not self._word_names.isdisjoint(fields):
                self._read_words(fields, moment, advice)
        if is_special:
            self._judge(status, fields, headers, body, moment, advice)
        return advice if says_anything(advice) else None

    def _read_words(self, fields: Fields, moment: Moment, advice: Advice) -> None:
        """Read when to try again, and whether."""
        for name, form in self._waits:
            value = fields.get(name)
            if value is not None and advice.retry_after is None:
                advice.retry_after = read_time(value, form, moment)
                if advice.retry_after is None:
                    doubt(advice, name, value, "which is no time within a year")
        for name in self._words:
            value = fields.get(name)
            if value is not None and advice.should_retry is None:
                advice.should_retry = read_flag(value)
                if advice.should_retry is None:
                    doubt(advice, name, value, "which is neither true nor false")

    def _judge(
        self, status: int, fields: Fields, headers: Headers, body: bytes | None, moment: Moment, advice: Advice
    ) -> None:
        """Say whether the vendor refused for the sake of its limits, and when it may be asked again."""
        document: object = None
        if body and status in self._body_statuses:
            document = read_document(headers, body, self._body_max, advice)
        refill_wait = self._read_allowances(status, document, advice)
        signal = next(
            (one for one in self._signals if status in one.statuses and one.matches(headers, document, advice)), None
        )
        if signal is not None:
            advice.is_throttled = signal.is_throttled
            advice.is_final = signal.is_final
        elif status == THROTTLED:
            advice.is_throttled = True
        elif status in MAYBE_THROTTLED:
            advice.is_throttled = advice.retry_after is not None or any(told.remaining == 0 for told in advice.told)
        if advice.retry_after is None and signal is not None:
            advice.retry_after = signal.wait(document, moment, advice)
        if advice.retry_after is None and advice.is_throttled:
            held = self._held(fields, moment, advice) if refill_wait is None else refill_wait
            advice.retry_after = held
            advice.is_worked_out = True

    def _read_allowances(self, status: int, document: object, advice: Advice) -> float | None:
        """Read what the body announces; gives the wait for what a refused call needs."""
        if document is None:
            return None
        waits = [one.tell(document, advice) for one in self._allowances if status in one.statuses]
        return max((wait for wait in waits if wait is not None), default=None)

    def _held(self, fields: Fields, moment: Moment, advice: Advice) -> float | None:
        """Give the wait of a refused call whose answer names none: until all that is used up has been reset."""
        waits = [told.reset_in for told in advice.told if told.remaining == 0 and told.kind == "window"]
        waits += [source.hold(fields, moment, advice) for source in self._sources]
        return max((wait for wait in waits if wait is not None), default=None)


def compiled(dialect: Dialect, near: float) -> list[Source]:
    """Make one source per dimension."""
    return [_source(one, name, near) for name, one in spread(dialect)]


def _source(dialect: Dialect, name: str, near: float) -> Source:
    if dialect.ratio is not None:
        return Ratio(dialect, name)
    if dialect.state is not None:
        return State(dialect, name)
    if dialect.load is not None:
        return Load(dialect, name)
    if dialect.level is not None:
        return Level(dialect.level, near)
    if dialect.near is not None:
        return Flag(dialect.near)
    return Counted(dialect, name)


def gather(notable: Headers, advice: Advice) -> Fields:
    """Join fields that come more than once, as lists are (RFC 9110 section 5.3); one that is repeated counts once."""
    fields: Fields = {}
    for name, value in notable[:FIELDS_MAX]:
        if name not in fields:
            fields[name] = value
        elif value != fields[name]:
            fields[name] += b", " + value
    if len(notable) > FIELDS_MAX:
        advice.doubts.append(
            f"the vendor's answer has {len(notable)} hints; those after the first {FIELDS_MAX} are ignored"
        )
    return fields


def says_anything(advice: Advice) -> bool:
    """Whether there is something for the layers in it."""
    return bool(
        advice.told
        or advice.is_throttled
        or advice.is_final
        or advice.is_near
        or advice.doubts
        or advice.retry_after is not None
        or advice.should_retry is not None
    )
