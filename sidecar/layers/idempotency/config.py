"""Idempotency's settings: where this vendor looks for the key of an operation, and how long answers are repeated."""

import re

from sidecar.core.headers import HOP_BY_HOP
from sidecar.core.section import Section
from sidecar.core.units import Duration, Size

ANSWER_MAX = Size(256 * 2**10)
ANSWER_BOUND = Size(16 * 2**20)  # An answer is one record, and is written and read as a whole.
MADE_MIN = 16  # Hexadecimal digits. A made key of fewer would meet another one's sooner or later.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2.
PLAIN = re.compile(r"[0-9A-Za-z._~-]+")  # What needs no encoding in a query.
METHOD = re.compile(r"[A-Z]+")
_TAKEN = HOP_BY_HOP | {
    b"authorization", b"content-length", b"content-type", b"cookie", b"host", b"traceparent", b"x-request-id",
}  # fmt: skip


class IdempotencyConfig(Section, kw_only=True):
    """`idempotency`: the place of the key, one of three; a key is made where the app sends none.

    With `replay` alone there is no place: the app's own `Idempotency-Key` goes on as it is, and none is made.
    """

    header: str | None = None  # "Idempotency-Key", "PayPal-Request-Id".
    field: str | None = None  # Of a JSON object, at its top: Square's "idempotency_key".
    query: str | None = None  # QuickBooks' "requestid".
    key_max: int = 255  # Characters. A longer key of the app's is refused with 400; a made one is cut.
    # With `field` a longer body passes as it is, without a key, and is not retried; with `replay`, without a record.
    body_max: Size = Size(2**20)
    methods: tuple[str, ...] = ("POST", "PATCH")  # The others are idempotent by themselves (RFC 9110 section 9.2.2).
    replay: Duration | None = None  # How long an answer to a key of the app's is repeated. Absent: none is kept.
    wait: bool = False  # While the first call is under way, the second waits for its answer; otherwise it gets 409.
    answer_max: Size = ANSWER_MAX  # A longer answer passes as it is, and is not repeated.

    @property
    def has_place(self) -> bool:
        """Whether the vendor has a place for the key; without one, none is made."""
        return any(place is not None for place in (self.header, self.field, self.query))

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = []
        places = sum(place is not None for place in (self.header, self.field, self.query))
        if places > 1 or (not places and self.replay is None):
            found.append(("header", "a key has one place; write exactly one of header, field and query"))
        if self.header is not None and not TOKEN.fullmatch(self.header):
            found.append(("header", f'{self.header!r} is not a header\'s name; write one such as "Idempotency-Key"'))
        elif self.header is not None and self.header.lower().encode() in _TAKEN:
            found.append(("header", f'{self.header!r} has a meaning of its own; write one such as "Idempotency-Key"'))
        if self.field == "":
            found.append(("field", 'a field has a name; write one such as "idempotency_key"'))
        if self.query is not None and not PLAIN.fullmatch(self.query):
            found.append(("query", f'{self.query!r} is not a plain parameter name; write one such as "requestid"'))
        if self.key_max < MADE_MIN:
            found.append(("key_max", f"made keys of {self.key_max} characters would meet; write {MADE_MIN} or more"))
        if self.body_max < 1:
            found.append(("body_max", 'no body is that short; write a size such as "1MiB"'))
        found += [
            ("methods", f'{method!r} is not a method; write them in capitals, such as "POST"')
            for method in self.methods
            if not METHOD.fullmatch(method)
        ]
        if self.replay is not None and self.replay <= 0:
            found.append(("replay", 'that is no time at all; write a length such as "24h"'))
        if self.replay is None:
            say = 'there is no answer to be repeated; write replay = "24h", too'
            kept = (("wait", self.wait), ("answer_max", self.answer_max != ANSWER_MAX))
            found += [(name, say) for name, is_set in kept if is_set]
        if not 1 <= self.answer_max <= ANSWER_BOUND:
            found.append(("answer_max", f"write a size from 1B to {ANSWER_BOUND}"))
        if not self.methods:
            found.append(("methods", 'a key is made for no method; write some, such as ["POST"]'))
        return found
