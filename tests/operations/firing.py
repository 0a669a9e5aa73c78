"""Firing: promtool's unit tests of the alerts, put together: series as a scrape labels them, and what is to fire."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.operations.cases import Case, Series
from tests.operations.promtool import ALERTS, promtool, rules

PLACES = {"namespace": "shop", "job": "shop/app"}
UNKNOWN = '{{ or $labels.service "no service" }}'


def scraped(series: Series) -> list[dict[str, str]]:
    """Write series as a scrape of the pods of one job labels them."""
    found = []
    for name, values in series.items():
        metric, _, labels = name.removesuffix("}").partition("{")
        pod = re.search(r'pod="([^"]*)"', labels)
        places = {**PLACES, "instance": f"{pod[1] if pod else 'a'}:4002"} | ({} if pod else {"pod": "a"})
        told = ",".join([f'{label}="{value}"' for label, value in places.items()] + ([labels] if labels else []))
        found.append({"series": f"{metric}{{{told}}}", "values": values})
    return found


def expected(case: Case) -> dict[str, Any]:
    """Give the alert as Alertmanager gets it."""
    rule = rules()[case.alert]
    description = rule["annotations"]["description"].replace(UNKNOWN, case.labels.get("service", "no service"))
    for label, value in {**PLACES, **case.labels}.items():
        description = description.replace(f"{{{{ $labels.{label} }}}}", value)
    assert "{{" not in description, "the description stays the same while the alert fires: no value is in it"
    return {
        "exp_labels": {**PLACES, **case.labels, "severity": rule["labels"]["severity"]},
        "exp_annotations": {
            "summary": case.summary,
            "description": description,
            "runbook_url": rule["annotations"]["runbook_url"],
        },
    }


def at(second: int, alert: str, *alerts: dict[str, Any]) -> dict[str, Any]:
    """Ask which alerts of this name fire at an instant."""
    return {"eval_time": f"{second}s", "alertname": alert, "exp_alerts": list(alerts)}


def run(directory: Path, *tests: dict[str, Any]) -> None:
    """Have promtool run these."""
    file = directory / "alerts.test.yaml"
    whole = {
        "rule_files": [str(file) for file in ALERTS],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", **t} for t in tests],
    }
    file.write_text(yaml.safe_dump(whole))
    code, said = promtool("test", "rules", str(file))
    assert code == 0, said
