"""Show: the effective config, defaults filled in, as plain data and as TOML that `load` reads back.

Secrets stand in it as references, so there is nothing to hide.
"""

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from sidecar.config.model import Config, encode_names, overrides
from sidecar.config.presets import Presets
from sidecar.core.statuses import Statuses
from sidecar.core.units import Duration, Rate, Size
from sidecar.layers.service import ServiceEntry

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def as_data(config: Config) -> dict[str, Any]:
    """Give the config as tables, lists and scalars, keyed as in the file; what is absent is left out."""
    return _table(config)


def as_toml(config: Config) -> str:
    """Give the config as TOML; `load.read_text` makes an equal config of it."""
    return "\n".join(_lines(as_data(config), ()))[1:] + "\n"


def presets_as_data(presets: Presets) -> list[dict[str, str | list[str]]]:
    """Give a row for each preset: what it brings along, and where it stands. Those that cannot be read are left out."""
    read = [preset for name in presets.names if (preset := presets.get(name)) is not None]
    return [
        {
            "name": preset.name,
            "base_url": str(preset.table.get("base_url", "")),
            "auth": _form(preset.table.get("auth")),
            "also": [key for key in preset.table if key not in {"base_url", "auth"}],
            "from": preset.source if preset.is_own else "built in",
        }
        for preset in read
    ]


def _form(auth: object) -> str:
    """Say how credentials go: the kind, and the header where it is not the usual one."""
    if not isinstance(auth, Mapping):
        return ""
    prefix = str(auth.get("prefix", "")).strip()
    return " ".join(str(word) for word in (auth.get("kind"), auth.get("name", auth.get("header")), prefix) if word)


def _table(section: msgspec.Struct) -> dict[str, Any]:
    struct = type(section).__struct_config__
    table: dict[str, Any] = {struct.tag_field: struct.tag} if struct.tag_field else {}
    names = encode_names(type(section))
    return table | {names[name]: _plain(value) for name, value in _present(section)}


def _present(section: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if value is not None:
            yield name, value


def _service(entry: ServiceEntry) -> dict[str, Any]:
    """Give a service's table; a route shows what it says itself, the rest is the service's."""
    names = encode_names(type(entry.config))
    routes = {
        route.name: {
            "match": str(route.match),
            **{names[name]: _plain(value) for name, value in overrides(entry, route.config).items()},
        }
        for route in entry.routes
    }
    return _table(entry.config) | ({"routes": routes} if routes else {})


def _plain(value: Any) -> Any:
    if isinstance(value, ServiceEntry):
        return _service(value)
    if isinstance(value, msgspec.Struct):
        return _table(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Duration):
        return _exact(value)
    if isinstance(value, Statuses):
        return value.written()
    return str(value) if isinstance(value, str | Size | Rate) else value


def _exact(value: Duration) -> str:
    """Write a duration as people do; in digits where that form would round it."""
    text = str(value)
    try:
        is_exact = Duration.parse(text) == value
    except ValueError:  # An exponent, in numbers that nobody writes.
        is_exact = False
    return text if is_exact else f"{Decimal(repr(float(value))):f}s"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Write a table: its plain values first, since what follows a header belongs to that header."""
    if path and (not table or any(not isinstance(value, Mapping) for value in table.values())):
        yield f"\n[{'.'.join(_key(part) for part in path)}]"
    for key, value in table.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_scalar(value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, (*path, key))


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _scalar(key)


def _scalar(value: Any) -> str:
    """Write a value. JSON's strings, numbers and booleans are TOML's, but for DEL."""
    if isinstance(value, list):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    if isinstance(value, Mapping):  # In a list; others have a header of their own.
        return "{" + ", ".join(f"{_key(key)} = {_scalar(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
