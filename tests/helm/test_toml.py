"""TOML by the chart's own templates: what YAML says is what the sidecar reads."""

import tomllib
from typing import Any

import helm_python
import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from sidecar.config.load import read_text
from tests.helm.charts import Object, Values, benched, example_fragment, laid, only, rendered

NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e15, 1e15)  # What a float of JSON holds exactly.
KEYS = st.sampled_from(["a", "b-c", "x.y", "", 'q"', "ü", "a b"]) | st.text()
LEAVES = st.booleans() | NUMBERS | st.text()


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Give tables, with keys that need quotes and values that are null."""
    return st.dictionaries(KEYS, values | st.none(), max_size=4)


# No null in a list: the chart refuses it, since TOML has no word for it.
ITEMS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | tables(inner), max_leaves=12)


def without_null(value: Any) -> Any:
    """Give what is left when null means: not there."""
    if isinstance(value, dict):
        return {key: without_null(inner) for key, inner in value.items() if inner is not None}
    return [without_null(inner) for inner in value] if isinstance(value, list) else value


def read(data: dict[str, Any]) -> dict[str, Any]:
    """Render, as into a ConfigMap, and decode."""
    return tomllib.loads(benched("toml", {"data": data})["toml"])


@settings(max_examples=150)
@example({"text": '"\\\n\t\x00\x7f\x85\x9f\u2028\ufeff\U0001f600<&>'})
@example({"a": {"b": {}, "c": None}, "d": [[1], [{"e": 1.5, "f": [{}]}]]})
@given(tables(ITEMS))
def test_what_is_written_is_read_again(data: dict[str, Any]) -> None:
    """For tables, lists and texts of any kind, in a ConfigMap of YAML."""
    assert read(data) == without_null(data)


def test_whole_numbers_stay_whole() -> None:
    """Helm's values are floats, its own toToml writes 3.0, and the sidecar refuses that where it wants a count."""
    data = {"port": 4000, "most": 2**53 - 1, "million": 1_000_000, "list": [1, 20_000_000], "none": 0, "half": 0.5}
    found = read(data)
    assert found == data
    assert {key for key, value in found.items() if type(value) is int} == {"port", "most", "million", "none"}
    assert {type(value) for value in found["list"]} == {int}


def test_an_empty_table_is_there() -> None:
    """`queue: {}` switches a policy on."""
    assert read({"services": {"crm": {"queue": {}}}}) == {"services": {"crm": {"queue": {}}}}
    assert read({"hedge": {}, "retry": False}) == {"hedge": {}, "retry": False}


BEARER: Values = {"kind": "bearer", "secret": "vendors:crm"}
COMMON: Values = {
    "config": {
        "services": {
            "crm": {"base_url": "https://crm.example", "timeout": "5s", "queue": {}, "auth": BEARER},
            "erp": {"base_url": "https://erp.example", "routes": {"a": {"match": "GET /a"}, "b": {"match": "* /**"}}},
        },
        "store": {"kind": "sqlite"},
        "webhooks": {"stripe": {"provider": "stripe", "secret": "vendors:hook"}},
        "audit": {},
    },
    "routeOrder": {"erp": ["a", "b"]},
    "secretVolumes": {"vendors": {"secret": {"secretName": "v"}}, "old": {"secret": {"secretName": "o"}}},
    "files": {"a.pem": "a", "own/b.toml": "b"},
    "tokens": {"warehouse": {"audience": "w"}},
}


@pytest.mark.parametrize("chart", ["examples/bare", "injector"])
def test_null_takes_away_what_is_in_common(chart: str) -> None:
    """Of a service, a store, a section, a file: as if nobody had written it. Helm alone leaves it there as null."""
    away: Values = {
        "config": {
            "services": {"crm": {"timeout": None, "queue": None}, "erp": None},
            "store": None,
            "webhooks": {"stripe": None},
            "audit": None,
            "sidecar": {"drain_timeout": None},
            "listen": {"telemetry": None, "webhooks": None, "egress": None},
            "secrets": {"never": None},
        },
        "routeOrder": {"erp": None},
        "secretVolumes": {"old": None},
        "files": {"own/b.toml": None},
        "tokens": {"warehouse": None},
    }
    (text, pod), (expected, without) = [_text_and_pod(chart, each) for each in (laid(COMMON, away), LEFT)]
    assert read_text(text) == read_text(expected)  # A table of which nothing is left may stand there.
    assert pod == without


LEFT: Values = {
    "config": {"services": {"crm": {"base_url": "https://crm.example", "auth": BEARER}}},
    "secretVolumes": {"vendors": {"secret": {"secretName": "v"}}},
    "files": {"a.pem": "a"},
}


def _text_and_pod(chart: str, values: Values) -> tuple[str, Object]:
    if chart == "injector":
        return "", example_fragment(values)
    objects = rendered(chart, {"sidecar": values})
    text = only(objects, "ConfigMap", "app-sidecar-config")["data"]["sidecar.toml"]
    return text, only(objects, "Deployment")["spec"]["template"]


def test_what_is_needed_is_not_taken_away() -> None:
    """A service without a base_url is none."""
    with pytest.raises(helm_python.HelmValuesError, match=r"at '/config/services/crm/base_url': got null"):
        rendered("sidecar", laid(LEFT, {"config": {"services": {"crm": {"base_url": None}}}}))
