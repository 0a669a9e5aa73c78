"""Whatever a pod looks like: the patch fits, adds and never takes away, and a second time there is none."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.admission import INJECT, STATUS, Json, about, fragment, patched
from tests.kubernetes.injected import Asked

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
KEYS = st.text(max_size=12)  # With slashes, tildes and what else there is in the world.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | KEYS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
OTHERS = st.dictionaries(st.sampled_from(["env", "args", "resources", "livenessProbe", "x/y~z"]), VALUES, max_size=2)
PORTS = st.lists(
    st.fixed_dictionaries(
        {"containerPort": st.integers(1, 65535)}, optional={"protocol": st.sampled_from(["TCP", "UDP"])}
    ),
    max_size=2,
)
MOUNTS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES, "mountPath": st.sampled_from(["/tmp", "/run/sidecar", "/run/sidecar/", "/"])}
    ),
    max_size=2,
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Something, or null."""
    return st.none() | strategy


CONTAINERS = st.builds(
    lambda others, own: {**others, **own},
    OTHERS,
    st.fixed_dictionaries({"name": NAMES}, optional={"ports": maybe(PORTS), "volumeMounts": maybe(MOUNTS)}),
)
SPECS = st.fixed_dictionaries(
    {"containers": st.lists(CONTAINERS, min_size=1, max_size=3)},
    optional={
        "initContainers": maybe(st.lists(CONTAINERS, max_size=2)),
        "volumes": maybe(st.lists(st.fixed_dictionaries({"name": NAMES | st.just("sidecar-state")}), max_size=3)),
        "securityContext": maybe(st.dictionaries(st.sampled_from(["fsGroup", "runAsUser", "a/b"]), VALUES, max_size=3)),
        "restartPolicy": st.sampled_from(["Always", "Never", "OnFailure"]),
        "hostNetwork": maybe(st.booleans()),
        "tolerations": VALUES,
    },
)
PODS = st.builds(
    lambda annotations, spec, rest: {
        **rest,
        "metadata": {"generateName": "a-", "annotations": {**annotations, INJECT: "shop"}},
        "spec": spec,
    },
    st.dictionaries(KEYS, KEYS, max_size=3),
    SPECS,
    st.dictionaries(KEYS.filter(lambda key: key not in {"metadata", "spec"}), VALUES, max_size=2),
)
FRAGMENTS = st.builds(
    lambda native, annotations, security: {
        "native": native,
        "annotations": annotations,
        "podSecurityContext": security,
    },
    st.booleans(),
    st.dictionaries(KEYS, KEYS, max_size=3),
    st.dictionaries(st.sampled_from(["fsGroup", "a/b", "~"]), st.integers(0, 9), max_size=3),
)


def is_kept(before: object, after: object) -> bool:
    """Whether all that was there still is, in its order: objects and lists only grew."""
    if isinstance(before, dict) and isinstance(after, dict):
        return all(key in after and is_kept(value, after[key]) for key, value in before.items())
    if isinstance(before, list) and isinstance(after, list):
        rest = iter(after)
        return all(any(is_kept(item, other) for other in rest) for item in before)
    return before is None or json.dumps(before) == json.dumps(after)  # Null is as good as missing, to Go.


@given(pod=PODS, data=FRAGMENTS)
def test_injection_adds_takes_nothing_away_and_happens_once(pod: Json, data: Json) -> None:
    """Or it does not happen, and the pod stays as it is."""
    asked = Asked(shop=fragment(**data))
    review = about(pod)
    response = asked.ask(review)
    once = patched(review, response)
    assert is_kept(pod, once)
    again = about(once)
    assert patched(again, asked.ask(again)) == once
    spec = once["spec"]
    sidecars = [c for c in [*(spec.get("initContainers") or []), *spec["containers"]] if c["name"] == "sidecar"]
    if "patch" not in response:
        assert once == pod
        return
    assert once["metadata"]["annotations"].get(STATUS) == "injected"
    assert len(sidecars) == 1
    if data["native"]:
        assert spec["initContainers"][0] == sidecars[0]
    names = [volume["name"] for volume in spec["volumes"]]
    own = [volume["name"] for volume in pod["spec"].get("volumes") or []]
    assert len(names) - len(own) == 3
    for container in (c for c in [*(spec.get("initContainers") or []), *spec["containers"]] if c is not sidecars[0]):
        assert "/run/sidecar" in [mount["mountPath"].rstrip("/") for mount in container["volumeMounts"]]
