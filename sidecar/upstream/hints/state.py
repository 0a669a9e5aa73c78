"""State: an allowance, or several, told in one header.

The current draft (draft-ietf-httpapi-ratelimit-headers-08 and later) has `RateLimit: "burst";r=50;t=30` beside
`RateLimit-Policy: "burst";q=100;w=60`; earlier ones had `limit=100, remaining=50, reset=30` and `100;w=60`; and
some vendors write `total=100; remaining=50; resets=30`.
"""

from sidecar.core.advice import Advice
from sidecar.upstream.hints.config import Dialect
from sidecar.upstream.hints.dialect import Common, Fields, Source, lower
from sidecar.upstream.hints.doubts import doubt, word
from sidecar.upstream.hints.structured import Bare, Malformed, number_in, read_dictionary, read_list
from sidecar.upstream.hints.times import Moment, believed

_LIMIT, _REMAINING, _RESET = ("limit", "total", "max"), ("remaining",), ("reset", "resets")

Policies = dict[str, tuple[float | None, float | None]]  # By name: allowance and window.


class State(Source):
    """A header with all in one, and the policy that may stand beside it."""

    __slots__ = ("_common", "_policy")

    def __init__(self, dialect: Dialect, name: str) -> None:
        assert dialect.state is not None
        super().__init__(dialect.state, dialect.policy, dialect.resource, dialect.window_header, dialect.name_header)
        self._common = Common(dialect, name)
        self._policy = lower(dialect.policy)

    def tell(self, fields: Fields, moment: Moment, advice: Advice) -> None:  # noqa: ARG002 - a source's signature
        """Add each allowance."""
        value = fields[self.anchor]
        try:
            # A parameter has `;` before its name, a dictionary's key has nothing.
            if not value.startswith(b'"') and b"=" in value.partition(b";")[0].partition(b",")[0]:
                self._tell_words(fields, advice)
            else:
                self._tell_items(fields, advice)
        except Malformed:
            doubt(advice, self.anchor, value, "which is no structured field (RFC 9651)")

    def _tell_words(self, fields: Fields, advice: Advice) -> None:
        flat: dict[str, Bare] = {}
        for key, (bare, parameters) in read_dictionary(fields[self.anchor]).items():
            flat[key] = bare
            flat.update(parameters)
        limit, remaining, reset = (_first(flat, keys) for keys in (_LIMIT, _REMAINING, _RESET))
        window = None
        if self._policy in fields and limit is not None:
            window = next((w for q, w in self._policies(fields, advice).values() if q == limit), None)
        if remaining is None:
            doubt(advice, self.anchor, fields[self.anchor], "which does not say what remains")
        else:
            self._add(fields, advice, self._common.name, limit, remaining, reset, window)

    def _tell_items(self, fields: Fields, advice: Advice) -> None:
        policies = self._policies(fields, advice) if self._policy in fields else {}
        for bare, parameters in read_list(fields[self.anchor]):
            if not isinstance(bare, str):
                raise Malformed
            remaining = number_in(parameters.get("r"))
            limit, window = policies.get(bare, (None, None))
            # Without `r` nothing is told: at Atlassian it means that the limit is far away.
            if remaining is not None:
                self._add(fields, advice, word(bare.encode()), limit, remaining, number_in(parameters.get("t")), window)
            elif "r" in parameters:
                doubt(advice, self.anchor, fields[self.anchor], "which has no count in r")

    def _add(
        self,
        fields: Fields,
        advice: Advice,
        name: str,
        limit: float | None,
        remaining: float,
        reset: float | None,
        window: float | None,
    ) -> None:
        if limit is not None and (remaining > limit or limit == 0):
            doubt(advice, self.anchor, fields[self.anchor], f"which does not fit a whole of {limit:.15g}")
            return
        reset_in = None if reset is None else believed(reset)
        if reset is not None and reset_in is None:
            doubt(advice, self.anchor, fields[self.anchor], "which has no reset within a year")
        self._common.add(fields, advice, name, limit, remaining, reset_in, window)

    def _policies(self, fields: Fields, advice: Advice) -> Policies:
        """Read the policy; one that is malformed tells nothing, and the state still counts."""
        found: Policies = {}
        try:
            for bare, parameters in read_list(fields[self._policy]):
                window = number_in(parameters.get("w")) or None
                if isinstance(bare, str):
                    found[bare] = (number_in(parameters.get("q")), window)
                elif isinstance(bare, float):
                    found[f"{bare:.15g}"] = (number_in(bare), window)
        except Malformed:
            doubt(advice, self._policy, fields[self._policy], "which is no structured field (RFC 9651)")
            return {}
        return found


def _first(flat: dict[str, Bare], keys: tuple[str, ...]) -> float | None:
    return next((number for key in keys if (number := number_in(flat.get(key))) is not None), None)
