"""Load: a config file becomes a `Config`, or a list of all that is wrong with it."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from sidecar.config.model import ENVIRONMENT, SERVICE_ONLY, Config
from sidecar.config.problem import ConfigError, Problem, is_within, join
from sidecar.config.reader import STAND_INS, WRONG, Reader, keys_of, stand_ins
from sidecar.config.rules import check
from sidecar.layers.access import Rule
from sidecar.layers.service import Route, ServiceConfig, ServiceEntry

_PLACE = re.compile(r" \(at (line \d+, column \d+|end of document)\)$")
_SERVICE_KEYS = (*keys_of(ServiceConfig), "routes")
_ROUTE_KEYS = ("match", *(key for key in keys_of(ServiceConfig) if key not in SERVICE_ONLY))


def load(path: Path) -> Config:
    """Read the file. Raises ConfigError with every problem of it; warnings are `rules.check`'s to give."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        _fail(path, "there is no such file; write one, or name it with -c")
    except OSError as error:
        _fail(path, f"the file cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        _fail(path, f"the file is not UTF-8; the first wrong byte is at {error.start}")
    return read_text(text, name=str(path))


def read_text(text: str, name: str = "sidecar.toml") -> Config:
    """Read a config from TOML. Raises ConfigError; `name` stands as the path of a syntax error."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        where = f" at {place[1]}" if place else ""
        _fail(name, f"this is not TOML{where}: {_PLACE.sub('', str(error))}")
    except (RecursionError, ValueError):  # The latter for a number of thousands of digits.
        _fail(name, "this is nested too deeply, or holds a number that is too long")
    return read(raw)


def read(raw: Mapping[str, object]) -> Config:
    """Read a config from tables already decoded. Raises ConfigError with all problems of shape and of sense."""
    reader = Reader(_environment(raw))
    config = _config(reader, raw)
    wrong = [problem.path for problem in reader.problems]
    found = [problem for problem in check(config) if not problem.is_warning and not _is_doubtful(problem, wrong)]
    if reader.problems or found:
        raise ConfigError([*reader.problems, *found])
    return config


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


def _config(reader: Reader, raw: Mapping[str, object]) -> Config:
    """Build what can be built; each section that is wrong is noted and left at its default."""
    values = reader.fields(Config, {key: raw[key] for key in raw if key != "services"}, "", tuple(keys_of(Config)))
    services = raw.get("services", {})
    if not isinstance(services, Mapping):
        reader.note("services", "this is a table of services; write [services.<name>]")
        services = {}
    entries = {name: _service(reader, table, join("services", name)) for name, table in services.items()}
    values["services"] = {name: entry for name, entry in entries.items() if entry is not WRONG}
    return Config(**values)


def _service(reader: Reader, raw: object, path: str) -> Any:
    """Read a service and its routes."""
    if not isinstance(raw, Mapping):
        return reader.note(path, f"this is a table; write [{path}]")
    own = {key: raw[key] for key in raw if key != "routes"}
    values = reader.fields(ServiceConfig, own, path, _SERVICE_KEYS)
    if "base_url" not in raw:
        reader.note(join(path, "base_url"), "this key is required and not there")
    config = reader.build(ServiceConfig, stand_ins(ServiceConfig) | values, path)
    tables = raw.get("routes", {})
    if not isinstance(tables, Mapping):
        reader.note(join(path, "routes"), f"this is a table of routes; write [{path}.routes.<name>]")
        tables = {}
    routes = [_route(reader, config, name, table, join(path, f"routes.{name}")) for name, table in tables.items()]
    return ServiceEntry(config=config, routes=tuple(route for route in routes if route is not WRONG))


def _route(reader: Reader, service: ServiceConfig, name: str, raw: object, path: str) -> Any:
    """Overlay the service with what the route says itself: whole fields, not parts of them."""
    if not isinstance(raw, Mapping):
        return reader.note(path, f"this is a table; write [{path}]")
    for key in SERVICE_ONLY:
        if key in raw:
            reader.note(join(path, key), "this belongs to the service as a whole; a route cannot change it")
    own = {key: raw[key] for key in raw if key not in {*SERVICE_ONLY, "match"}}
    values = reader.fields(ServiceConfig, own, path, _ROUTE_KEYS)
    match: Any = STAND_INS[Rule]
    if "match" not in raw:
        reader.note(join(path, "match"), 'this key is required and not there; write "GET /path/**"')
    elif (read := reader.value(Rule, raw["match"], join(path, "match"))) is not WRONG:
        match = read
    return Route(name=name, match=match, config=_overlaid(reader, service, values, path))


def _overlaid(reader: Reader, service: ServiceConfig, values: dict[str, Any], path: str) -> ServiceConfig:
    config = msgspec.structs.replace(service, **values)
    for field, sentence in config.problems():
        if (field, sentence) not in service.problems():
            reader.note(join(path, field), sentence)
    return config
