"""What a pod is after the API server applied the patch: its own, and the sidecar, as the chart renders both."""

import copy
import json
from typing import Any

import kubernetes_validate
import pytest
from kubernetes_validate.utils import all_versions, major_minor

from sidecar.kubernetes.pod import Pod, read_pod
from tests.kit.admission import INJECT, STATUS, Json, about, fragment, fragment_data, patched, review_of
from tests.kubernetes.injected import Asked

INJECTED = [
    "pod", "dry-run", "deployment", "deployment-restricted", "init-containers", "job", "cronjob", "statefulset",
]  # fmt: skip
VERSIONS = sorted({major_minor(version) for version in all_versions()} - {"1.25", "1.26", "1.27", "1.28"})


def injected(review: Json, **data: Any) -> Json:
    """Ask, and give the patched pod."""
    response = Asked(shop=fragment(**data)).ask(review)
    assert "patch" in response
    return patched(review, response)


def expected(pod: Json, data: Json) -> Json:
    """Put the pieces of a fragment where a chart's author puts the named templates, and nothing else."""
    pod = copy.deepcopy(pod)
    spec, metadata = pod["spec"], pod["metadata"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        container["volumeMounts"] = [*container.get("volumeMounts", []), *data["appVolumeMounts"]]
    metadata["annotations"] = {**data["annotations"], STATUS: "injected", **metadata["annotations"]}
    spec["volumes"] = [*spec.get("volumes", []), *data["volumes"]]
    spec["securityContext"] = {**data["podSecurityContext"], **spec["securityContext"]}
    if data["native"]:
        spec["initContainers"] = [data["container"], *spec.get("initContainers", [])]
    else:
        spec["containers"] = [*spec["containers"], data["container"]]
    return pod


@pytest.mark.parametrize("name", INJECTED)
def test_the_patched_pod_is_what_the_chart_would_have_rendered(name: str) -> None:
    """Piece for piece, with a native sidecar in front of all init containers."""
    review = review_of(name)
    assert injected(review) == expected(review["request"]["object"], fragment_data())


@pytest.mark.parametrize("name", [name for name in INJECTED if name not in {"job", "cronjob"}])
def test_a_plain_sidecar_stands_behind_the_apps_containers(name: str) -> None:
    """And among no init containers."""
    review = review_of(name)
    assert injected(review, native=False) == expected(review["request"]["object"], fragment_data(native=False))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", INJECTED)
def test_the_patched_pod_is_valid_by_kubernetes_own_schemas(name: str, version: str) -> None:
    """Strictly: no field that this version does not know. What came in is valid, too."""
    review = review_of(name)
    assert kubernetes_validate.validate(review["request"]["object"], version, strict=True) == version
    assert kubernetes_validate.validate(injected(review), version, strict=True) == version


def test_the_schemas_are_strict() -> None:
    """A field that no version knows is refused, so that what passes means something."""
    pod = review_of("deployment")["request"]["object"]
    pod["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="volumeMount"):
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)


def test_the_versions_begin_with_the_first_that_has_native_sidecars() -> None:
    """1.29 to the newest."""
    assert VERSIONS[0] == "1.29"
    assert len(VERSIONS) >= 6


@pytest.mark.parametrize("name", INJECTED)
def test_a_second_time_nothing_happens(name: str) -> None:
    """The API server asks again when another webhook changed the pod meanwhile."""
    review = review_of(name)
    asked = Asked()
    once = patched(review, asked.ask(review))
    assert asked.ask(about(once, name)).keys() == {"uid", "allowed"}


def test_what_is_missing_is_made() -> None:
    """A pod may come without any list but its containers; and null counts as missing, as Go has it."""
    bare = {"metadata": {"annotations": {INJECT: "shop"}}, "spec": {"containers": [{"name": "app"}]}}
    data = fragment_data()
    after = injected(about(bare))
    assert after["spec"]["initContainers"] == [data["container"]]
    assert after["spec"]["volumes"] == data["volumes"]
    assert after["spec"]["containers"][0]["volumeMounts"] == data["appVolumeMounts"]
    assert after["spec"]["securityContext"] == data["podSecurityContext"]
    null = copy.deepcopy(bare)
    null["spec"] |= dict.fromkeys(["initContainers", "volumes", "securityContext"])  # type: ignore[operator]
    assert injected(about(null)) == after
    empty = copy.deepcopy(bare)
    empty["spec"] |= {"initContainers": [], "volumes": [], "securityContext": {}}  # type: ignore[operator]
    assert injected(about(empty)) == after


def test_what_the_pod_says_itself_stays() -> None:
    """Its group of files, its annotations, and what a container has mounted at the place."""
    review = review_of("statefulset")
    pod = review["request"]["object"]
    pod["metadata"]["annotations"]["checksum.sidecar.dev/config"] = "mine"
    pod["spec"]["volumes"].append({"name": "run", "emptyDir": {}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "run", "mountPath": "/run/sidecar"})
    after = injected(review)
    assert after["spec"]["securityContext"] == {"fsGroup": 2000}
    assert after["metadata"]["annotations"]["checksum.sidecar.dev/config"] == "mine"
    assert after["spec"]["containers"] == pod["spec"]["containers"]
    for theirs, ours in (("/run/sidecar/", "/run/sidecar"), ("/run/sidecar", "/run/sidecar/")):
        pod["spec"]["containers"][0]["volumeMounts"][-1]["mountPath"] = theirs
        after = injected(review, appVolumeMounts=[{"name": "sidecar-socket", "mountPath": ours}])
        assert after["spec"]["containers"] == pod["spec"]["containers"]


def test_keys_are_escaped_as_json_pointers() -> None:
    """A slash or a tilde in the name of an annotation is part of the name."""
    names = {"a/b": "1", "a~b": "2", "a~1b": "3", "~0/~": "4", "": "5"}
    after = injected(review_of("deployment"), annotations=names)
    assert after["metadata"]["annotations"] == {INJECT: "shop", STATUS: "injected", **names}


def test_a_fragment_without_the_optional_parts_adds_a_container_and_nothing_else() -> None:
    """No empty list, no empty object."""
    container = {"name": "sidecar", "image": "i", "restartPolicy": "Always"}
    review = review_of("deployment-restricted")
    after = injected(review, container=container, volumes=[], annotations={}, appVolumeMounts=[], podSecurityContext={})
    pod = copy.deepcopy(review["request"]["object"])
    pod["metadata"]["annotations"][STATUS] = "injected"
    pod["spec"]["initContainers"] = [container]
    assert after == pod


def test_a_large_pod_is_read_without_what_nobody_looks_at() -> None:
    """Environment, probes and affinity are skipped, not built: what a review costs is its bytes."""
    review = review_of("deployment")
    review["request"]["object"]["spec"]["containers"][0]["env"] = [
        {"name": f"N{n}", "value": "x" * 99} for n in range(5000)
    ]
    pod = read_pod(json.dumps(review["request"]["object"]).encode())  # type: ignore[arg-type]
    assert isinstance(pod, Pod)
    assert not hasattr(pod.spec.containers[0], "env")
    assert injected(review) == expected(review["request"]["object"], fragment_data())
