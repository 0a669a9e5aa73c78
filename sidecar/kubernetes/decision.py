"""Decision: whether a pod gets a sidecar, and if not, what its owner has to know. A pure machine that refuses nothing.

A pod without its sidecar fails where people look, and a refused one keeps a whole cluster from healing, when it was
this injector that was wrong. So every doubt ends in a pod that is allowed as it is, and in a sentence.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from sidecar.kubernetes.fragment import NAME, Fragment
from sidecar.kubernetes.patch import STATUS, Step, patch
from sidecar.kubernetes.pod import MalformedPod, Pod, read_pod
from sidecar.kubernetes.review import Request

INJECT = "sidecar.dev/inject"
NOT_WANTED = {"", "false"}
MIRROR = "kubernetes.io/config.mirror"  # The kubelet shows by such a pod what it runs from a file of its own.
CONTAINERS_MAX = 1000  # Each may get a step of its own. More: no sidecar; nobody has a tenth of that.
_SHOWN_MAX = 63  # Characters of a name that somebody else wrote, in a sentence. More: cut off.
_KNOWN_MAX = 3  # Names of configs in a sentence. More: `...`.

Result = Literal[
    "injected", "not_a_pod", "own_namespace", "not_asked", "already", "malformed_pod", "unknown_config",
    "broken_config", "namespace_not_allowed", "host_network", "static_pod", "windows", "plain_in_job", "clash",
    "internal",
]  # fmt: skip


class Configs(msgspec.Struct, frozen=True):
    """What may be injected, by the name of the config."""

    good: Mapping[str, Fragment] = {}
    broken: frozenset[str] = frozenset()  # Their files are there and were never good.


class Decision(msgspec.Struct, frozen=True):
    """What becomes of a pod. Where there is a warning, it asked for a sidecar and gets none."""

    result: Result
    config: str = ""  # The name of a config that is known; never what somebody only wrote.
    pod: str = ""
    warning: str = ""
    steps: list[Step] = []


def decide(request: Request, configs: Configs, own_namespace: str) -> Decision:
    """Decide about what is asked."""
    if not request.creates_pod:
        return Decision("not_a_pod")
    if request.namespace == own_namespace:
        return Decision("own_namespace")
    try:
        pod = read_pod(request.object)
    except MalformedPod as malformed:
        return _without("malformed_pod", f"the pod cannot be read: {malformed}")
    annotations = pod.metadata.annotations or {}
    name = annotations.get(INJECT, "")
    if name in NOT_WANTED:
        return Decision("not_asked", pod=pod.name)
    fragment = configs.good.get(name)
    config = name if fragment is not None else ""
    if STATUS in annotations or any(container.name == NAME for container in pod.all_containers):
        return Decision("already", config, pod.name)
    if fragment is None:
        if name in configs.broken:
            return _without("broken_config", f"the config {name} has problems; the injector's log tells them", "", pod)
        return _without("unknown_config", _unknown(name, request.namespace, configs), "", pod)
    if (reason := _reason(pod, fragment, name, request.namespace)) is not None:
        return _without(*reason, name, pod)
    return Decision("injected", name, pod.name, steps=patch(pod, fragment))


def _reason(pod: Pod, fragment: Fragment, name: str, namespace: str) -> tuple[Result, str] | None:
    """Say why this pod cannot have this config, if so."""
    if not fragment.may_be_in(namespace):
        return "namespace_not_allowed", f"the config {name} is not for the namespace {namespace}"
    if len(pod.all_containers) > CONTAINERS_MAX:
        return "malformed_pod", f"it has more than {CONTAINERS_MAX} containers"
    if MIRROR in (pod.metadata.annotations or {}):
        return "static_pod", "the kubelet runs static pods from its own files, and this only shows one"
    if pod.is_windows:
        return "windows", "it runs on Linux, and this is a pod for Windows"
    if pod.spec.host_network:
        return "host_network", "with hostNetwork every process of the node could call through it"
    if not fragment.native and pod.is_to_end:
        return "plain_in_job", f"the config {name} is no native sidecar, so this pod, which is to end, never would"
    volumes = {volume.name for volume in pod.spec.volumes or ()}
    for volume in fragment.volumes:
        if volume["name"] in volumes:
            return "clash", f"the pod has a volume {volume['name']} of its own"
    ports = fragment.ports
    for container in pod.all_containers:
        for port in container.ports or ():
            if port.place in ports:
                return "clash", f"port {port.container_port} is taken by the container {_shown(container.name)}"
    return None


def _without(result: Result, why: str, config: str = "", pod: Pod | None = None) -> Decision:
    return Decision(result, config, pod.name if pod is not None else "", f"no sidecar was added: {why}")


def _unknown(name: str, namespace: str, configs: Configs) -> str:
    """Say that there is no such config, and which there are for whoever asked."""
    known = sorted(other for other, fragment in configs.good.items() if fragment.may_be_in(namespace))
    some = ", ".join([*known[:_KNOWN_MAX], *(["..."] if len(known) > _KNOWN_MAX else [])]) or "none"
    return f"there is no config {_shown(name)}; known for this namespace: {some}"


def _shown(text: str) -> str:
    """Show what somebody wrote; an escape stands for what a terminal would obey."""
    cut = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."
    return repr(cut) if cut.isprintable() else ascii(cut)
