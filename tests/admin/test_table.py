"""What people read at a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from sidecar.admin.table import print_services

CRM = {
    "base_url": "https://api.crm.example/v2",
    "routes": ["search"],
    "calls_in_flight": 3,
    "pool": {"idle": 1, "busy": 2},
    "circuit": [
        {"state": "closed", "failure_rate": 0.125, "next_probe_in": None},
        {"route": "search", "state": "open", "next_probe_in": 12.5},
    ],
    "rate_limit": {"waiting": 0, "windows": {"90/s": {"permits": 12.0}, "10000/day": {"used": 381}}, "closed_for": {}},
}


def printed(answer: Any, width: int = 120) -> list[str]:
    """The lines as printed, without what fills them up."""
    out = io.StringIO()
    print_services(answer, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_each_part_of_each_service_has_a_row() -> None:
    """Whatever the depth; what is not there is left out, and a list has a row for each."""
    assert printed({"generation": 1, "services": {"crm": CRM, "llm": {"calls_in_flight": 0}}}) == [
        "name  part                          now",
        "crm   service                       base url https://api.crm.example/v2  calls in flight 3",
        "crm   pool                          idle 1  busy 2",
        "crm   circuit                       state closed  failure rate 0.125",
        "crm   circuit                       route search  state open  next probe in 12.5",
        "crm   rate limit                    waiting 0",
        "crm   rate limit windows 90/s       permits 12",
        "crm   rate limit windows 10000/day  used 381",
        "llm   service                       calls in flight 0",
    ]


def test_fifty_services_can_be_searched_line_by_line() -> None:
    """All circuits one below the other, without the rest."""
    lines = printed({"services": {f"vendor-{number}": CRM for number in range(50)}})
    assert len(lines) == 1 + 50 * 7
    circuits = [line for line in lines if "circuit" in line]
    assert len(circuits) == 100
    assert all(line.startswith("vendor-") for line in circuits)
    assert len({line.index("circuit") for line in circuits}) == 1


def test_a_narrow_terminal_folds_and_loses_nothing() -> None:
    """Half a URL helps nobody."""
    text = "".join(line.replace(" ", "") for line in printed({"services": {"crm": CRM}}, width=40))
    assert "failurerate0.125" in text


def test_brackets_are_no_markup() -> None:
    """A value may come from anywhere."""
    assert "why [red]x[/red]" in printed({"services": {"crm": {"why": "[red]x[/red]", "is_well": True}}})[1]


@pytest.mark.parametrize("answer", [{"services": {}}, {"services": None}, {}, [], None, "x"])
def test_without_services_it_says_so(answer: Any) -> None:
    """Also when the answer is none of ours."""
    assert printed(answer) == ["no services are configured"]
