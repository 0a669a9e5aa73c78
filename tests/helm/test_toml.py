"""TOML by the chart's own templates: what YAML says is what the sidecar reads."""

import tomllib
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings

from tests.helm.charts import benched

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
