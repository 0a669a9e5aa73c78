"""Schema: the JSON Schema of `sidecar.toml`, made from the sections that the reader reads it into.

It is for editors, and for Helm, whose values hold the same keys. It holds keys, types, patterns, bounds, what a `kind`
asks for, and which keys exclude or need each other. `sidecar check` knows more: what the values of two keys mean
together, names that have to be there (secret stores, presets of the user's own), queries and templates, and bounds of
what is written with a unit. Only keywords are used that draft-07 has with the same meaning, for tools that know no
later one.
"""

import types
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec

from sidecar.config.model import SERVICE_ONLY, Config
from sidecar.config.presets import Presets
from sidecar.config.rules.bounds import COUNT_MAX, may_be_zero, smallest
from sidecar.config.rules.names import ROUTE
from sidecar.config.schema_fields import REQUIRED, beyond_its_type
from sidecar.config.schema_pairs import WHOLE, together
from sidecar.config.schema_types import TYPES, Schema, above_zero, exact
from sidecar.config.schema_words import of_field, of_section
from sidecar.core.section import Section
from sidecar.core.units import Duration
from sidecar.layers.access import Rule
from sidecar.layers.service import ServiceConfig, ServiceEntry
from sidecar.webhooks.presets import webhook_presets

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_INLINE = (str, bool, float)
_REST = {"items", "values", "names"}  # Of a field's rule, what is not laid over the field itself.


class _At(NamedTuple):
    """Where in the config something stands."""

    path: str
    is_over_preset: bool = False  # A preset may give what is missing.

    def below(self, key: str) -> "_At":
        return _At(f"{self.path}.{key}" if self.path else key, self.is_over_preset)


def schema() -> Schema:
    """Give the schema of the whole file."""
    said = {"title": "sidecar.toml", "description": "The configuration of a sidecar."}
    return {"$schema": DRAFT, **schema_of(Config), **said, "allOf": [_of_presets(), *WHOLE]}


def schema_of(kind: type[Section]) -> Schema:
    """Give the schema of a section, with what it refers to. Raises TypeError for a type of value that is not known."""
    writer = _Writer()
    table = writer.table(kind, _At(""))
    return {**table, "$defs": dict(sorted(writer.defs.items()))}


