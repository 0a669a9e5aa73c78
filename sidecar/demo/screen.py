"""Screen: shows the tour, in colours where somebody looks, in plain lines where a program reads."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sidecar.demo.client import Ask
from sidecar.demo.stage import Stage
from sidecar.demo.step import Shown

WIDTHS = (4, 36, 7, 8, 8, 0)  # Columns before the last one, which takes the rest; 0 is any width.
TITLES = ("", "the app called", "status", "attempts", "time", "what the sidecar did")


class Screen:
    """Writes to the terminal, or to whatever stands in its place."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def open(self, stage: Stage) -> None:
        """Say who plays, and where."""
        for listener, usual in stage.taken.items():
            self.say(f"port {usual} is taken; {listener} listens on {stage.ports[listener]} instead")
        self.say(f"vendor   {stage.vendor.url}, wants a bearer token that only the sidecar has")
        self.say(f"sidecar  {stage.client.egress}/payments/...")
        self.say(f"log      {stage.log_file}")
        self.say("")
        self._row(TITLES, "bold")

    def show(self, shown: Shown) -> None:
        """Show one call."""
        answer = shown.answer
        said = shown.problem or shown.step.did
        if code := answer.header("Sidecar-Error"):
            said = f"{said} ({code})"
        self._row(
            (
                "FAIL" if shown.problem else "ok",
                f"{shown.ask.method} {_where(shown.ask)}",
                str(answer.status or "-"),
                answer.header("Sidecar-Attempts") or "-",
                f"{answer.seconds * 1000:.0f} ms",
                f"{shown.step.title}: {said}",
            ),
            "red" if shown.problem else "yellow" if shown.step.code else "green",
        )

    def close(self, shown: list[Shown], expected: int) -> None:
        """Say how it went."""
        held = sum(not one.problem for one in shown)
        self.say("")
        for one in shown:
            if one.problem:
                self.say(f"did not hold: {one.step.title}: {one.problem}")
        self.say(f"{held} of {expected} calls came out as expected")

    def invite(self, stage: Stage) -> None:
        """Print what to try by hand."""
        egress, admin, telemetry = (
            f"http://localhost:{stage.ports[name]}" for name in ("egress", "admin", "telemetry")
        )
        payments = f"{egress}/payments"
        self.say("\nTry it yourself; Ctrl-C ends the demo:\n")
        for line in (
            f"curl -i {payments}/v1/echo",
            f"curl -i http://payments.localhost:{stage.ports['egress']}/v1/charges",
            f"curl -i -x {egress} {stage.vendor.url}/v1/pages",
            f"curl -i -H 'Sidecar-Timeout: 500ms' {payments}/v1/faults/slow",
            f"curl -i {payments}/v1/faults/429    # 500, drop, garbage",
            f"curl -i {payments}/v1/flaky         # again and again: now and then slow, 429, 500, dropped",
            f"curl -N {payments}/v1/stream",
            f"curl -s {admin}/api/services",
            f"curl -s {telemetry}/metrics",
            f"tail -f {stage.log_file}",
        ):
            self.say(f"  {line}")

    def say(self, line: str) -> None:
        """Print a line as it is."""
        self._console.print(escape(line))

    def _row(self, cells: tuple[str, ...], style: str) -> None:
        if not self._console.is_terminal:
            self.say("  ".join(f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)).rstrip())
            return
        row = Table.grid(padding=(0, 2))
        for width in WIDTHS:
            row.add_column(width=width or None, overflow="fold")
        row.add_row(escape(cells[0]), *(escape(cell) for cell in cells[1:]), style=style if style == "bold" else None)
        row.columns[0].style = style
        self._console.print(row)


def _where(ask: Ask) -> str:
    """Say in short where a call went."""
    if ask.way == "telemetry":
        return ask.path
    if ask.way == "host":
        return f"{ask.service}.localhost{ask.path}"
    return f"<vendor>{ask.path}" if ask.way == "proxy" else f"/{ask.service}{ask.path}"
