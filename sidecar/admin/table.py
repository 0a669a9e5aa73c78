"""Table: what the services do now, for people at a terminal.

A row for each part of each service, with the service's name in front: so that one service is `| grep ^crm`, and all
circuits, one below the other, are `| grep circuit`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

PIPE_WIDTH = 160  # Columns where there is no terminal that says its own.
_OWN = "service"  # The part that is the service itself.


def print_services(answer: Any, console: Console | None = None) -> None:
    """Print the answer of `GET /api/services`."""
    console = console or _console()
    services = answer.get("services") if isinstance(answer, Mapping) else None
    if not isinstance(services, Mapping) or not services:
        console.print("no services are configured")
        return
    # Folded, not cut: half a URL helps nobody.
    table = Table(*(Column(title, overflow="fold") for title in ("name", "part", "now")), box=None, pad_edge=False)
    for name, service in services.items():
        for part, facts in _rows("", service):
            # Text, so that brackets in a value are not read as markup.
            table.add_row(Text(name), Text(part or _OWN), Text(facts))
    console.print(table)


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def _rows(part: str, shown: Any) -> Iterator[tuple[str, str]]:
    """Give (part, facts) of a snapshot: its plain values in one row, and what lies deeper in rows of its own."""
    if isinstance(shown, list):
        for one in shown:
            yield from _rows(part, one)
    elif isinstance(shown, Mapping):
        facts = [f"{_words(name)} {_plain(value)}" for name, value in shown.items() if _is_plain(value)]
        if facts:
            yield part, "  ".join(facts)
        for name, value in shown.items():
            yield from _rows(f"{part} {_words(name)}".lstrip(), value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _plain(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
