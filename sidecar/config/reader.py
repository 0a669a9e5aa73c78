"""Reader: turns raw tables into sections, and collects every problem instead of stopping at the first.

msgspec itself stops at the first error and hides the keys of dicts from the path, so the walk is ours. No sentence
made here repeats a value: what stands in the wrong place may be a secret. Only the types with a `parse` of their own
(durations, URLs, rules) may do so, and `SecretRef.parse` does not.
"""

import types
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.vault.config import TokenFile, VaultAddress, VaultAuth
from sidecar.config.problem import Problem, join
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Rates
from sidecar.layers.access import Rule
from sidecar.upstream.origin import BaseUrl

# What takes the place of a required value that is missing or wrong, by its type: the rules then judge the rest in the
# same run. Its own problem is noted, so a config with a stand-in is never used.
STAND_INS: dict[Any, Any] = {
    str: "none",
    tuple[str, ...]: (),
    SecretRef: SecretRef.parse("none:none"),
    BaseUrl: BaseUrl.parse("https://localhost"),
    Rule: Rule.parse("* /**"),
    Rates: Rates.parse("1/s"),
    TokenUrl: TokenUrl.parse("https://localhost/token"),
    VaultAddress: VaultAddress.parse("https://localhost:8200"),
    VaultAuth: TokenFile(token_file="none"),  # noqa: S106 - the name of a file
}

REQUIRED = "this key is required and not there"

_PLAIN: dict[Any, str] = {
    str: 'write text in quotes, such as "text"',
    int: "write a whole number, such as 100",
    float: "write a number, such as 0.5",
    bool: "write true or false",
}


class _Wrong:
    """Stands for a value that could not be read; its problem is already noted."""


WRONG = _Wrong()


