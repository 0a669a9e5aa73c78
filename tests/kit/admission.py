"""What the API server asks an injector, and what it does with the answer: reviews, fragments, patches applied.

The reviews in tests/kubernetes/reviews are composed after what API servers of 1.29 to 1.34 send: with defaults filled
in, managed fields, and the volume of the service account's token. Others' code (jsonpatch) applies the patches.
"""

import base64
import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonpatch

from sidecar.kubernetes.fragment import Fragment, read_fragment

REVIEWS = Path(__file__).parents[1] / "kubernetes" / "reviews"
STATUS = "sidecar.dev/status"
INJECT = "sidecar.dev/inject"
OWN = "sidecar-system"  # The injector's namespace.

Json = dict[str, Any]

_CONTAINER: Json = {
    "name": "sidecar",
    "image": "registry.example/sidecar:0.1.0",
    "args": ["run", "-c", "/etc/sidecar/sidecar.toml"],
    "ports": [
        {"name": "telemetry", "containerPort": 4002, "protocol": "TCP"},
        {"name": "webhooks", "containerPort": 4003, "protocol": "TCP"},
    ],
    "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    "volumeMounts": [
        {"name": "sidecar-config", "mountPath": "/etc/sidecar", "readOnly": True},
        {"name": "sidecar-state", "mountPath": "/var/lib/sidecar"},
        {"name": "sidecar-socket", "mountPath": "/run/sidecar"},
    ],
    "startupProbe": {"httpGet": {"path": "/readyz", "port": 4002}, "periodSeconds": 1, "failureThreshold": 30},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


def fragment_data(*, native: bool = True, namespaces: tuple[str, ...] = ("shop",), **others: object) -> Json:
    """Give a fragment as the injector's chart renders one; keys of `others` take the place of its own."""
    container = copy.deepcopy(_CONTAINER)
    if native:
        container["restartPolicy"] = "Always"
    data: Json = {
        "namespaces": list(namespaces),
        "native": native,
        "container": container,
        "volumes": [
            {"name": "sidecar-config", "configMap": {"name": "shop-sidecar"}},
            {"name": "sidecar-state", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "sidecar-socket", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
        "annotations": {"checksum.sidecar.dev/config": "7f83b1657ff1fc53b92dc18148a1d65d"},
        "appVolumeMounts": [{"name": "sidecar-socket", "mountPath": "/run/sidecar"}],
        "podSecurityContext": {"fsGroup": 65532},
    }
    return data | others


def fragment(**data: Any) -> Fragment:
    """Give it as the injector read it."""
    return read_fragment(json.dumps(fragment_data(**data)).encode())


@cache
def _text(name: str) -> str:
    return (REVIEWS / f"{name}.json").read_text()


def review_of(name: str) -> Json:
    """Give a review, to be changed at will."""
    review: Json = json.loads(_text(name))
    return review


def names() -> list[str]:
    """Give the names of all reviews."""
    return sorted(path.stem for path in REVIEWS.glob("*.json"))


def about(pod: object, name: str = "deployment", **request: object) -> Json:
    """Give a review of another pod; keys of the request come in `request`."""
    review = review_of(name)
    review["request"] |= {"object": pod, **request}
    return review


def body(review: Json) -> bytes:
    """Write it as Go does: without spaces."""
    return json.dumps(review, separators=(",", ":")).encode()


def answered(answer: bytes, review: Json) -> Json:
    """Read the answer's response, and hold it to what the API server asks of every answer."""
    read = json.loads(answer)
    assert (read["apiVersion"], read["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: Json = read["response"]
    assert response["uid"] == review["request"]["uid"]
    assert response["allowed"] is True
    assert ("patch" in response) == ("patchType" in response)
    assert response.get("patchType", "JSONPatch") == "JSONPatch"
    assert all(0 < len(warning) <= 256 for warning in response.get("warnings", []))
    return response


def patched(review: Json, response: Json) -> Json:
    """Apply the answer's patch, as the API server does, and give the pod; what was asked about stays as it is."""
    before: Json = copy.deepcopy(review["request"]["object"])
    if "patch" not in response:
        return before
    steps = json.loads(base64.b64decode(response["patch"], validate=True))
    assert steps
    after: Json = jsonpatch.JsonPatch(steps).apply(before)
    return after
