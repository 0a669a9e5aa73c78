"""Failed: why nobody is logged in, in a sentence for the one who tried."""

import re

TEXT_MAX = 200  # Characters of a vendor's own words. Longer: cut.
_UNSEEN = re.compile(r"[^ -~]+")  # A terminal obeys what is not visible.


class LoginFailed(Exception):
    """There is no refresh token; the sentence says why and what helps, and holds no code, token or secret."""


class NotOurs(LoginFailed):
    """What came does not answer our request; somebody else's request, or an attack."""


def shown(text: str) -> str:
    """Give a vendor's words in a form that may stand in a terminal."""
    plain = _UNSEEN.sub(" ", text).strip()
    return plain if len(plain) <= TEXT_MAX else plain[:TEXT_MAX] + "..."