class _Writer:
    """Writes the schema of each section once, and refers to it."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}
        self._names: dict[tuple[type, bool], str] = {}

    def value(self, hint: Any, at: _At, rule: Schema) -> Schema:
        """Give what a value of this type may be. Raises TypeError for a type that is not known here."""
        own = {key: word for key, word in rule.items() if key not in _REST}
        if get_origin(hint) in {Union, types.UnionType}:
            return self._union(hint, at, rule)
        if get_origin(hint) is Literal:
            return {"enum": list(get_args(hint))}
        if get_origin(hint) is tuple:
            return {"type": "array", "items": self.value(get_args(hint)[0], _At(at.path), rule.get("items", {}))} | own
        if get_origin(hint) is dict:
            return self._names_and_values(get_args(hint)[1], at, rule) | own
        if hint is ServiceEntry:
            return self._service(at)
        if isinstance(hint, type) and issubclass(hint, Section):
            return self._tagged((hint,), at) if hint.__struct_config__.tag else self.section(hint, at)
        if hint is int:
            return {"type": "integer", "minimum": smallest(at.path), "maximum": COUNT_MAX} | own
        if hint is Duration:
            return self._named("duration" if may_be_zero(at.path) else "duration_above_0", _duration(at.path))
        if hint not in TYPES:
            raise TypeError(f"{at.path}: the schema does not know {hint}; write into schema_types.py how it looks")
        if own:
            return TYPES[hint] | own
        return TYPES[hint] if hint in _INLINE else self._named(_word(hint.__name__), TYPES[hint])

    def _named(self, name: str, body: Schema) -> Schema:
        """Write a definition, and give the reference to it."""
        assert self.defs.setdefault(name, body) == body, f"there are two of {name}"
        return {"$ref": f"#/$defs/{name}"}

    def _union(self, hint: Any, at: _At, rule: Schema) -> Schema:
        members = [member for member in get_args(hint) if member is not type(None)]
        choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
        rest = [member for member in members if get_origin(member) is not Literal]
        lists = [member for member in rest if get_origin(member) is tuple]
        if not rest:
            return {"enum": choices}
        if choices == [False] and len(rest) == 1:
            return {"if": {"type": "boolean"}, "then": {"const": False}, "else": self.value(rest[0], at, rule)}
        if not choices and len(rest) == 1:
            return self.value(rest[0], at, rule)
        if not choices and len(rest) == 2 and len(lists) == 1:  # One, or a list of such.
            one = next(member for member in rest if member is not lists[0])
            several = self.value(lists[0], at, rule)
            return {"if": {"type": "array"}, "then": several, "else": self.value(one, at, rule)}
        if not choices and all(isinstance(member, type) and issubclass(member, Section) for member in rest):
            return self._tagged(rest, at)
        raise TypeError(f"{at.path}: the schema does not know how to tell apart what {hint} may be")

    def _names_and_values(self, hint: Any, at: _At, rule: Schema) -> Schema:
        value = self.value(hint, at.below("*"), rule.get("values", {}))
        if "names" in rule:
            return {"type": "object", "patternProperties": {rule["names"]: value}, "additionalProperties": False}
        return {"type": "object", "additionalProperties": value}

    def _tagged(self, kinds: Sequence[type[Section]], at: _At) -> Schema:
        """Let the tag choose the section, so that what is wrong is told of that one alone."""
        tags = [str(kind.__struct_config__.tag) for kind in kinds]
        field = str(kinds[0].__struct_config__.tag_field)
        chosen: Schema = self._any_of(kinds, at) if at.is_over_preset else {}
        for kind, tag in zip(reversed(kinds), reversed(tags), strict=True):
            is_it = {"properties": {field: {"const": tag}}, "required": [field]}
            chosen = {"if": is_it, "then": self.section(kind, at.below(tag)), **({"else": chosen} if chosen else {})}
        head: Schema = {"type": "object", "properties": {field: {"enum": tags}}}
        return {**head, **({} if at.is_over_preset else {"required": [field]}), **chosen}

    def _any_of(self, kinds: Sequence[type[Section]], at: _At) -> Schema:
        """Give a table whose tag the preset has: a key is that of one of the kinds at least."""
        field = str(kinds[0].__struct_config__.tag_field)
        looks: dict[str, list[Schema]] = {field: [{}]}  # It is judged by then.
        for kind in kinds:
            for key, look in self.table(kind, at)["properties"].items():
                plain = {word: said for word, said in look.items() if word != "description"}
                if key != field and plain not in looks.setdefault(key, []):
                    looks[key].append(plain)
        properties = {key: each[0] if len(each) == 1 else {"anyOf": each} for key, each in looks.items()}
        return {"properties": properties, "additionalProperties": False}

    def section(self, kind: type[Section], at: _At) -> Schema:
        """Refer to a section's table."""
        if at.is_over_preset and not _asks(kind):
            at = _At(at.path)
        name = self._names.setdefault(
            (kind, at.is_over_preset), ("over_preset." if at.is_over_preset else "") + at.path.replace(".*", "")
        )
        return self._named(name, self.table(kind, at))

    def table(self, kind: type[Section], at: _At) -> Schema:
        """Give a section's table."""
        hints = get_type_hints(kind)
        struct = kind.__struct_config__
        properties: dict[str, Schema] = {str(struct.tag_field): {"const": struct.tag}} if struct.tag_field else {}
        required = [str(struct.tag_field)] if struct.tag_field else []
        for field in msgspec.structs.fields(kind):
            look = self.value(hints[field.name], at.below(field.encode_name), beyond_its_type(kind, field.name))
            words = of_field(kind, field.name)
            properties[field.encode_name] = {**({"description": words} if words else {}), **look}
            if field.required or field.name in REQUIRED.get(kind, ()):
                required.append(field.encode_name)
        if at.is_over_preset:
            return _table(properties, [], of_section(kind))
        return {**_table(properties, required, of_section(kind)), **together(kind)}

    def _service(self, at: _At) -> Schema:
        """Choose by `provider`: a preset below may give what is missing."""
        at = _At(at.path.removesuffix(".*"))
        over = self._service_table(_At(at.path, is_over_preset=True))
        return {"if": {"required": ["provider"]}, "then": over, "else": self._service_table(at)}

    def _service_table(self, at: _At) -> Schema:
        """Refer to a service's table."""
        below = "over_preset." if at.is_over_preset else ""
        table = self.table(ServiceConfig, at)
        own = {key: look for key, look in table["properties"].items() if key not in SERVICE_ONLY}
        match = {"match": self.value(Rule, at, {})}
        route = self._named(f"{below}routes", _table(match | own, [] if at.is_over_preset else ["match"], "A route."))
        routes = {
            "type": "object",
            "patternProperties": {exact(ROUTE): route},
            "additionalProperties": False,
        }
        table["properties"] |= {"routes": routes, "gather": {"const": False}}  # That is of a route.
        return self._named(f"{below}service", table)


def _table(properties: dict[str, Schema], required: list[str], words: str) -> Schema:
    asked = {"required": required} if required else {}
    return {"description": words, "type": "object", "properties": properties, **asked, "additionalProperties": False}


def _duration(path: str) -> Schema:
    return TYPES[Duration] if may_be_zero(path) else above_zero(TYPES[Duration])


def _word(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")


def _asks(hint: Any) -> bool:
    """Whether something is required somewhere in a table of this type; lists aside, which a preset gives whole."""
    if get_origin(hint) in {Union, types.UnionType, dict}:
        return any(_asks(inner) for inner in get_args(hint))
    if not (isinstance(hint, type) and issubclass(hint, Section)):
        return False
    return (
        hint.__struct_config__.tag is not None
        or any(field.required for field in msgspec.structs.fields(hint))
        or any(_asks(inner) for inner in get_type_hints(hint).values())
    )


def _of_presets() -> Schema:
    """Hold services and webhooks to the presets that are there, where the user has none of their own.

    To their names; a service of one without a base URL to its own; and a webhook to one signature.
    """
    presets = Presets()
    tables = {name: preset for name in presets.names if (preset := presets.get(name)) is not None}
    bare = [name for name, preset in tables.items() if preset.base_url_pattern or "base_url" not in preset.table]
    service = {
        "properties": {"provider": {"enum": list(tables)}},
        "if": {"properties": {"provider": {"enum": bare}}, "required": ["provider"]},
        "then": {"required": ["base_url"]},
    }
    webhook = {
        "properties": {"provider": {"enum": list(webhook_presets())}},
        "if": {"required": ["provider"]},
        "then": {"properties": {"signature": False}},
    }
    return {
        "if": {"properties": {"sidecar": {"required": ["providers_dir"]}}, "required": ["sidecar"]},
        "else": {
            "properties": {
                "services": {"additionalProperties": service},
                "webhooks": {"additionalProperties": webhook},
            }
        },
    }
