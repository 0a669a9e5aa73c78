"""What express-rate-limit 8 sends, recorded from a server of its own: the drafts 6, 7 and 8 as they are in the wild."""

import pytest

from sidecar.core.body import Headers
from sidecar.upstream.hints.config import HintsConfig
from sidecar.upstream.hints.interpreter import Interpreter

WALL = 1_795_359_934.0

LEGACY: Headers = [
    (b"X-RateLimit-Limit", b"3"),
    (b"X-RateLimit-Remaining", b"%d"),
    (b"X-RateLimit-Reset", b"1795359994"),
]
DRAFT_6: Headers = [
    (b"RateLimit-Policy", b"3;w=60"),
    (b"RateLimit-Limit", b"3"),
    (b"RateLimit-Remaining", b"%d"),
    (b"RateLimit-Reset", b"60"),
]
DRAFT_7: Headers = [(b"RateLimit-Policy", b"3;w=60"), (b"RateLimit", b"limit=3, remaining=%d, reset=60")]
DRAFT_8: Headers = [
    (b"RateLimit", b'"3-in-1min"; r=%d; t=60'),
    (b"RateLimit-Policy", b'"3-in-1min"; q=3; w=60; pk=:MTJjYTE3YjQ5YWYy:'),
]


@pytest.mark.parametrize("left", [2, 1, 0])
@pytest.mark.parametrize(
    ("headers", "names"),
    [
        (LEGACY + DRAFT_6, ["x-ratelimit", "ratelimit"]),
        (DRAFT_7, ["ratelimit"]),
        (DRAFT_8, ["3-in-1min"]),
    ],
    ids=["draft-6", "draft-7", "draft-8"],
)
def test_each_draft_tells_what_is_left_and_when_it_ends(headers: Headers, names: list[str], left: int) -> None:
    """And on the refusal, which has Retry-After beside them, that it was for the sake of the limit."""
    sent = [(name, value % left if b"%d" in value else value) for name, value in headers]
    interpreter = Interpreter(HintsConfig())
    for status, extra in ((200, []), (429, [(b"Retry-After", b"60")])):
        answer = sent + extra
        notable = [(name.lower(), value) for name, value in answer if name.lower() in interpreter.names]
        advice = interpreter.read(status, notable, answer, None, WALL)
        assert advice is not None
        assert [told.name for told in advice.told] == names
        for told in advice.told:
            assert (told.kind, told.limit, told.remaining, told.reset_in) == ("window", 3.0, float(left), 60.0)
        assert not advice.doubts
        assert (advice.is_throttled, advice.retry_after) == ((True, 60.0) if status == 429 else (False, None))
