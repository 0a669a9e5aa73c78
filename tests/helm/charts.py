"""The charts, rendered by Helm's own engine from a copy of helm/, in which their dependencies are built.

Nothing is written into the tree. A render takes some milliseconds; the copy is made once in each process.
"""

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate.utils
import referencing
import yaml
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parent.parent.parent
HELM = ROOT / "helm"
OLDEST = (1, 29)  # The first with native sidecars switched on.

Values = Mapping[str, Any]
Object = dict[str, Any]

# Of the cluster's add-ons: their schemas are not Kubernetes'.
FOREIGN = {
    "Certificate",
    "HTTPRoute",
    "Issuer",
    "PodMonitor",
    "PrometheusRule",
    "SecretProviderClass",
    "ServiceMonitor",
}

# A chart of the tests' own, which calls the templates of the chart sidecar with what a test gives it.
_BENCH = {
    "Chart.yaml": """
apiVersion: v2
name: bench
version: 0.1.0
dependencies: [{name: sidecar, version: 0.1.0, repository: "file://../unchecked/sidecar"}]
""",
    "values.yaml": "wanted: none\ndata: {}\nkubernetes: v1.37.0\ncertificate: {}\nsidecar: {renderObjects: false}\n",
    "templates/_certificate.tpl": (HELM / "injector/templates/_certificate.tpl").read_text(),
    "templates/toml.yaml": """
{{- if eq .Values.wanted "toml" }}
toml: |
  # A comment, as in sidecar.toml.
  {{- include "sidecar.toml.table" (dict "table" .Values.data "path" list "names" list "routeOrder" dict) | nindent 2 }}
{{- end }}
""",
    "templates/references.yaml": """
{{- if eq .Values.wanted "references" }}
references: {{ include "sidecar.references" (dict "value" .Values.data "path" "config" "config" .Values.data) }}
{{- end }}
""",
    "templates/container.yaml": """
{{- if eq .Values.wanted "container" }}
{{- $version := dict "KubeVersion" (dict "Version" .Values.kubernetes) }}
{{- $own := .Subcharts.sidecar }}
{{- $context := dict "Values" $own.Values "Release" .Release "Chart" $own.Chart "Capabilities" $version }}
{{ include "sidecar.container" $context }}
{{- end }}
""",
    "templates/certificate.yaml": """
{{- if eq .Values.wanted "certificate" }}
{{ include "injector.certificate" (dict "existing" .Values.certificate "host" "injector.ns.svc" "days" 10) }}
{{- end }}
""",
}


