"""The dashboard: each of its queries is PromQL, over metrics and labels that there are; so are those of the rules."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.telemetry.table import TABLE
from tests.operations.expressions import problems
from tests.operations.promtool import DASHBOARD, promtool, rules

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
# Grafana's variables, by what they may stand for.
STANDS_FOR = {"$__rate_interval": "5m", "$namespace": "shop|.*", "$pod": ".*", "$service": "crm"}
QUESTIONS = [
    "Is it us or the vendor?",
    "How near is the limit?",
    "What waits?",
    "Are credentials fresh?",
    "What comes in (webhooks)?",
    "Does the sidecar itself keep up?",
]


def filled(expression: str) -> str:
    """Put values where Grafana does."""
    for variable, value in STANDS_FOR.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def queries() -> dict[str, str]:
    """Give every query, by where it is."""
    return {
        f"{panel['title']}, {target['refId']}": filled(target["expr"])
        for panel in PANELS
        for target in panel["targets"]
    }


def test_promtool_reads_every_query(tmp_path: Path) -> None:
    """As a rule's expression: that is how promtool takes one."""
    asked = [{"record": f"query_{number}", "expr": query} for number, query in enumerate(queries().values())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": asked}]}))
    code, said = promtool("check", "rules", str(file))
    assert code == 0, said


def test_promtool_would_refuse_what_is_no_query(tmp_path: Path) -> None:
    """So the test above says something."""
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "x", "rules": [{"record": "x", "expr": "sum by (x (y)"}]}]}))
    assert promtool("check", "rules", str(file))[0] != 0


@pytest.mark.parametrize("where", [*queries(), *rules()])
def test_every_metric_and_label_is_there(where: str) -> None:
    """A name that was changed in the table alone would leave an alert that never fires."""
    expression = queries()[where] if where in queries() else rules()[where]["expr"]
    assert list(problems(expression)) == []


@pytest.mark.parametrize(
    "expression",
    ["sidecar_no_such_thing", 'sidecar_calls_total{colour="x"}', "sum by (colour) (sidecar_calls_total)", "vector(1)"],
)
def test_a_name_that_is_not_there_is_found(expression: str) -> None:
    """So the test above says something."""
    assert list(problems(expression))


def test_there_is_a_row_for_each_question() -> None:
    """In this order, each with panels below it."""
    titles = [(panel["type"] == "row", panel["title"]) for panel in BOARD["panels"]]
    assert [title for is_row, title in titles if is_row] == QUESTIONS
    assert [before and after for (before, _), (after, _) in pairwise(titles)].count(True) == 0
    assert not titles[-1][0]


def test_the_panels_lie_beside_each_other() -> None:
    """None hides another, and none has another's number."""
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells


def test_the_data_source_is_chosen_by_who_looks() -> None:
    """Neither the dashboard nor a panel of it names one of somebody's."""
    variables = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "pod", "service"]
    assert variables["datasource"]["type"] == "datasource"
    text = DASHBOARD.read_text()
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${datasource}", "sidecar"}
    for name in ("namespace", "pod", "service"):
        metric = re.search(r"label_values\((\w+)", variables[name]["definition"])
        assert metric is not None
        assert metric[1] in {row.name for row in TABLE}


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    """What nobody shows nobody sees."""
    text = " ".join([*queries().values(), *(rule["expr"] for rule in rules().values())])
    assert [row.name for row in TABLE if row.name not in text] == []
