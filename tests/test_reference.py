"""`sidecar.toml` at the top of the repo is the reference: complete, true, and itself a valid config."""

import re
import tomllib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from sidecar.config.load import read_text
from sidecar.config.model import Config, encode_names
from sidecar.config.rules import check
from sidecar.core.section import Section
from sidecar.layers.service import Route, ServiceConfig, ServiceEntry

TEXT = (Path(__file__).parent.parent / "sidecar.toml").read_text()
HEADER = re.compile(r"(\[?)\[([a-z_.]+)\]")
KEY = re.compile(r"(#?)([a-z_]+) = (.*)")


class Line(NamedTuple):
    """A key of the file."""

    number: int
    table: str
    key: str
    is_active: bool
    text: str  # Without the "#" in front.

    @property
    def is_example(self) -> bool:
        """Whether it is shown with a value that is not the default."""
        return "# Example; default" in self.text


def lines() -> Iterator[Line]:
    """Give every key of the file, active or not."""
    table = ""
    items: dict[str, int] = {}  # Of lists of tables.
    for number, text in enumerate(TEXT.splitlines()):
        if header := HEADER.match(text):
            table = header[2]
            if header[1]:
                items[table] = items.get(table, -1) + 1
                table = f"{table}.{items[table]}"
        elif key := KEY.match(text):
            yield Line(number, table, key[2], not key[1], text.removeprefix("#"))


def with_lines(chosen: list[Line], dropped: Sequence[str] = ()) -> str:
    """Give the file's text with some keys made active, and others taken out."""
    text = TEXT.splitlines()
    for line in lines():
        if line.is_active and f"{line.table}.{line.key}" in dropped:
            text[line.number] = ""
    for line in chosen:
        text[line.number] = line.text
    return "\n".join(text)


def examples() -> str:
    """Give the file with every key active, each example in place of what it excludes."""
    chosen = [line for line in lines() if not line.is_active]
    instead = [(line, re.search(r"Instead of (\w+)", line.text)) for line in chosen]
    return with_lines(chosen, [f"{line.table}.{found[1]}" for line, found in instead if found])


def sections(hint: Any) -> Iterator[type[Section]]:
    """Give every section that a type can hold, itself included."""
    if isinstance(hint, type) and issubclass(hint, ServiceEntry):
        yield from sections(ServiceConfig)
    elif isinstance(hint, type) and issubclass(hint, Section):
        yield hint
        for inner in get_type_hints(hint).values():
            yield from sections(inner)
    elif get_origin(hint) in {Union, types.UnionType, dict, tuple}:
        for inner in get_args(hint):
            yield from sections(inner)


def shown(value: Any, raw: dict[str, Any]) -> Iterator[tuple[type[Section], str]]:
    """Give (section, key) for each key that stands in the file, by following the tables down the config."""
    if isinstance(value, ServiceEntry):
        yield from shown(value.config, {key: raw[key] for key in raw if key != "routes"})
        for route in value.routes:
            yield from shown(route.config, raw["routes"][route.name])
        return
    names = {key: name for name, key in encode_names(type(value)).items()} if isinstance(value, Section) else {}
    for key, inner in raw.items():
        if key in names:
            yield type(value), key
        below = getattr(value, names[key]) if key in names else value.get(key) if isinstance(value, dict) else None
        if isinstance(inner, dict):
            yield from shown(below, inner)
        elif isinstance(inner, list) and isinstance(below, tuple) and isinstance(below[0] if below else None, Section):
            for item, table in zip(below, inner, strict=True):
                yield from shown(item, table)


def teller(section: type[Section], key: str) -> tuple[str, str]:
    """Give (name of the section that a key was declared in, key): what several inherit is told once."""
    name = next(name for name, encoded in encode_names(section).items() if encoded == key)
    return next(base.__name__ for base in section.__mro__ if name in vars(base).get("__annotations__", {})), key


def section_at(config: Config, table: str) -> Any:
    """Give the section that a table of the file became."""
    value: Any = config
    for key in table.split("."):
        if isinstance(value, ServiceEntry):
            value = (
                {route.name: route.config for route in value.routes} if key == "routes" else getattr(value.config, key)
            )
        elif isinstance(value, tuple):
            value = value[int(key)]
        else:
            value = value[key] if isinstance(value, dict) else getattr(value, key)
    return value.config if isinstance(value, ServiceEntry) else value


def test_the_reference_is_a_valid_config_without_warnings() -> None:
    """A newcomer starts from it."""
    assert check(read_text(TEXT)) == []


def test_every_default_that_the_reference_tells_is_true() -> None:
    """Making the commented-out keys active changes nothing, unless the comment says that it is an example."""
    chosen = [line for line in lines() if not line.is_active and not line.is_example]
    assert len(chosen) > 30
    assert read_text(with_lines(chosen)) == read_text(TEXT)


def test_every_example_is_valid_and_stands_for_a_key_without_a_default() -> None:
    """What has a default is shown with it."""
    assert check(read_text(examples())) == []
    config = read_text(TEXT)
    for line in lines():
        if line.is_example:
            assert getattr(section_at(config, line.table), line.key) is None, line


def test_every_key_of_every_section_stands_in_the_reference() -> None:
    """What is not told there does not exist for an operator."""
    text = examples()
    told = set(shown(read_text(text), tomllib.loads(text))) | set(shown(read_text(TEXT), tomllib.loads(TEXT)))
    all_keys = {(section, key) for section in sections(Config) for key in encode_names(section).values()}
    assert {teller(*one) for one in all_keys} - {teller(*one) for one in told} == set()
    assert {section for section, _ in all_keys} <= {section for section, _ in told}, "a kind without an example"
    assert 'match = "' in TEXT
    assert "match" in Route.__struct_fields__


def test_the_keys_stand_in_the_order_of_the_fields() -> None:
    """`show config` prints the same order, so the two can be laid side by side."""
    order = {section: list(encode_names(section).values()) for section in sections(Config)}
    tables: dict[str, list[str]] = {}
    for line in lines():
        tables.setdefault(line.table, []).append(line.key)
    for table, keys in tables.items():
        own = [key for key in keys if key not in {"kind", "match"}]
        matching = [names for names in order.values() if set(own) <= set(names)]
        assert any(sorted(own, key=names.index) == own for names in matching), table
