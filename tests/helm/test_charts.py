"""Every example and values file: linted, rendered, valid for each Kubernetes, with a config that the sidecar takes."""

import json
import runpy

import helm_python
import pytest

from sidecar.config.load import read_text
from sidecar.config.rules import check
from tests.helm.charts import ROOT, complaints, configs, pod_templates, sidecar_of, tree, values_of, versions
from tests.helm.golden import FOLDER, golden
from tests.helm.golden import SHAPES as GOLDEN
from tests.helm.shapes import SHAPES, objects_of

WARNING = 2


@pytest.mark.parametrize("kubernetes", ["v1.29.0", "v1.37.0"])
@pytest.mark.parametrize("shape", SHAPES)
def test_lint_finds_nothing(shape: str, kubernetes: str) -> None:
    """`helm lint --strict`, with each values file, for the oldest Kubernetes and the newest."""
    chart, files, _, namespace = SHAPES[shape]
    report = helm_python.lint(
        tree() / chart, values_of(*files), strict=True, namespace=namespace, kube_version=kubernetes
    )
    assert report["total_charts_linted"] == 1
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] >= WARNING] == []


@pytest.mark.parametrize("version", versions())
def test_every_object_is_valid_for_every_kubernetes(version: str) -> None:
    """Held strictly to Kubernetes' own schemas, from 1.29 to the newest."""
    assert [found for shape in SHAPES for each in objects_of(shape) for found in complaints(each, version)] == []


def test_a_wrong_object_is_complained_about() -> None:
    """The schemas that the test before uses are strict indeed."""
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"port": []}}
    assert complaints(wrong, versions()[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_rendered_config_passes_check(shape: str) -> None:
    """Without a problem, and without a warning."""
    for _, text in configs(list(objects_of(shape))):
        assert list(check(read_text(text))) == []


@pytest.mark.parametrize("shape", GOLDEN)
def test_a_shape_renders_to_its_golden_file(shape: str) -> None:
    """`python -m tests.helm.golden` writes them anew; the diff is for people to look at."""
    assert golden(shape) == (FOLDER / f"{shape}.yaml").read_text()


@pytest.mark.parametrize("shape", SHAPES)
def test_no_secret_stands_in_any_object(shape: str) -> None:
    """The one Secret is the injector's certificate, made by Helm; no container gets a secret by its environment."""
    objects = objects_of(shape)
    secrets = [each["type"] for each in objects if each["kind"] == "Secret"]
    assert secrets in ([], ["kubernetes.io/tls"])
    assert secrets == [] or SHAPES[shape][0] == "injector"
    rest = json.dumps([each for each in objects if each["kind"] != "Secret"])
    assert "secretKeyRef" not in rest
    assert "PRIVATE KEY" not in rest


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_pod_mounts_is_there(shape: str) -> None:
    """Each mount has its volume, and the config's ConfigMap is one of the objects."""
    objects = objects_of(shape)
    maps = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
    for name, pod in pod_templates(list(objects)):
        volumes = {each["name"]: each for each in pod["spec"]["volumes"]}
        claimed = {"sidecar-state"} if name.startswith("StatefulSet/") else set()
        for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            assert {each["name"] for each in container.get("volumeMounts", [])} <= volumes.keys() | claimed
        assert {each["configMap"]["name"] for each in volumes.values() if "configMap" in each} <= maps


def test_the_same_values_make_the_same_objects() -> None:
    """Nothing by chance and nothing of the time, so that a second upgrade changes nothing."""
    objects_of.cache_clear()
    before = golden("app-production")
    objects_of.cache_clear()
    assert golden("app-production") == before


def test_the_schemas_of_both_charts_are_current() -> None:
    """`make schema` writes them: the injector's holds the sidecar's, which holds that of sidecar.toml."""
    tool = runpy.run_path(str(ROOT / "tools" / "values_schema.py"))
    assert [str(path) for path, text in tool["written"]().items() if path.read_text() != text] == []


def test_the_image_of_the_chart_is_the_version_of_the_package() -> None:
    """A release of one is a release of both."""
    from sidecar import __version__

    (pod,) = [pod for _, pod in pod_templates(list(objects_of("app-staging")))]
    assert sidecar_of(pod)["image"] == f"registry.example/sidecar:{__version__}"
