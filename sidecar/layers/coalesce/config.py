"""Coalesce's settings: which reads are equal, and how much of an answer is kept to be shared."""

import re

from sidecar.core.section import Section
from sidecar.core.units import Size

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2.


class CoalesceConfig(Section, kw_only=True):
    """`coalesce`: off unless it stands there. A call may get an answer to a question that was asked a moment before."""

    # Which request headers tell calls apart, beside those that always do (credentials, conditions, Accept-Encoding).
    # Absent: all that would be sent.
    headers: tuple[str, ...] | None = None
    body_max: Size = Size(2**20)  # A longer answer goes to one caller as it comes; the others make calls of their own.
    waiting_max: int = 1000  # Calls that wait for one answer. Full: the next one makes a call of its own.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = [
            ("headers", f'{name!r} is not a header\'s name; write one such as "Accept-Language"')
            for name in self.headers or ()
            if not TOKEN.fullmatch(name)
        ]
        if self.body_max < 1:
            found.append(("body_max", 'no answer is that short; write a size such as "1MiB"'))
        if self.waiting_max < 1:
            found.append(("waiting_max", "nobody could share an answer; write 1 or more, or leave coalesce out"))
        return found
