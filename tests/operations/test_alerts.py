"""The alerts: read, run and unit-tested by Prometheus' own tool; each has its section in the runbook."""

import re
from pathlib import Path

import pytest

from tests.operations.cases import CASES, Case
from tests.operations.firing import at, expected, run, scraped
from tests.operations.promtool import ALERTS, RUNBOOK, promtool, rules, seconds

MINUTE = 60
END = 120 * MINUTE
SCOPE = 'job=~".+"'
RUNBOOK_URL = "https://runbook.invalid/runbook.md#"


def test_promtool_reads_the_rules() -> None:
    """As they stand, without a template around them."""
    code, said = promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, ALERTS))
    assert code == 0, said
    assert sum(int(count) for count in re.findall(r"([0-9]+) rules found", said)) == len(rules())


def test_there_is_a_case_for_every_alert() -> None:
    """What nobody tried does not fire when it should."""
    assert [case.alert for case in CASES] == list(rules())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_it_fires_after_its_time_and_not_before(case: Case, tmp_path: Path) -> None:
    """With its labels and its words, and with no label of a pod; and just below its threshold it stays quiet."""
    begins = case.true_at * MINUTE + seconds(rules()[case.alert].get("for", "0s"))
    tests = [at(begins, case.alert, expected(case))]
    if begins >= MINUTE:
        tests.append(at(begins - MINUTE, case.alert))
    quiet = [at(second, case.alert) for second in range(0, END, 5 * MINUTE)]
    run(
        tmp_path,
        {"input_series": scraped(case.fires), "alert_rule_test": tests},
        {"input_series": scraped(case.quiet), "alert_rule_test": quiet},
    )


def test_a_rollout_does_not_end_an_alert(tmp_path: Path) -> None:
    """One pod goes and another comes: its counters begin anew, and the share of failing calls is the same."""
    call = 'sidecar_calls_total{service="crm",outcome="%s",pod="%s"}'
    series = {
        call % ("success", "a"): "0+80x20 stale",
        call % ("failure", "a"): "0+20x20 stale",
        call % ("success", "b"): "_x18 0+80x100",
        call % ("failure", "b"): "_x18 0+20x100",
    }
    [case] = [case for case in CASES if case.alert == "SidecarCallsFailing"]
    told = expected(case._replace(summary="20% of the calls to crm fail"))
    run(
        tmp_path,
        {
            "input_series": scraped(series),
            "alert_rule_test": [at(minute * MINUTE, case.alert, told) for minute in range(11, 50)],
        },
    )


def test_a_rollout_begins_no_alert(tmp_path: Path) -> None:
    """New pods begin at nothing, with caches and tokens to be fetched; old ones go while their last state is bad."""
    series = {
        'sidecar_circuit_state{service="crm",pod="a"}': "0x5 2 stale",
        'sidecar_circuit_state{service="crm",pod="b"}': "_x6 0x100",
        'sidecar_config_reload_ok{pod="a"}': "1x5 0 stale",
        'sidecar_config_reload_ok{pod="b"}': "_x6 1x100",
        'sidecar_secret_usable{secret="files:key",pod="b"}': "_x6 0 1x100",
        'sidecar_token_renewals_total{service="crm",result="success",pod="b"}': "_x6 1x100",
        'sidecar_calls_total{service="crm",outcome="success",pod="a"}': "0+50x6 stale",
        'sidecar_calls_total{service="crm",outcome="failure",pod="a"}': "0+0x5 9 stale",
        'sidecar_calls_total{service="crm",outcome="success",pod="b"}': "_x6 0+50x100",
        'sidecar_build_info{pod="a"}': "1x6 stale",
        'sidecar_build_info{pod="b"}': "_x6 1x100",
        'up{pod="a"}': "1x6 stale",
        'up{pod="b"}': "_x5 0 1x100",
    }
    quiet = [at(second, alert) for alert in rules() for second in range(0, END, 2 * MINUTE)]
    run(tmp_path, {"input_series": scraped(series), "alert_rule_test": quiet})


@pytest.mark.parametrize("name", rules())
def test_each_alert_says_what_a_person_needs(name: str) -> None:
    """How urgent it is, what is true in one line, what helps, and where there is more."""
    rule = rules()[name]
    assert name.startswith("Sidecar")
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert list(rule["annotations"]) == ["summary", "description", "runbook_url"]
    assert rule["annotations"]["runbook_url"] == RUNBOOK_URL + name.lower()
    assert len(rule["annotations"]["summary"]) < 120
    assert rule["annotations"]["description"].endswith(".")


@pytest.mark.parametrize("name", rules())
def test_every_selector_can_be_narrowed(name: str) -> None:
    """Two charts in one cluster tell of their own sidecars only, as the scope can be replaced in each selector."""
    expression = rules()[name]["expr"]
    metrics = re.findall(r"\b(?:sidecar|process)_\w+|\bup\b", expression)
    assert metrics
    assert len(metrics) == expression.count(f"{{{SCOPE}")


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    """In the order of the rules; each with the same five answers."""
    text = RUNBOOK.read_text()
    sections = re.split(r"^### (\w+)\n", text, flags=re.MULTILINE)
    named = dict(zip(sections[1::2], sections[2::2], strict=True))
    assert list(named) == list(rules())
    for name, section in named.items():
        for part in ("**True:**", "**Users feel:**", "**Look first:**", "**Helps:**", "**Vendor:**", "**Threshold:**"):
            assert part in section, f"{name} lacks {part}"
