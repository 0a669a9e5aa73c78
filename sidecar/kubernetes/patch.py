"""Patch: the steps (JSON Patch, RFC 6902) that make of a pod the pod with its sidecar. They only ever add."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sidecar.kubernetes.fragment import Fragment
from sidecar.kubernetes.pod import Container, Pod

STATUS = "sidecar.dev/status"
INJECTED = "injected"


class Step(msgspec.Struct, frozen=True):
    """One operation; `add` puts a member into an object, or an item in front of what stands at its place in a list."""

    path: str
    value: Any
    op: str = "add"


def patch(pod: Pod, fragment: Fragment) -> list[Step]:
    """Give the steps in the order in which they are to be done. What the pod has already, stays as it is."""
    spec = pod.spec
    steps = [
        *_members("/metadata/annotations", pod.metadata.annotations, {**fragment.annotations, STATUS: INJECTED}),
        *_members("/spec/securityContext", spec.security_context, fragment.pod_security_context),
        *_items("/spec/volumes", spec.volumes, fragment.volumes),
    ]
    # Before the sidecar goes in, which moves the init containers behind it.
    for path, containers in (("/spec/initContainers", spec.init_containers), ("/spec/containers", spec.containers)):
        for index, container in enumerate(containers or ()):
            steps += _mounts(f"{path}/{index}/volumeMounts", container, fragment)
    if not fragment.native:
        return [*steps, *_items("/spec/containers", spec.containers, [fragment.container])]
    if spec.init_containers is None:
        return [*steps, Step("/spec/initContainers", [fragment.container])]
    return [*steps, Step("/spec/initContainers/0", fragment.container)]  # In front: the others may call through it.


def _mounts(path: str, container: Container, fragment: Fragment) -> Iterator[Step]:
    """Mount what the app is to see, but where a container has something of its own at the place."""
    taken = {mount.path for mount in container.volume_mounts or ()}
    wanted = [mount for mount in fragment.app_volume_mounts if (mount["mountPath"].rstrip("/") or "/") not in taken]
    return _items(path, container.volume_mounts, wanted)


def _members(path: str, there: Mapping[str, object] | None, wanted: Mapping[str, object]) -> Iterator[Step]:
    """Add what is not there to an object, which may be missing itself."""
    if there is None:
        if wanted:
            yield Step(path, dict(wanted))
        return
    for key, value in wanted.items():
        if key not in there:
            yield Step(f"{path}/{_escaped(key)}", value)


def _items(path: str, there: object | None, wanted: Iterable[Mapping[str, Any]]) -> Iterator[Step]:
    """Add items at the end of a list, which may be missing itself."""
    wanted = list(wanted)
    if there is not None:
        yield from (Step(f"{path}/-", item) for item in wanted)
    elif wanted:
        yield Step(path, wanted)


def _escaped(key: str) -> str:
    """Write a key as a part of a JSON pointer, RFC 6901."""
    return key.replace("~", "~0").replace("/", "~1")