class Reader:
    """Reads one config; `problems` grows as it goes."""

    def __init__(self, environment: str | None = None) -> None:
        self.problems: list[Problem] = []
        self._environment = environment

    def note(self, path: str, sentence: str) -> _Wrong:
        """Remember a problem."""
        self.problems.append(Problem(path, sentence))
        return WRONG

    def section(self, kind: type[Section], raw: object, path: str) -> Any:
        """Build a section; a field that is wrong stands at its default, so that the rest can still be judged."""
        if not isinstance(raw, Mapping):
            return self.note(path, f"this is a table; its keys are {listed(keys_of(kind))}")
        values = self.fields(kind, raw, path)
        self._note_missing(kind, raw, path)
        return self.build(kind, stand_ins(kind) | values, path)

    def build(self, kind: type[Section], values: dict[str, Any], path: str) -> Any:
        """Make the section from read values, and ask it what it finds wrong with itself."""
        section = kind(**values)
        wrong = {problem.path for problem in self.problems}  # They stand at a default only for now.
        for field, sentence in section.problems():
            if join(path, field) not in wrong:
                self.note(join(path, field), sentence)
        return section

    def fields(
        self, kind: type[Section], raw: Mapping[str, object], path: str, known: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Read the fields that `raw` holds; `known` are the keys that may stand there, absent: the section's own."""
        hints = get_type_hints(kind)
        fields = {field.encode_name: field for field in _fields(kind)}
        tag_field = kind.__struct_config__.tag_field
        known = known or (*fields, *([tag_field] if tag_field else []))
        values = {}
        for key, value in raw.items():
            if key not in known:
                self.note(join(path, key), unknown("key", key, known))
            elif key in fields:
                read = self.value(hints[fields[key].name], value, join(path, key))
                if read is not WRONG:
                    values[fields[key].name] = read
        return values

    def _note_missing(self, kind: type[Section], raw: Mapping[str, object], path: str) -> None:
        for field in _fields(kind):
            if field.required and field.encode_name not in raw:
                self.note(join(path, field.encode_name), REQUIRED)

    def value(self, hint: Any, raw: object, path: str) -> Any:
        """Read one value as `hint` says; WRONG when it is not that."""
        if get_origin(hint) in (Union, types.UnionType):
            return self._union(hint, raw, path)
        if get_origin(hint) is tuple:
            return self._list(get_args(hint)[0], raw, path)
        if get_origin(hint) is dict:
            return self._table(get_args(hint)[1], raw, path)
        if isinstance(hint, type) and issubclass(hint, Section):
            return self._tagged((hint,), raw, path) if hint.__struct_config__.tag else self.section(hint, raw, path)
        if hasattr(hint, "parse"):
            return self._parsed(hint, raw, path)
        return self._plain(hint, raw, path)

    def _union(self, hint: Any, raw: object, path: str) -> Any:
        members = [member for member in get_args(hint) if member is not type(None)]
        choices = [choice for member in members if get_origin(member) is Literal for choice in get_args(member)]
        for choice in choices:
            if raw is choice or (type(raw) is type(choice) and raw == choice):
                return raw
        rest = [member for member in members if get_origin(member) is not Literal]
        if not rest:
            return self.note(path, f"write one of {listed(choices)}")
        if False in choices and isinstance(raw, bool):
            return self.note(path, "write false to switch it off; leave the key out for the defaults")
        lists = [member for member in rest if get_origin(member) is tuple]
        if lists and len(rest) == 2:  # One, or a list of such.
            rest = lists if isinstance(raw, list | tuple) else [member for member in rest if member not in lists]
        if len(rest) == 1:
            return self.value(rest[0], raw, path)
        return self._tagged(tuple(rest), raw, path)

    def _tagged(self, kinds: tuple[type[Section], ...], raw: object, path: str) -> Any:
        """Pick the section by its `kind`."""
        by_tag = {str(kind.__struct_config__.tag): kind for kind in kinds}
        tag_field = kinds[0].__struct_config__.tag_field or "kind"
        if not isinstance(raw, Mapping):
            return self.note(path, f'this is a table; write {{ {tag_field} = "{next(iter(by_tag))}", ... }}')
        if tag_field not in raw:
            return self.note(join(path, tag_field), f"{REQUIRED}; write {listed(by_tag)}")
        tag = raw[tag_field]
        if not isinstance(tag, str) or tag not in by_tag:
            return self.note(join(path, tag_field), f"this kind is not known; write {listed(by_tag)}")
        return self.section(by_tag[tag], raw, path)

    def _list(self, hint: Any, raw: object, path: str) -> Any:
        if not isinstance(raw, list | tuple):
            return self.note(path, 'write a list, such as ["first", "second"]')
        values = tuple(self.value(hint, item, f"{path}[{index}]") for index, item in enumerate(raw))
        return WRONG if WRONG in values else values

    def _table(self, hint: Any, raw: object, path: str) -> Any:
        if not isinstance(raw, Mapping):
            return self.note(path, "this is a table of names and values")
        values = {key: self.value(hint, item, join(path, key)) for key, item in raw.items()}
        return WRONG if WRONG in values.values() else values

    def _parsed(self, hint: Any, raw: object, path: str) -> Any:
        if hint is SecretRef and isinstance(raw, str) and self._environment is not None:
            raw = raw.replace("{environment}", self._environment)
        elif isinstance(raw, Mapping) or (isinstance(raw, list) and not getattr(hint, "takes_list", False)):
            return self.note(path, "this is a single value in quotes, not a table and not a list")
        try:
            return hint.parse(raw)
        except ValueError as error:
            return self.note(path, str(error))

    def _plain(self, hint: Any, raw: object, path: str) -> Any:
        if isinstance(raw, str) and "\0" in raw:
            return self.note(path, "text holds no NUL")
        try:
            return msgspec.convert(raw, hint, strict=True)
        except msgspec.ValidationError:
            choices = get_args(hint) if get_origin(hint) is Literal else ()
            return self.note(path, _PLAIN.get(hint) or f"write one of {listed(choices)}")


def _fields(kind: type[Section]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def stand_ins(kind: type[Section]) -> dict[str, Any]:
    """Give a value for each required field of a section; what was read is laid over it."""
    hints = get_type_hints(kind)
    return {field.name: STAND_INS[hints[field.name]] for field in _fields(kind) if field.required}


def keys_of(kind: type[Section]) -> list[str]:
    """Give the keys of a section as they are written in the file."""
    return [field.encode_name for field in _fields(kind)]


def listed(words: Any) -> str:
    """Write `"a", "b" or "c"`; booleans as TOML has them."""
    shown = [("true" if word else "false") if isinstance(word, bool) else f'"{word}"' for word in words]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def unknown(what: str, name: str, known: Any) -> str:
    """Say that a name is not known, and which one may be meant."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"there is no such {what}; " + (f'did you mean "{close[0]}"?' if close else f"known are {listed(known)}")
