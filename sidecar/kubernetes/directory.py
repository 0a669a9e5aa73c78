"""Directory: the fragments of all configs, read from the files of a mounted ConfigMap. It blocks: for a thread."""

from collections.abc import Mapping
from pathlib import Path

from sidecar.kubernetes.decision import Configs
from sidecar.kubernetes.fragment import Fragment, FragmentError, read_fragment

SUFFIX = ".json"
FRAGMENT_BYTES_MAX = 2**20  # As a ConfigMap. More: refused.
CONFIGS_MAX = 100  # More: those whose names come last are left out, and that is said.


def files(directory: Path) -> list[Path]:
    """Give the files of the configs, `<config name>.json`. Raises OSError when the directory cannot be read."""
    # A ConfigMap's own `..data` begins with a dot; its files are links through that, and what it leads to moves on.
    return sorted(path for path in directory.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))


def read(directory: Path, before: Configs) -> tuple[Configs, list[str]]:
    """Read all of them, and give what is usable now with the problems of what is not.

    A file that went takes its config away; one that went bad leaves its config as it was when it was good.
    """
    try:
        found = files(directory)
    except OSError as error:
        return before, [f"{directory} cannot be read: {error.strerror}; the configs read last stay"]
    problems = [f"{path}: is left out: there are more than {CONFIGS_MAX} configs" for path in found[CONFIGS_MAX:]]
    good: dict[str, Fragment] = {}
    broken: set[str] = set()
    for path in found[:CONFIGS_MAX]:
        try:
            good[path.stem] = _read(path)
        except FragmentError as error:
            problems += [f"{path}: {where}: {why}" if where else f"{path}: {why}" for where, why in error.problems]
            _keep(path.stem, before.good, good, broken)
    return Configs(good, frozenset(broken)), problems


def _keep(name: str, before: Mapping[str, Fragment], good: dict[str, Fragment], broken: set[str]) -> None:
    if name in before:
        good[name] = before[name]
    else:
        broken.add(name)


def _read(path: Path) -> Fragment:
    try:
        with path.open("rb") as file:
            text = file.read(FRAGMENT_BYTES_MAX + 1)
    except OSError as error:
        raise FragmentError([("", f"cannot be read: {error.strerror}")]) from None
    if len(text) > FRAGMENT_BYTES_MAX:
        raise FragmentError([("", f"has more than {FRAGMENT_BYTES_MAX} bytes")])
    return read_fragment(text)
