"""Allowance: a bucket that the vendor announces in the JSON body of its answers."""

from sidecar.core.advice import TOLD_MAX, Advice, Told
from sidecar.upstream.hints.config import Allowance
from sidecar.upstream.hints.doubts import doubt_body
from sidecar.upstream.hints.expression import Expression
from sidecar.upstream.hints.numbers import as_number
from sidecar.upstream.hints.times import believed


class CompiledAllowance:
    """One allowance of the config, ready to be read."""

    __slots__ = ("_limit", "_name", "_needed", "_refill", "_remaining", "statuses")

    def __init__(self, allowance: Allowance) -> None:
        self.statuses = frozenset(allowance.statuses)
        self._name = allowance.name
        self._limit = Expression(allowance.limit)
        self._remaining = Expression(allowance.remaining)
        self._refill = None if allowance.refill is None else Expression(allowance.refill)
        self._needed = None if allowance.needed is None else Expression(allowance.needed)

    def tell(self, document: object, advice: Advice) -> float | None:
        """Add the bucket, if the document has it; gives the seconds until it holds what the call needed, if told."""
        try:
            limit = as_number(self._limit.search(document))
            remaining = as_number(self._remaining.search(document))
            refill = None if self._refill is None else as_number(self._refill.search(document))
            needed = None if self._needed is None else as_number(self._needed.search(document))
        except ValueError as error:
            doubt_body(advice, f"the allowance {self._name}", str(error))
            return None
        if limit is None or remaining is None:
            return None
        if remaining > limit or limit == 0:
            doubt_body(advice, f"the allowance {self._name}", f"{remaining:.15g} of {limit:.15g} cannot be")
            return None
        full_in = believed((limit - remaining) / refill) if refill else None
        if len(advice.told) < TOLD_MAX:
            window = believed(limit / refill) if refill else None
            told = Told(self._name, "bucket", limit=limit, remaining=remaining, reset_in=full_in, window=window)
            advice.told.append(told)
        if not refill or needed is None:
            return None
        return believed(max(0.0, needed - remaining) / refill)
