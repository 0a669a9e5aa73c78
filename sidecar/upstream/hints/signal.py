"""Signal: tells from status, header and body what an answer means that the status alone does not say."""

from sidecar.core.advice import Advice
from sidecar.core.body import Headers
from sidecar.core.headers import find
from sidecar.upstream.hints.config import Signal
from sidecar.upstream.hints.dialect import lower
from sidecar.upstream.hints.doubts import doubt_body
from sidecar.upstream.hints.expression import Expression, is_true
from sidecar.upstream.hints.numbers import as_number
from sidecar.upstream.hints.times import Moment, believed, find_time

FOUND_MAX = 64  # Members of a list that a query gives. More: the rest is not compared.


class CompiledSignal:
    """One signal of the config, ready to be asked."""

    __slots__ = ("_body", "_header", "_values", "_wait", "_wait_body", "is_final", "is_throttled", "reads_body",
                 "statuses")  # fmt: skip

    def __init__(self, signal: Signal) -> None:
        self.statuses = frozenset(signal.statuses)
        self.is_throttled = signal.throttled
        self.is_final = signal.final
        self.reads_body = signal.body is not None or signal.wait_body is not None
        self._header = lower(signal.header)
        self._body = None if signal.body is None else Expression(signal.body)
        self._values = frozenset(value.lower() for value in signal.values)
        self._wait = None if signal.wait is None else float(signal.wait)
        self._wait_body = None if signal.wait_body is None else Expression(signal.wait_body)

    def matches(self, headers: Headers, document: object, advice: Advice) -> bool:
        """Whether all conditions beside the status hold."""
        if self._header:
            value = find(headers, self._header)
            if value is None or (self._values and not self._knows(value.decode("latin-1"))):
                return False
        if self._body is None:
            return True
        if document is None:
            return False
        try:
            found = self._body.search(document)
        except ValueError as error:
            doubt_body(advice, "the body", str(error))
            return False
        if not self._values or self._header:
            return is_true(found)
        return any(map(self._knows, found[:FOUND_MAX] if isinstance(found, list) else [found]))

    def _knows(self, found: object) -> bool:
        """Whether it is one of the values, or the part of it between the last `#` and the first `:`, `;` or `,`."""
        if isinstance(found, bool) or not isinstance(found, str | int | float):
            return False
        text = str(found).strip().lower()
        if text in self._values:
            return True
        for mark in ":;,":
            text = text.partition(mark)[0]
        return text.rpartition("#")[2].strip() in self._values

    def wait(self, document: object, moment: Moment, advice: Advice) -> float | None:
        """Give the seconds to wait: as the body says, else as configured, else None."""
        if self._wait_body is None or document is None:
            return self._wait
        try:
            found = self._wait_body.search(document)
        except ValueError as error:
            doubt_body(advice, "the wait", str(error))
            return self._wait
        if isinstance(found, str):
            seconds = find_time(found, moment)
        else:
            number = as_number(found)
            seconds = None if number is None else believed(number)
            if seconds is None and found is not None:
                doubt_body(advice, "the wait", "it is no time within a year")
        return self._wait if seconds is None else seconds
