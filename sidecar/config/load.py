"""Load: a config file becomes a `Config`, or a list of all that is wrong with it."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from sidecar.config.model import ENVIRONMENT, SERVICE_ONLY, Config
from sidecar.config.presets import Preset, Presets, grounds, may_be_given, without_echoes
from sidecar.config.problem import ConfigError, Problem, is_within, join
from sidecar.config.reader import REQUIRED, STAND_INS, WRONG, Reader, keys_of, stand_ins
from sidecar.config.rules import check
from sidecar.config.webhooks import over_preset, webhook_of, webhook_providers
from sidecar.core.address import Address
from sidecar.downstream.listener import ListenConfig
from sidecar.layers.access import Rule
from sidecar.layers.service import Route, ServiceConfig, ServiceEntry

_PLACE = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")
_SERVICE_KEYS = (*keys_of(ServiceConfig), "routes")
_ROUTE_KEYS = ("match", *(key for key in keys_of(ServiceConfig) if key not in SERVICE_ONLY))

_ALONE = "preset"  # The name of the service as which a preset is judged.


def load(path: Path) -> Config:
    """Read the file. Raises ConfigError with every problem of it; warnings are `rules.check`'s to give."""
    return read(tables(path), path.parent)


def tables(path: Path) -> dict[str, Any]:
    """Decode the file, and judge nothing of it. Raises ConfigError when it cannot be read, or is not TOML."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        _fail(path, "there is no such file; write one, or name it with -c")
    except OSError as error:
        _fail(path, f"the file cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        _fail(path, f"the file is not UTF-8; the first wrong byte is at {error.start}")
    return _decoded(text, str(path))


def read_text(text: str, directory: Path | None = None) -> Config:
    """Read a config from TOML that stands in no file. Raises ConfigError."""
    return read(_decoded(text, "sidecar.toml"), directory)


def read(raw: Mapping[str, object], directory: Path | None = None) -> Config:
    """Read a config from tables already decoded. Raises ConfigError with all problems of shape and of sense.

    `directory` is what `sidecar.providers_dir` is relative to, and where it has to be.
    """
    return _read(raw, presets_of(raw, directory))


def read_all(path: Path) -> Config:
    """Read the file, and judge every preset beside it, also those that nothing names. Raises ConfigError."""
    raw = tables(path)
    presets = presets_of(raw, path.parent)
    for name in presets.names:
        if presets.is_own(name):
            presets.get(name)
    return _read(raw, presets)


def _read(raw: Mapping[str, object], presets: Presets) -> Config:
    config, problems = _judged(raw, presets)
    wrong = {preset.name: _of_preset(preset, raw) for preset in presets.own}
    if problems := [*without_echoes(problems, raw, presets, wrong), *presets.problems, *_told(presets, wrong)]:
        raise ConfigError(problems)
    return config


def admin_door(path: Path) -> str:
    """Give `listen.admin`, by which a running sidecar is asked, though all else of the file may be refused by now.

    What runs goes on with the config before it, and that is when people want to ask. Raises ConfigError with what is
    wrong when the file does not tell.
    """
    section = tables(path).get("listen", {})
    door = section.get("admin", ListenConfig().admin) if isinstance(section, dict) else None
    try:
        Address.parse(door if isinstance(door, str) else "")
    except ValueError:
        return load(path).listen.admin
    return str(door)


def _of_preset(preset: Preset, raw: Mapping[str, object]) -> list[Problem]:
    """Judge one of the user's presets as if it were a service, but for what a service has to add to it."""
    _, problems = _judged({**raw, "services": {_ALONE: preset.alone()}}, Presets())
    path = f"services.{_ALONE}."
    inside = [
        Problem(problem.path.removeprefix(path), problem.sentence.replace(path, ""))
        for problem in problems
        if problem.path.startswith(path)
    ]
    _, of_webhook = webhook_of(preset)
    return [*(problem for problem in inside if not may_be_given(problem)), *of_webhook]


def _told(presets: Presets, wrong: Mapping[str, list[Problem]]) -> Iterator[Problem]:
    """Tell the problems of the user's presets, each with the file that it stands in."""
    for preset in presets.own:
        for problem in wrong[preset.name]:
            yield Problem(f"{preset.source}: {problem.path}", problem.sentence)


def preset_files(path: Path) -> tuple[Path, ...]:
    """Give the files of the user's presets that a config names, there or not; none when it cannot be read."""
    try:
        raw = tables(path)
    except ConfigError:
        return ()
    named = {provider for _, _, provider in grounds(raw)} | set(webhook_providers(raw))
    return presets_of(raw, path.parent).files(named)


def presets_of(raw: Mapping[str, object], directory: Path | None) -> Presets:
    """Find the presets that a config can name."""
    section = raw.get("sidecar")
    providers_dir = section.get("providers_dir") if isinstance(section, Mapping) else None
    return Presets(providers_dir if isinstance(providers_dir, str) else None, directory)


def _judged(raw: Mapping[str, object], presets: Presets) -> tuple[Config, list[Problem]]:
    """Build what can be built, and give it with all its problems."""
    reader = Reader(_environment(raw))
    config = _config(reader, raw, presets)
    wrong = [problem.path for problem in reader.problems]
    found = [problem for problem in check(config) if not problem.is_warning and not _is_doubtful(problem, wrong)]
    return config, [*reader.problems, *found]


