"""Whatever a server makes of a path: if it leads out for one of them, it does not get there."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.paths import escapes, has_dot_segments

DOTS = {b"2e", b"2E", b"c0%ae", b"e0%80%ae", b"u002e", b"uff0e", b"ef%bc%8e"}
SLASHES = {b"2f", b"2F", b"c0%af", b"u002f", b"ef%bc%8f"}
BACKSLASHES = {b"5c", b"c1%9c", b"u005c"}
FORMS = sorted(DOTS | SLASHES | BACKSLASHES | {b"3b", b"25"})
PLAIN = {
    **dict.fromkeys(DOTS, b"."), **dict.fromkeys(SLASHES, b"/"), **dict.fromkeys(BACKSLASHES, b"\\"), b"3b": b";",
    b"25": b"%",
}  # fmt: skip
TOKENS = [
    b"a",
    b".",
    b"..",
    b"/",
    b"/",
    b"//",
    b"\\",
    b";",
    b";x=1",
    *(b"%" + form for form in FORMS),
    b"%252e",
    b"%252f",
]
PATHS = st.lists(st.sampled_from(TOKENS), max_size=12).map(lambda tokens: b"/" + b"".join(tokens))
READERS = st.tuples(st.sets(st.sampled_from(FORMS)), st.integers(0, 3), st.booleans(), st.booleans(), st.booleans())

Reader = tuple[set[bytes], int, bool, bool, bool]


def leads_out(path: bytes, reader: Reader) -> bool:
    """Read a path as one server does: which forms it knows, how often it decodes, and what it does with the rest."""
    forms, rounds, knows_backslash, strips_parameters, merges_slashes = reader
    if forms:
        known = re.compile(b"%(" + b"|".join(sorted(forms)) + b")")
        for _ in range(rounds):
            path = known.sub(lambda match: PLAIN[match[1]], path)
    if knows_backslash:
        path = path.replace(b"\\", b"/")
    segments = path.split(b"/")[1:]
    if strips_parameters:
        segments = [segment.partition(b";")[0] for segment in segments]
    depth = 0
    for segment in segments:
        if segment == b"..":
            depth -= 1
        elif segment != b"." and (segment or not merges_slashes):
            depth += 1
        if depth < 0:
            return True
    return False


@given(PATHS, READERS)
@example(b"/a%ef%bc%8fb/%c0%ae%c0%ae/%c0%ae%c0%ae/x", ({b"c0%ae"}, 1, False, False, False))
@example(b"/a%2fb/%2e%2e/%2e%2e/x", ({b"2e"}, 1, False, False, False))
@example(b"/;x%2fa/..", (set(), 0, False, True, True))
@example(b"/a;%2f../../../x", (set(), 0, False, True, False))
def test_what_leads_out_for_any_server_is_refused(path: bytes, reader: Reader) -> None:
    """Some know overlong dots and no fullwidth slashes, some decode twice; all of them are possible vendors."""
    if leads_out(path, reader):
        assert escapes(path)
        assert has_dot_segments(path)


@pytest.mark.parametrize(
    "path",
    [b"/a%2Fb//c/../d", b"/", b"", b"//", b"/a/b/../../c", b"/...", b"/a..b", b"/.well-known/x", b"/100%25", b"/a/./b",
     b"/%2Fb/../x", b"/caf%C3%A9.txt", b"/%EF%BC%91%EF%BC%8Etxt", b"/a;v=1.2/b", b"/a%2F../x"],
)  # fmt: skip
def test_what_stays_inside_passes(path: bytes) -> None:
    """SDKs send dots, encoded slashes and parameters that are none of our business."""
    assert not escapes(path)
