"""Chain check: finds what was removed, changed, inserted, moved or cut off in a chain of audit records."""

from typing import NamedTuple

from sidecar.telemetry.audit.record import GENESIS, LINE_MAX, Stated, core_of, link, read


class Finding(NamedTuple):
    """Something that is wrong, and where."""

    file: str
    line: int  # From 1; 0: the file as a whole.
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.sentence}" if self.line else f"{self.file}: {self.sentence}"


class ChainCheck:
    """Reads lines in their order, and keeps what the next one must follow from. Pure."""

    def __init__(self, *, may_restart: bool = False) -> None:
        self.findings: list[Finding] = []
        self.records = 0
        self.first: Stated | None = None
        self.last: Stated | None = None  # What the next line has to go on from.
        self.may_restart = may_restart  # A new chain may begin in the middle: the stdout of several processes.
        self._file = ""
        self._line = 0

    def begin(self, file: str) -> None:
        """Go on with the next file; they come in the order in which they were written."""
        self._file = file
        self._line = 0

    def feed(self, raw: bytes) -> None:
        """Look at a line, with its newline."""
        self._line += 1
        if not raw.endswith(b"\n"):
            what = "longer than any record" if len(raw) > LINE_MAX else "cut off: it has no end of line"
            self._find(f"the line is {what}")
            return
        line = raw[:-1]
        stated = read(line)
        if stated is None:
            self._find("this is no audit record: the line was changed, cut or put in")
            return
        self.records += 1
        self._follow(stated, core_of(line))
        if stated.problem:
            self._find(f"the sidecar found at its start: {stated.problem}")

    def skip(self) -> None:
        """Count a line that is none of ours."""
        self._line += 1

    def _follow(self, stated: Stated, core: bytes) -> None:
        last = self.last
        is_first = self._line == 1 or last is None
        if stated.previous is not None and link(stated.previous, core) == stated.hash:
            if last is None or stated.previous == last.hash:
                self._take(stated)
                return
            if is_first or (self.may_restart and stated.previous == GENESIS):
                self._begin_anew(stated)
                return
        if last is None:
            self._find("the chain does not begin here: the lines before, or the file before, are missing")
        elif link(last.hash, core) != stated.hash:
            self._find(_why(last, stated))
        if last is None or stated.seq > last.seq:
            self._take(stated)

    def _begin_anew(self, stated: Stated) -> None:
        """Take a record that begins a file or a chain, though it does not go on from the one before."""
        last = self.last
        if not self.may_restart and last is not None:
            if stated.previous == GENESIS:
                self._find(f"a new chain begins here, and does not go on from record {last.seq} of the file before")
            else:
                self._find(
                    f"the file does not go on from record {last.seq}, the last one before it: "
                    "a file between them is missing, or the end of the one before was cut off"
                )
        self._take(stated)

    def _take(self, stated: Stated) -> None:
        self.first = self.first or stated
        self.last = stated

    def _find(self, sentence: str) -> None:
        self.findings.append(Finding(self._file, self._line, sentence))


def _why(last: Stated, stated: Stated) -> str:
    """Say what most probably happened before a line that does not follow from the one before."""
    if stated.seq > last.seq + 1:
        first, final = last.seq + 1, stated.seq - 1
        gone = f"record {first} is" if first == final else f"records {first} to {final} are"
        return f"{gone} missing before this line"
    if stated.seq <= last.seq:
        return f"record {stated.seq} comes after record {last.seq}: the line was put in, repeated or moved"
    return f"record {stated.seq} does not have the hash that follows from record {last.seq}: one of the two was changed"
