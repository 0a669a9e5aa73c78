"""The golden files: what the main shapes render to, so that a change of a template is seen as a change of objects.

python -m tests.helm.golden      writes them anew; then look at the diff
"""

from pathlib import Path

import yaml

from tests.helm.charts import Object
from tests.helm.shapes import objects_of

FOLDER = Path(__file__).parent / "golden"
# Not `injector` and `injector-staging`, whose certificates are new each time.
SHAPES = ("sidecar-production", "app-staging", "app-production", "app-statefulset", "app-plain", "injector-production")


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such, and repeats what occurs twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - as PyYAML calls it.
        """Repeat."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def golden(shape: str) -> str:
    """Give a shape's objects as they stand in its file; alerts and dashboard have files of their own."""
    return yaml.dump_all(map(_short, objects_of(shape)), Dumper=_Dumper, sort_keys=True, width=120)


def _short(found: Object) -> Object:
    if found["kind"] == "PrometheusRule":
        return {**found, "spec": "as in files/alerts.yaml"}
    if found["metadata"]["name"].endswith("-dashboard"):
        return {**found, "data": "as in files/dashboard.json"}
    return found


if __name__ == "__main__":
    for name in SHAPES:
        (FOLDER / f"{name}.yaml").write_text(golden(name))
