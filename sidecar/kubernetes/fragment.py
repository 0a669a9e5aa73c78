"""Fragment: what a config adds to a pod, as the injector's chart rendered it, read and judged.

The injector knows nothing of how a sidecar's container looks: the chart renders it with the templates by which an app's
own chart would, and what is here goes into the pod as it is. So it is judged for what would have the API server refuse
the pod that it is put into, and for what nobody can have meant; not for being good.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sidecar.kubernetes.pod import Container, Mount, Volume

NAME = "sidecar"  # Of the container; by it an injected pod is known again.
EVERYWHERE = "*"

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_KINDS: dict[str, Any] = {
    "namespaces": list[str],
    "native": bool,
    "container": dict[str, Any],
    "volumes": list[dict[str, Any]],
    "annotations": dict[str, str],
    "appVolumeMounts": list[dict[str, Any]],
    "podSecurityContext": dict[str, Any],
}
_NEEDED = {
    "namespaces": 'write a list of names, or ["*"] for all',
    "native": "write true or false",
    "container": "write the sidecar's container",
}

Problem = tuple[str, str]  # Where, by the path inside the file; and a sentence.


class Fragment(msgspec.Struct, frozen=True):
    """What is added, whole; and where it may be."""

    namespaces: frozenset[str]
    native: bool  # An init container that is always started again; else a plain container.
    container: Mapping[str, Any]
    volumes: tuple[Mapping[str, Any], ...] = ()
    annotations: Mapping[str, str] = {}
    app_volume_mounts: tuple[Mapping[str, Any], ...] = ()
    pod_security_context: Mapping[str, Any] = {}

    def may_be_in(self, namespace: str) -> bool:
        """Whether pods of a namespace may have it."""
        return EVERYWHERE in self.namespaces or namespace in self.namespaces

    @property
    def ports(self) -> frozenset[tuple[int, str]]:
        """What the container listens on, as far as it says so."""
        return frozenset(port.place for port in msgspec.convert(self.container, Container).ports or ())


class FragmentError(Exception):
    """The file is no fragment; all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        assert problems
        self.problems = problems
        super().__init__("; ".join(f"{path}: {sentence}" if path else sentence for path, sentence in problems))


def read_fragment(text: bytes) -> Fragment:
    """Read a file's text. Raises FragmentError with everything that is wrong."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FragmentError([("", f"this is not JSON: {error}")]) from None
    except RecursionError:
        raise FragmentError([("", "this is nested too deeply")]) from None
    if not isinstance(found, dict):
        raise FragmentError([("", "write an object in braces")])
    problems = [(key, f"is missing; {advice}") for key, advice in _NEEDED.items() if key not in found]
    known: dict[str, Any] = {}
    for key, value in found.items():
        if key not in _KINDS:
            problems.append((key, f"is not known here; known are: {', '.join(_KINDS)}"))
        elif (problem := _unfit(key, value, _KINDS[key])) is not None:
            problems.append(problem)
        else:
            known[key] = value
    problems += _problems(known)
    if problems:
        raise FragmentError(problems)
    return Fragment(
        frozenset(known["namespaces"]),
        known["native"],
        known["container"],
        tuple(known.get("volumes", ())),
        known.get("annotations", {}),
        tuple(known.get("appVolumeMounts", ())),
        known.get("podSecurityContext", {}),
    )


def _unfit(path: str, value: object, kind: Any) -> Problem | None:
    """Say where and why a value is not of its kind."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        sentence, _, inner = str(error).partition(" - at `$")
        return path + inner.rstrip("`"), sentence[0].lower() + sentence[1:]
    return None


def _problems(known: Mapping[str, Any]) -> Iterator[Problem]:
    if "namespaces" in known:
        yield from _namespaces(known["namespaces"])
    volumes = known.get("volumes", [])
    names = [volume.get("name") for volume in volumes]
    for index, volume in enumerate(volumes):
        if (problem := _unfit(f"volumes[{index}]", volume, Volume)) is not None:
            yield problem
        elif names.index(names[index]) != index:
            yield f"volumes[{index}].name", f"{names[index]!r} is the name of another volume, too"
    mounted = {"appVolumeMounts": known.get("appVolumeMounts", [])}
    if "container" in known:
        yield from _container(known["container"], native=known.get("native"))
        given = known["container"].get("volumeMounts")
        mounted["container.volumeMounts"] = given if isinstance(given, list) else []
    for path, mounts in mounted.items():
        yield from _mounts(path, mounts, names)


def _namespaces(names: list[str]) -> Iterator[Problem]:
    if not names:
        yield "namespaces", f"is empty, so nobody may use this config; {_NEEDED['namespaces']}"
    for index, name in enumerate(names):
        if name != EVERYWHERE and not _NAMESPACE.fullmatch(name):
            yield f"namespaces[{index}]", f'{name!r} is not the name of a namespace, nor "*"'


def _container(container: dict[str, Any], *, native: bool | None) -> Iterator[Problem]:
    if (problem := _unfit("container", container, Container)) is not None:
        yield problem
        return
    if container["name"] != NAME:
        yield "container.name", f'is {container["name"]!r}; write "{NAME}", by which an injected pod is known again'
    if not container.get("image"):
        yield "container.image", "is missing; write the image of the sidecar"
    restart = container.get("restartPolicy")
    if native is True and restart != "Always":
        yield "container.restartPolicy", 'write "Always": without it the pod waits for the sidecar to end'
    if native is False and restart is not None:
        yield "container.restartPolicy", "leave it out: only an init container may have one, and native is false"


def _mounts(path: str, mounts: list[Any], volumes: list[str]) -> Iterator[Problem]:
    """Hold mounts to the volumes that come with them: the API server refuses a pod whose mounts have none."""
    seen: set[str] = set()
    for index, value in enumerate(mounts):
        if (problem := _unfit(f"{path}[{index}]", value, Mount)) is not None:
            yield problem
            continue
        mount = msgspec.convert(value, Mount)
        if mount.name not in volumes:
            yield f"{path}[{index}].name", f"there is no volume {mount.name!r} among volumes"
        if mount.path in seen:
            yield f"{path}[{index}].mountPath", f"{mount.mount_path!r} is taken by another mount"
        seen.add(mount.path)
