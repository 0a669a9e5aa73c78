"""A pod that the injector patches is the pod that the chart renders, for the same values."""

import copy
import json

import jsonpatch
import msgspec
import pytest

from sidecar.kubernetes.fragment import read_fragment
from sidecar.kubernetes.patch import STATUS, patch
from sidecar.kubernetes.pod import read_pod
from tests.helm.charts import Object, Values, all_containers, example_fragment, example_pod, fragments, laid, values_of

SQLITE: Values = {"config": {"store": {"kind": "sqlite"}}}
VAULT = {"kind": "vault", "address": "https://vault.example:8200", "auth": {"method": "kubernetes", "role": "sidecar"}}
SEVERAL: dict[str, Values] = {
    "the defaults": {},
    "a plain container": {"nativeSidecar": False},
    "a file and a socket": laid(SQLITE, {"socket": {"enabled": True}}),
    "a plain container with a socket": {"nativeSidecar": False, "socket": {"enabled": True}},
    "a claim": laid(SQLITE, {"persistence": {"kind": "existingClaim", "claimName": "c"}, "replicas": 1}),
    "secrets and tokens": {
        "config": {"secrets": {"main": VAULT}},
        "tokens": {"t": {"audience": "a"}},
        "secretVolumes": {"v": {"secret": {"secretName": "s"}}},
        "aws": {"podIdentity": True},
    },
    "all that is replaced by a rollout": {"rollOnChange": True, "podAnnotations": {"team": "shop"}},
}


def without_sidecar(pod: Object) -> Object:
    """Take the sidecar's parts out of a rendered pod, by their names: the pod of an app that knows nothing of it."""
    alone = copy.deepcopy(pod)
    spec = alone["spec"]
    for key in ("initContainers", "containers"):
        spec[key] = [each for each in spec.get(key, []) if each["name"] != "sidecar"]
    if not spec["initContainers"]:
        del spec["initContainers"]
    spec["volumes"] = [each for each in spec["volumes"] if not each["name"].startswith("sidecar-")]
    for container in all_containers(alone):
        mounts = [each for each in container.get("volumeMounts", []) if not each["name"].startswith("sidecar-")]
        container.update({"volumeMounts": mounts} if mounts else {})
        if not mounts:
            container.pop("volumeMounts", None)
    for key in ("fsGroup", "fsGroupChangePolicy"):
        spec["securityContext"].pop(key, None)
    alone["metadata"]["annotations"] = {"sidecar.dev/inject": "shop"}
    return alone


def injected(pod: Object, fragment: Object) -> Object:
    """Do what the API server does with the injector's answer."""
    steps = patch(read_pod(msgspec.Raw(json.dumps(pod).encode())), read_fragment(json.dumps(fragment).encode()))
    done: Object = jsonpatch.apply_patch(pod, msgspec.to_builtins(steps))
    return done


@pytest.mark.parametrize("values", SEVERAL.values(), ids=SEVERAL)
def test_the_patched_pod_is_what_the_chart_renders(values: Values) -> None:
    """But for the annotations by which it was asked for and is known again."""
    rendered = example_pod(values)
    alone = without_sidecar(rendered)
    assert "sidecar" not in {each["name"] for each in all_containers(alone)}
    pod = injected(alone, example_fragment(values))
    assert pod["metadata"]["annotations"].pop("sidecar.dev/inject") == "shop"
    assert pod["metadata"]["annotations"].pop(STATUS) == "injected"
    assert pod == rendered


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_injector_takes_the_fragments_of_the_example(environment: str) -> None:
    """The program that reads them is strict."""
    files = [f"examples/injected/injector-values{suffix}.yaml" for suffix in ("", f"-{environment}")]
    for fragment in fragments(values_of(*files)).values():
        assert read_fragment(json.dumps(fragment).encode()).may_be_in("shop")
