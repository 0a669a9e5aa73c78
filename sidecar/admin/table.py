"""Table: rows of facts, for people at a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

PIPE_WIDTH = 160  # Columns where there is no terminal that says its own.


def print_services(answer: Any, console: Console | None = None) -> None:
    """Print the answer of `GET /api/services`, a row for each service; what lies deeper than one level is left out."""
    rows = _rows(answer)
    columns = list(dict.fromkeys(name for row in rows for name, value in row.items() if _is_plain(value)))
    # Folded, not cut: half a URL helps nobody.
    table = Table(*(Column(column.replace("_", " "), overflow="fold") for column in columns))
    for row in rows:
        # Text, so that brackets in a value are not read as markup.
        table.add_row(*(Text(_shown(row.get(column))) for column in columns))
    (console or _console()).print(table if rows else "no services are configured")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def _rows(answer: Any) -> list[Mapping[str, Any]]:
    """Take a list of objects, alone or under `services`, or objects by name."""
    if isinstance(answer, Mapping) and isinstance(answer.get("services"), list | Mapping):
        answer = answer["services"]
    if isinstance(answer, Mapping):
        answer = [{"name": name, **row} for name, row in answer.items() if isinstance(row, Mapping)]
    return [_flat(row) for row in answer if isinstance(row, Mapping)] if isinstance(answer, Iterable) else []


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Lift what stands one level down into the row: `{"pool": {"idle": 1}}` is a column `pool idle`."""
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= (
            {f"{name}_{key}": inner for key, inner in value.items()} if isinstance(value, Mapping) else {name: value}
        )
    return flat


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _shown(value: Any) -> str:
    if value is None or not _is_plain(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
