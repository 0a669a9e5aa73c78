"""Walk: every value of a config with its full path, for rules that ask about a type wherever it stands."""

from collections.abc import Iterator

import msgspec

from sidecar.config.model import Config, encode_names, overrides
from sidecar.config.problem import join
from sidecar.layers.service import ServiceEntry


def leaves(config: Config) -> Iterator[tuple[str, object]]:
    """Give (path, value) of every leaf; of a route, only what it says itself."""
    return _leaves(config, "")


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, ServiceEntry):
        yield from _leaves(value.config, path)
        for route in value.routes:
            names = encode_names(type(route.config))
            for name, own in overrides(value, route.config).items():
                yield from _leaves(own, f"{path}.routes.{route.name}.{names[name]}")
    elif isinstance(value, msgspec.Struct):
        for name, key in encode_names(type(value)).items():
            yield from _leaves(getattr(value, name), join(path, key))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, join(path, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{index}]")
    elif value is not None:
        yield path, value
