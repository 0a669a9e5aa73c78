"""Screen: shows the tour, in colours where somebody looks, in plain lines where a program reads."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sidecar.demo.client import Ask
from sidecar.demo.stage import Stage
from sidecar.demo.step import Chapter, Shown

WIDTHS = (4, 37, 6, 8, 7, 0)  # Columns before the last one, which takes the rest; 0 is any width.
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
        self.say(f"config   {stage.config_file}")
        self.say("")
        self._row(TITLES, "bold")

    def begin(self, chapter: Chapter) -> None:
        """Head the steps that belong together."""
        self.say("")
        self._console.print(f"[bold]{escape(chapter.title)}[/bold]")

    def show(self, shown: Shown) -> None:
        """Show one step."""
        answer = shown.answers[-1]
        said = shown.problem or shown.step.did
        if code := answer.header("Sidecar-Error"):
            said = f"{said} ({code})"
        self._row(
            (
                "FAIL" if shown.problem else "ok",
                f"{shown.ask.method} {_where(shown.ask)}{f' x{shown.step.times}' if shown.step.times > 1 else ''}",
                str(answer.status or "-"),
                "-" if shown.attempts is None else str(shown.attempts),
                f"{shown.seconds * 1000:.0f} ms",
                f"{shown.step.title}: {said}",
            ),
            "red" if shown.problem else "yellow" if shown.step.code else "green",
        )

    def close(self, shown: list[Shown]) -> None:
        """Say how it went."""
        held = sum(not one.problem for one in shown)
        self.say("")
        for one in shown:
            if one.problem:
                self.say(f"did not hold: {one.step.title}: {one.problem}")
        self.say(f"{held} of {len(shown)} steps came out as expected")

    def invite(self, stage: Stage) -> None:
        """Print what to try by hand."""
        egress, admin, telemetry = (
            f"http://localhost:{stage.ports[name]}" for name in ("egress", "admin", "telemetry")
        )
        payments, down = f"{egress}/payments", f"{egress}/down"
        self.say("\nTry it yourself; Ctrl-C ends the demo:\n")
        for line in (
            f"curl -i {payments}/v1/echo",
            f"curl -i http://payments.localhost:{stage.ports['egress']}/v1/charges",
            f"curl -i -x {egress} {stage.vendor.url}/v1/pages",
            f"curl -i -H 'Sidecar-Timeout: 500ms' {payments}/v1/faults/slow",
            f"curl -N {payments}/v1/stream",
            f"curl -i {egress}/flaky/v1/flaky       # again and again; the vendor fails, the app does not see it",
            f"curl -i {egress}/flaky/v1/faults/500  # 429, drop, garbage, slow: it does not get better",
            f"for i in 1 2 3 4 5 6; do curl -so /dev/null -w '%{{http_code}}\\n' {down}/v1/faults/500; done",
            f"""curl -sX POST -d '{{"state":"open"}}' {admin}/api/services/payments/circuit  # and "auto" again""",
            f"curl -s {admin}/api/services  # the machines of each policy; {admin}/ is a page of the same",
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
    if ask.way == "own":
        return ask.path.partition(".")[0]  # Without the number of a job, which is another each time.
    if ask.way == "host":
        return f"{ask.service}.localhost{ask.path}"
    return f"<vendor>{ask.path}" if ask.way == "proxy" else f"/{ask.service}{ask.path}"
