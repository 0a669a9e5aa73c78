"""Expressions: what a PromQL expression names: metrics with their labels, and the labels by which it adds up."""

import re
from collections.abc import Iterator

from sidecar.telemetry.table import TABLE

SCRAPED = frozenset({"namespace", "job", "pod", "instance"})  # What the scrape puts on every series.
# Of prometheus_client, and of Prometheus itself.
OTHERS = {
    "process_cpu_seconds_total", "process_max_fds", "process_open_fds", "process_resident_memory_bytes",
    "process_start_time_seconds", "up",
}  # fmt: skip
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"\b((?:sidecar|process)_\w+|up)\b(?!\s*\()(?:\{([^}]*)\})?")
_LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*""')
_GROUPING = re.compile(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)")


def known() -> dict[str, frozenset[str]]:
    """Give every series that there is to ask for, with its labels."""
    found: dict[str, frozenset[str]] = dict.fromkeys(OTHERS, frozenset())
    for row in TABLE:
        labels = frozenset(row.labels)
        if row.kind == "histogram":
            found |= {f"{row.name}_bucket": labels | {"le"}, f"{row.name}_count": labels, f"{row.name}_sum": labels}
        else:
            found[row.name] = labels
    return found


def problems(expression: str) -> Iterator[str]:
    """Say what it names that is not there."""
    text = _STRINGS.sub('""', expression)
    there = known()
    named = _SELECTOR.findall(text)
    if not named:
        yield f"{expression}: it names no metric"
    all_labels = set(SCRAPED)
    for metric, matchers in named:
        if metric not in there:
            yield f"{expression}: there is no metric {metric}"
            continue
        all_labels |= there[metric]
        for label in _LABEL.findall(matchers):
            if label not in there[metric] | SCRAPED:
                yield f"{expression}: {metric} has no label {label}"
    for grouping in _GROUPING.findall(text):
        for label in (part.strip() for part in grouping.split(",")):
            if label not in all_labels:
                yield f"{expression}: nothing there has a label {label}"