def _decoded(text: str, name: str) -> dict[str, Any]:
    """Decode TOML; `name` stands as the path of a syntax error."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        where = f" at {place[1]}" if place else ""
        _fail(name, f"this is not TOML{where}: {_PLACE.sub('', str(error))}")
    except (RecursionError, ValueError):  # The latter for a number of thousands of digits.
        _fail(name, "this is nested too deeply, or holds a number that is too long")


def _fail(path: object, sentence: str) -> NoReturn:
    raise ConfigError([Problem(str(path), sentence)]) from None


def _environment(raw: Mapping[str, object]) -> str | None:
    """Look ahead: references all over the file are completed with it."""
    section = raw.get("sidecar")
    environment = section.get("environment") if isinstance(section, Mapping) else None
    return environment if isinstance(environment, str) and ENVIRONMENT.fullmatch(environment) else None


def _is_doubtful(problem: Problem, wrong: list[str]) -> bool:
    """Whether a rule's problem rests on a key that is itself wrong, and stands at a default only for now."""
    if any(is_within(problem.path, bad) for bad in wrong):
        return True
    return any(is_within(path, bad) or is_within(bad, path) for path in problem.because for bad in wrong)


def _config(reader: Reader, raw: Mapping[str, object], presets: Presets) -> Config:
    """Build what can be built; each section that is wrong is noted and left at its default."""
    values = reader.fields(Config, {key: raw[key] for key in raw if key != "services"}, "", tuple(keys_of(Config)))
    if webhooks := values.get("webhooks"):
        values["webhooks"] = {
            name: over_preset(reader, webhook, join("webhooks", name), presets) for name, webhook in webhooks.items()
        }
    services = raw.get("services", {})
    if not isinstance(services, Mapping):
        reader.note("services", "this is a table of services; write [services.<name>]")
        services = {}
    entries = {name: _service(reader, table, join("services", name), presets) for name, table in services.items()}
    values["services"] = {name: entry for name, entry in entries.items() if entry is not WRONG}
    return Config(**values)


def _service(reader: Reader, raw: object, path: str, presets: Presets) -> Any:
    """Read a service and its routes, over the preset that it names."""
    if not isinstance(raw, Mapping):
        return reader.note(path, f"this is a table; write [{path}]")
    preset = _preset(reader, raw.get("provider"), path, presets)
    own, routes = {key: raw[key] for key in raw if key != "routes"}, raw.get("routes", {})
    if preset is not None:
        own, routes = preset.under(own), preset.routes_under(raw)
    values = reader.fields(ServiceConfig, own, path, _SERVICE_KEYS)
    if "base_url" not in own:
        pattern = preset.base_url_pattern if preset is not None else None
        hint = f'; with this vendor it is each customer\'s own, such as "{pattern}"' if pattern else ""
        reader.note(join(path, "base_url"), REQUIRED + hint)
    config = reader.build(ServiceConfig, stand_ins(ServiceConfig) | values, path)
    if not isinstance(routes, Mapping):
        reader.note(join(path, "routes"), f"this is a table of routes; write [{path}.routes.<name>]")
        routes = {}
    read = [_route(reader, config, name, table, join(path, f"routes.{name}"), preset) for name, table in routes.items()]
    return ServiceEntry(config=config, routes=tuple(route for route in read if route is not WRONG))


def _preset(reader: Reader, name: object, path: str, presets: Presets) -> Preset | None:
    """Find the preset that a service names; one that is not there is noted here, one that is wrong with its file."""
    if not isinstance(name, str):
        return None
    if (sentence := presets.missing(name)) is not None:
        reader.note(join(path, "provider"), sentence)
        return None
    return presets.get(name)


def _route(reader: Reader, service: ServiceConfig, name: str, raw: object, path: str, preset: Preset | None) -> Any:
    """Overlay the service with what the route says itself: whole fields, not parts of them, over the preset's."""
    if not isinstance(raw, Mapping):
        return reader.note(path, f"this is a table; write [{path}]")
    for key in SERVICE_ONLY:
        if key in raw:
            reader.note(join(path, key), "this belongs to the service as a whole; a route cannot change it")
    own = {key: raw[key] for key in raw if key not in {*SERVICE_ONLY, "match"}}
    if preset is not None:  # What is known about the vendor holds for every route of it.
        laid = preset.under(own)
        own = {key: laid[key] for key in own}
    values = reader.fields(ServiceConfig, own, path, _ROUTE_KEYS)
    match: Any = STAND_INS[Rule]
    if "match" not in raw:
        reader.note(join(path, "match"), f'{REQUIRED}; write "GET /path/**"')
    elif (read := reader.value(Rule, raw["match"], join(path, "match"))) is not WRONG:
        match = read
    return Route(name=name, match=match, config=_overlaid(reader, service, values, path))


def _overlaid(reader: Reader, service: ServiceConfig, values: dict[str, Any], path: str) -> ServiceConfig:
    config = msgspec.structs.replace(service, **values)
    for field, sentence in config.problems():
        if (field, sentence) not in service.problems():
            reader.note(join(path, field), sentence)
    return config
