"""Whatever is done to an audit log, `sidecar audit verify` finds it."""

import io
import tempfile
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from sidecar.telemetry.audit.chain_check import ChainCheck
from sidecar.telemetry.audit.record import Chain, Entry
from sidecar.telemetry.audit.verify import verify
from tests.telemetry.audit.logs import WALL, WHO, audit_file

TEXTS = st.text(max_size=30)
CONTENTS = st.lists(
    st.dictionaries(st.sampled_from(["secret", "version", "error", "é"]), TEXTS, max_size=3), max_size=6
)


def chain(contents: list[dict[str, str]]) -> bytes:
    """Write a log of one process."""
    sealed = Chain(WHO)
    lines = [sealed.seal(WALL, "start", {"previous": sealed.last.decode()})]
    lines += [sealed.seal(WALL, "secret_read", dict(content)) for content in contents]
    lines.append(sealed.seal(WALL, "stop", {}))
    return b"".join(line + b"\n" for line in lines)


def found(content: bytes) -> int:
    """Count what is wrong with a log, without the note beside it."""
    check = ChainCheck()
    check.begin("audit.jsonl")
    for line in io.BytesIO(content):
        check.feed(line)
    return len(check.findings)


@given(CONTENTS)
def test_what_was_written_is_right(contents: list[dict[str, str]]) -> None:
    """Whatever stands in the records."""
    assert found(chain(contents)) == 0


@given(CONTENTS, st.data())
def test_any_changed_byte_is_found(contents: list[dict[str, str]], data: st.DataObject) -> None:
    """In any line, at any place: digits, quotes, the hash itself, the end of the line."""
    whole = chain(contents)
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[at]))
    assert found(whole[:at] + bytes([byte]) + whole[at + 1 :]) > 0


def test_every_byte_of_a_log_counts() -> None:
    """The same without chance: each byte of a small log, with one bit turned."""
    whole = chain([{"secret": "files:key"}])
    for at in range(len(whole)):
        assert found(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) > 0


@given(CONTENTS, st.data())
def test_any_bytes_put_in_or_taken_out_are_found(contents: list[dict[str, str]], data: st.DataObject) -> None:
    """But for whole lines at the end, which the note beside the file is for."""
    whole = chain(contents)
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    other = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
    assume(not whole.startswith(other) or not other.endswith(b"\n"))
    assert found(other) > 0 or other in (whole, b"")


@given(CONTENTS, st.data())
def test_any_other_order_of_the_lines_is_found(contents: list[dict[str, str]], data: st.DataObject) -> None:
    """Also with some of them left out or repeated."""
    lines = chain(contents).splitlines(keepends=True)
    order = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=len(lines) + 2))
    assume(order != list(range(len(order))))
    assert found(b"".join(lines[at] for at in order)) > 0


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.integers(1024, 6000), st.integers(1, 4), st.data())
def test_restarts_rotations_and_kills_keep_the_chain(
    runs: list[int], size_max: int, files_max: int, data: st.DataObject
) -> None:
    """A killed process leaves a part of a record; the next one goes on."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.jsonl"
        seq = 0
        for count in runs:
            log = audit_file(path, size_max=size_max, files_max=files_max)
            log.open()
            for _ in range(count):
                log.write([Entry(WALL, "login", {"user": "x" * data.draw(st.integers(0, 300))})], 0.0)
            if data.draw(st.booleans()):
                log.close()
            else:
                log._let_go()
                whole = path.read_bytes()
                cut = data.draw(st.integers(0, 40))
                if cut:
                    path.write_bytes(whole + whole[:cut])
            seq = log._chain.seq
        if path.read_bytes().endswith(b"\n"):
            report = verify([path])
            assert report.findings == []
            assert f" to {seq - 1}," in report.summary
