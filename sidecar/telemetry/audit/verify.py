"""Verify: `sidecar audit verify FILE...`; reads audit logs and says what of them is not as it was written."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sidecar.telemetry.audit.chain_check import ChainCheck, Finding
from sidecar.telemetry.audit.last import Last, compare, noted
from sidecar.telemetry.audit.paths import numbered
from sidecar.telemetry.audit.record import GENESIS, LINE_MAX, read

FILES_LIMIT = 10_000
FINDINGS_MAX = 1000  # More: not told one by one.


class Report(NamedTuple):
    """What was found; `summary` tells how far the chain goes."""

    findings: list[Finding]
    summary: str

    @property
    def exit_code(self) -> int:
        """0 when nothing is wrong, 1 otherwise, as the commands have it."""
        return 1 if self.findings else 0


def verify(paths: Sequence[Path], last_hash: str | None = None) -> Report:
    """Check files that belong to one chain, in whatever order they are named.

    A single one is checked with the rotated ones beside it (FILE.1, ...), and with what FILE.last says of its end.
    `last_hash` is a hash that was noted elsewhere, such as in a line `audit_rotated` or `audit_stopped` of the log: it
    must occur.
    """
    chosen = _with_rotated(paths[0]) if len(paths) == 1 else list(paths)
    notes = {path: noted(path) for path in chosen}  # First: the sidecar may be writing.
    check = ChainCheck()
    is_found = False
    for path in sorted(chosen, key=_first_seq):
        check.begin(str(path))
        try:
            with path.open("rb") as file:
                for line in _lines(file):
                    check.feed(line)
                    is_found = is_found or (last_hash is not None and _has(line, last_hash))
                    if len(check.findings) >= FINDINGS_MAX:
                        return Report(check.findings, f"more than {FINDINGS_MAX} problems; the rest was not read")
        except OSError as error:
            check.findings.append(Finding(str(path), 0, f"cannot be read: {error.strerror or error}"))
            continue
        _compare_end(check, path, notes[path])
    if last_hash is not None and not is_found:
        check.findings.append(Finding(str(paths[0]), 0, f"no record has the hash {last_hash}: lines are missing"))
    return Report(check.findings, _summary(check, has_note=any(notes.values()) or last_hash is not None))


def verify_stream(stream: BinaryIO, name: str = "-") -> Report:
    """Check what was captured of stdout: lines of the log among the records are passed over, and chains may begin."""
    check = ChainCheck(may_restart=True)
    check.begin(name)
    for line in _lines(stream):
        if _is_of_the_log(line):
            check.skip()
        else:
            check.feed(line)
        if len(check.findings) >= FINDINGS_MAX:
            break
    return Report(check.findings, _summary(check, has_note=False))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LINE_MAX + 1):
        yield line


def _with_rotated(path: Path) -> list[Path]:
    found = [path]
    for number in range(1, FILES_LIMIT):
        older = numbered(path, number)
        if not older.exists():
            break
        found.append(older)
    return found


def _first_seq(path: Path) -> float:
    """Give what files are put in order by; what does not begin with a record comes last, and is reported there."""
    try:
        with path.open("rb") as file:
            stated = read(file.readline(LINE_MAX + 1).removesuffix(b"\n"))
    except OSError:
        stated = None
    return float("inf") if stated is None else stated.seq


def _has(line: bytes, digest: str) -> bool:
    stated = read(line.removesuffix(b"\n"))
    return stated is not None and stated.hash == digest.encode()


def _compare_end(check: ChainCheck, path: Path, note: Last | None) -> None:
    problem = compare(note, check.last)
    if problem:
        check.findings.append(Finding(str(path), 0, problem))


def _is_of_the_log(line: bytes) -> bool:
    try:
        fields = json.loads(line)
    except ValueError:
        return b'"msg":"audit"' not in line
    return not (isinstance(fields, dict) and fields.get("msg") == "audit")


def _summary(check: ChainCheck, *, has_note: bool) -> str:
    first, last = check.first, check.last
    if first is None or last is None:
        return "no audit records"
    count = f"{check.records} record" if check.records == 1 else f"{check.records} records"
    parts = [f"{count}, {first.seq} to {last.seq}, last hash {last.hash.decode()}"]
    if first.previous != GENESIS:
        parts.append("the chain began in an earlier file, which is not here")
    if not has_note and last.kind != "stop":
        parts.append("whether records at the end were cut off cannot be told without FILE.last or a hash from the log")
    return "; ".join(parts)
