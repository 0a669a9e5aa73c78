"""Output: a result as JSON for the report, and as a table for people."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]


def print_result(result: Mapping[str, Any], rows: Rows, columns: Sequence[str], path: str | None) -> None:
    """Print JSON and table; with `path` the JSON goes there as well."""
    made_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    text = json.dumps({"made_at": made_at, **result}, indent=1)
    print(text)
    print()
    print(table(rows, columns))
    if path is not None:
        Path(path).write_text(text + "\n")


def table(rows: Rows, columns: Sequence[str]) -> str:
    """Lay the rows out as a Markdown table."""
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(cell(row.get(column, "")) for column in columns) + " |")
    return "\n".join(lines)


def cell(value: object) -> str:
    """Write a figure with as many digits as it is good for."""
    if isinstance(value, float) and abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
