"""Presets: what is known about a vendor, as a part of a service's table that lies under what the service says itself.

A preset is one TOML file with the keys of `[services.<name>]`: those of the package in `sidecar/providers/`, and the
user's own in `sidecar.providers_dir`, which win over the package's. Only those that a service or a webhook names are
read. Its table `[webhook]` says how the vendor signs what it sends: that is no part of a service.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import sidecar
from sidecar.config.problem import Problem, join
from sidecar.config.reader import REQUIRED, unknown

BUILT_IN = Path(sidecar.__file__).parent / "providers"

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")  # Of the file, without ".toml"; it leads nowhere else.
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")
_GIVEN = {"base_url", "auth.kind", "auth.username"}  # Required keys that a preset may give.
# In these tables one of the keys says where something goes: a service that chooses another place replaces the preset's.
_PLACES = {"api_version": {"header", "query", "path"}, "idempotency": {"header", "field", "query"}}


class Preset(NamedTuple):
    """One preset, read."""

    name: str
    source: str  # The file, as people write it; a problem of the preset is told with it.
    table: dict[str, Any]
    is_own: bool  # The user's, not the package's.
    webhook: Any = None  # The table `[webhook]`, as it stands there.

    @property
    def base_url_pattern(self) -> str | None:
        """Give the base URL when parts of it are each customer's own, as in `https://{shop}.myshopify.com`."""
        base_url = self.table.get("base_url")
        return base_url if isinstance(base_url, str) and _PLACEHOLDER.search(base_url) else None

    def under(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Give the table of a service, or of one of its routes, with this preset laid under it; not its routes."""
        below = {key: value for key, value in self.table.items() if _is_of_use(key, value, own)}
        if self.base_url_pattern is not None:
            below.pop("base_url", None)
        below.pop("routes", None)
        return laid(below, own)

    def routes_under(self, own: Mapping[str, Any]) -> Any:
        """Give the routes of a service, its own first, with this preset's laid under them.

        What the service as a whole says wins over the preset's routes, too.
        """
        said, given = own.get("routes", {}), self.table.get("routes", {})
        if not isinstance(said, Mapping) or not isinstance(given, Mapping):
            return said or given
        below = dict(given)
        for name, route in given.items():
            if isinstance(route, Mapping):
                below[name] = laid(route, {key: own[key] for key in route if key in own})
        both = laid(below, said)
        return {name: both[name] for name in (*said, *both)}

    def alone(self) -> dict[str, Any]:
        """Give this preset as the table of a service, so that it can be judged without one."""
        pattern = self.base_url_pattern
        return {**self.table, "base_url": _PLACEHOLDER.sub("x", pattern)} if pattern else self.table


class Presets:
    """Every preset that one config can name; the files are found at once, and read when they are asked for."""

    def __init__(self, providers_dir: str | None = None, directory: Path | None = None) -> None:
        """Find the files; `directory` is where the config's file stands, which `providers_dir` may be relative to.

        Without it, as for a text that stands in no file, the working directory serves, and nothing need be there.
        """
        self.problems: list[Problem] = []  # Of the files that were read, each named by its file.
        self._files = {path.stem: _File(path, path.name, is_own=False) for path in _listed(BUILT_IN)}
        self._own_directory: Path | None = None
        self._where = ""
        if providers_dir is not None:
            self._own_directory = (directory or Path()) / providers_dir
            if directory is not None and not self._own_directory.is_dir():
                self.problems.append(Problem("sidecar.providers_dir", f"{self._own_directory} is no directory"))
            self._where = f", neither built in nor in {providers_dir}"
            for path in _listed(self._own_directory):
                self._files[path.stem] = _File(path, f"{providers_dir.rstrip('/')}/{path.name}", is_own=True)
        self._read: dict[str, Preset | None] = {}

    @property
    def names(self) -> list[str]:
        """Give the names of all presets, in their order."""
        return sorted(self._files)

    @property
    def own(self) -> list[Preset]:
        """Give the user's presets among those that were read."""
        return [preset for preset in self._read.values() if preset is not None and preset.is_own]

    def is_own(self, name: str) -> bool:
        """Whether a preset of this name is the user's."""
        return name in self._files and self._files[name].is_own

    def files(self, names: Iterable[str]) -> tuple[Path, ...]:
        """Give the files in which the user's presets of these names stand, or would."""
        own = self._own_directory
        return () if own is None else tuple(sorted({own / f"{name}.toml" for name in names if NAME.fullmatch(name)}))

    def missing(self, name: str) -> str | None:
        """Say that there is no such preset, and which one may be meant; None when it is there."""
        if name in self._files:
            return None
        sentence, _, meant = unknown("provider", name, self.names).partition("; ")
        meant = meant if meant.startswith("did you mean") else "sidecar show providers lists those that are there"
        return f"{sentence}{self._where}; {meant}"

    def get(self, name: str) -> Preset | None:
        """Read a preset that is there; None when its file cannot be used, which is noted once."""
        if name not in self._read:
            file = self._files[name]
            try:
                table = _decoded(file.path)
            except ValueError as error:
                self.problems.append(Problem(file.source, str(error)))
                self._read[name] = None
            else:
                if table.pop("provider", None) is not None:
                    sentence = "a preset stands on no other preset; write its keys here"
                    self.problems.append(Problem(f"{file.source}: provider", sentence))
                webhook = table.pop("webhook", None)
                self._read[name] = Preset(name, file.source, table, file.is_own, webhook)
        return self._read[name]

    def text(self, name: str) -> str:
        """Give the file of a preset that is there, as it stands. Raises OSError and UnicodeDecodeError."""
        return self._files[name].path.read_bytes().decode()


class _File(NamedTuple):
    """Where a preset stands."""

    path: Path
    source: str  # As people write it.
    is_own: bool


def _decoded(path: Path) -> dict[str, Any]:
    """Read a preset's file. Raises ValueError with a sentence that says why that cannot be."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the file is not UTF-8; the first wrong byte is at {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"this is not TOML: {error}") from None
    except (RecursionError, ValueError):  # The latter for a number of thousands of digits.
        raise ValueError("this is nested too deeply, or holds a number that is too long") from None


def _listed(directory: Path) -> list[Path]:
    """List the files of a directory that can be presets; none when it cannot be listed."""
    try:
        found = sorted(directory.iterdir())
    except OSError:
        return []
    return [path for path in found if path.suffix == ".toml" and NAME.fullmatch(path.stem)]


def laid(below: Mapping[str, Any], own: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """Lay tables over tables, key by key. What is no table is replaced whole, and `false` replaces a table.

    Keys are compared without case, as the names of headers among them are. A table of another `kind`, or one that
    names another place, is another thing: nothing of the preset's is left in it.
    """
    if "kind" in below and own.get("kind", below["kind"]) != below["kind"]:
        return dict(own)
    said = {key.lower() for key in own}
    if said & _PLACES.get(name, set()):
        said |= _PLACES[name]
    kept = {key: value for key, value in below.items() if key.lower() not in said}
    return kept | {
        key: laid(below[key], value, key)
        if isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        else value
        for key, value in own.items()
    }


def may_be_given(problem: Problem) -> bool:
    """Whether a preset lacks only what a service may add: not in a list, which it can only replace."""
    return problem.sentence.startswith(REQUIRED) and "[" not in problem.path and not problem.path.endswith(".match")


def without_echoes(
    problems: Iterable[Problem], raw: Mapping[str, Any], presets: Presets, wrong: Mapping[str, Iterable[Problem]]
) -> list[Problem]:
    """Leave out what is wrong with a service or a route only because its preset is `wrong`, which is told once."""
    said = {name: {(problem.path, problem.sentence) for problem in of_preset} for name, of_preset in wrong.items()}
    places = list(grounds(raw))

    def is_echo(problem: Problem) -> bool:
        for path, own, name in places:
            key = problem.path.removeprefix(f"{path}.")
            if key == problem.path:
                continue
            if presets.missing(name) or presets.get(name) is None:
                if key in _GIVEN and problem.sentence.startswith(REQUIRED):
                    return True
            elif (key, problem.sentence.replace(f"{path}.", "")) in said.get(name, ()) and key not in _paths_of(own):
                return True
        return False

    return [problem for problem in problems if not is_echo(problem)]


def grounds(raw: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Give (path, table, provider) of every service and route that lies on a preset."""
    services = raw.get("services")
    for name, service in services.items() if isinstance(services, Mapping) else ():
        if isinstance(service, Mapping) and "provider" in service:
            provider = service["provider"] if isinstance(service["provider"], str) else ""
            yield f"services.{name}", service, provider
            routes = service.get("routes")
            for route, table in routes.items() if isinstance(routes, Mapping) else ():
                if isinstance(table, Mapping):
                    yield f"services.{name}.routes.{route}", table, provider


def _paths_of(table: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Give the path of every key of a table, the tables in it included."""
    for key, value in table.items():
        yield join(path, key)
        if isinstance(value, Mapping):
            yield from _paths_of(value, join(path, key))


def _is_of_use(key: str, value: Any, own: Mapping[str, Any]) -> bool:
    """Leave out credentials of which only the form is known, where the service does not say the secret to it."""
    return key != "auth" or key in own or not isinstance(value, Mapping) or any("secret" in part for part in value)
