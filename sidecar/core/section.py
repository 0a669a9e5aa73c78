"""Section: what every part of the configuration is made of."""

from typing import dataclass_transform

import msgspec


# Tells type checkers what msgspec does at run time: subclasses are frozen without saying so.
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A frozen part of the configuration, compared by value.

    A subclass repeats `kw_only=True` (msgspec does not inherit it) and may define `problems()`, which gives a
    sentence for each thing that is wrong within the section; rules across sections stand in `config/rules.py`.
    """

    def problems(self) -> "list[tuple[str, str]]":
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        return []
