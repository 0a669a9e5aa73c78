"""Examples of values in docs/kubernetes.md are rendered: ```yaml values for the chart sidecar, ```yaml injector."""

import re

import pytest
import yaml

from sidecar.config.load import read_text
from tests.helm.charts import ROOT, Values, complaints, configs, laid, rendered, versions

PAGE = (ROOT / "docs/kubernetes.md").read_text()
BLOCK = re.compile(r"^```yaml (values|injector)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHARTS: dict[str, tuple[str, Values]] = {
    "values": ("sidecar", {}),
    "injector": ("injector", {"certificate": {"kind": "certManager"}}),
}
EXAMPLES = [
    pytest.param(match[1], match[2], id=f"line {PAGE[: match.start()].count(chr(10)) + 1}")
    for match in BLOCK.finditer(PAGE)
]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES)
def test_every_example_of_values_is_rendered(kind: str, text: str) -> None:
    """To valid objects, and to a config that the sidecar takes."""
    chart, below = CHARTS[kind]
    objects = rendered(chart, laid(below, yaml.safe_load(text)), namespace="elsewhere")
    assert [found for each in objects for found in complaints(each, versions()[-1])] == []
    found = [read_text(config) for _, config in configs(objects)]
    assert len(found) == 1


def test_there_are_examples_of_both() -> None:
    """The expression above still finds them."""
    assert {match[1] for match in BLOCK.finditer(PAGE)} == set(CHARTS)