@cache
def tree() -> Path:
    """Copy helm/ to a directory of this process, and build what the charts depend on.

    `examples/bare` is the example app's chart, of which the sidecar's values are the chart's own defaults.
    """
    copy = Path(tempfile.mkdtemp(prefix="sidecar-helm-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(HELM, copy / "helm", ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    for path, text in _BENCH.items():
        file = copy / "helm" / "bench" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    bare = shutil.copytree(copy / "helm/examples/app", copy / "helm/examples/bare")
    values = yaml.safe_load((bare / "values.yaml").read_text())
    (bare / "values.yaml").write_text(yaml.safe_dump({**values, "sidecar": {}, "batch": {}}))
    # What the tests' own chart is given is judged by nobody: to read the schema costs ten times what a render does.
    shutil.copytree(HELM / "sidecar", copy / "helm/unchecked/sidecar", ignore=shutil.ignore_patterns("*.json"))
    for name in ("injector", "examples/app", "examples/bare", "bench"):
        helm_python.dependency_build(copy / "helm" / name)
    return copy / "helm"


def chart(name: str) -> helm_python.Chart:
    """Load a chart of the copy: `sidecar`, `injector`, `examples/app` or the tests' own `bench`.

    Anew each time: a render takes the dependencies that its values switch off out of the chart.
    """
    return helm_python.Chart.load(tree() / name)


def laid(below: Values, above: Values) -> dict[str, Any]:
    """Lay values over values, as Helm does it with several files."""
    both = {
        key: laid(below[key], value) if isinstance(value, Mapping) and isinstance(below.get(key), Mapping) else value
        for key, value in above.items()
    }
    return {**below, **both}


def values_of(*names: str) -> dict[str, Any]:
    """Read values files below helm/, later ones over earlier ones."""
    values: dict[str, Any] = {}
    for name in names:
        values = laid(values, yaml.safe_load((HELM / name).read_text()) or {})
    return values


def rendered(name: str, values: Values, release: str = "app", namespace: str = "shop") -> list[Object]:
    """Render all objects of a chart and its dependencies."""
    with chart(name) as loaded:
        files = loaded.render(dict(values), name=release, namespace=namespace)
    texts = [files[path] for path in sorted(files) if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


def benched(template: str, values: Values) -> Any:
    """Give what one template of the tests' own chart says."""
    with chart("bench") as loaded:
        files = loaded.render({**values, "wanted": template}, name="app", namespace="shop")
    return yaml.safe_load(files[f"bench/templates/{template}.yaml"])


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Give the one object of a kind, or of a kind and name."""
    found = [each for each in objects if each["kind"] == kind and name in {None, each["metadata"]["name"]}]
    assert len(found) == 1, f"{kind} {name}: there are {len(found)}"
    return found[0]


def pod_templates(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Give (name, pod template) of everything that makes pods."""
    for each in objects:
        name = f"{each['kind']}/{each['metadata']['name']}"
        if each["kind"] in {"Deployment", "StatefulSet"}:
            yield name, each["spec"]["template"]
        elif each["kind"] == "CronJob":
            yield name, each["spec"]["jobTemplate"]["spec"]["template"]


def configs(objects: list[Object]) -> Iterator[tuple[str, str]]:
    """Give (name, text) of every sidecar.toml among objects."""
    for each in objects:
        if each["kind"] == "ConfigMap" and "sidecar.toml" in each["data"]:
            yield each["metadata"]["name"], each["data"]["sidecar.toml"]


def all_containers(pod: Object) -> list[Object]:
    """Give the containers of a pod or pod template, init containers first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def sidecar_of(pod: Object) -> Object:
    """Give the container of the sidecar."""
    (found,) = [each for each in all_containers(pod) if each["name"] == "sidecar"]
    return found


def example_pod(values: Values, name: str = "shop") -> Object:
    """Render the example app's chart with these values of the chart sidecar, and give its pod template.

    What it is called is what the injector calls it: see `example_fragment`.
    """
    own = laid(values, {"fullnameOverride": f"sidecar-{name}"})
    objects = rendered("examples/bare", {"sidecar": own})
    template: Object = only(objects, "Deployment")["spec"]["template"]
    return template


def example_fragment(values: Values, name: str = "shop", namespaces: tuple[str, ...] = ("shop",)) -> Object:
    """Render the injector's chart with one config of the same values, and give its fragment."""
    configs_ = {name: {"namespaces": list(namespaces), "values": dict(values)}}
    return fragments({"configs": configs_})[name]


def fragments(values: Values) -> dict[str, Object]:
    """Render the injector's chart, and give what its pods mount at --configs, by config name."""
    objects = rendered("injector", laid({"certificate": {"kind": "certManager"}}, values), "injector", "sidecar-system")
    (mounted,) = [each for each in objects if each["metadata"]["name"].endswith("-configs")]
    return {path.removesuffix(".json"): json.loads(text) for path, text in mounted["data"].items()}


def versions() -> list[str]:
    """Give Kubernetes' versions from 1.29 to the newest that there are schemas of."""
    utils = kubernetes_validate.utils
    known = dict.fromkeys(utils.major_minor(each) for each in utils.all_versions())
    return [each for each in known if tuple(map(int, each.split("."))) >= OLDEST]


@cache
def _registry(folder: str) -> referencing.Registry[Any]:
    definitions = kubernetes_validate.utils.schema_contents(f"{folder}/_definitions.json", folder)
    return referencing.Resource.from_contents(definitions) @ referencing.Registry()


@cache
def _validator(version: str, kind: str, api_version: str) -> Draft202012Validator:
    """Make what `kubernetes_validate.validate(..., strict=True)` makes anew for each object."""
    utils = kubernetes_validate.utils
    (full,) = {each for each in utils.all_versions() if utils.major_minor(each) == version}
    folder = f"kubernetes-json-schema/v{full}-local-strict"
    group, _, number = api_version.rpartition("/")
    file = f"{kind.lower()}-{group.partition('.')[0]}-{number}" if group else f"{kind.lower()}-{number}"
    schema = utils.schema_contents(f"{folder}/{file}.json", version)
    resource = referencing.Resource.from_contents(schema)
    return Draft202012Validator(schema, registry=resource @ _registry(folder))


def complaints(found: Object, version: str) -> list[str]:
    """Hold an object to Kubernetes' own schema, strictly: unknown fields are complaints, too."""
    if found["kind"] in FOREIGN:
        return []
    validator = _validator(version, found["kind"], found["apiVersion"])
    where = f"{found['kind']}/{found['metadata']['name']}"
    return [f"{where} {error.json_path}: {error.message}" for error in validator.iter_errors(found)]
