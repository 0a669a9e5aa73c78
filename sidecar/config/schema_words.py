"""Schema words: what the sections say of themselves, read from their sources: docstrings, and comments at fields."""

import ast
import io
import re
import sys
import tokenize
from functools import lru_cache
from pathlib import Path

from sidecar.core.section import Section

_FOR_TOOLS = re.compile(r"(noqa|fmt|type):")


def of_section(kind: type[Section]) -> str:
    """Give the first paragraph of its docstring."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def of_field(kind: type[Section], field: str) -> str:
    """Give the comment behind the field, or, without one, those above it; "" when there is none."""
    for parent in kind.__mro__:
        if issubclass(parent, Section) and field in _comments(parent):
            return _comments(parent)[field]
    return ""


@lru_cache(maxsize=512)  # More than there are sections.
def _comments(kind: type[Section]) -> dict[str, str]:
    """Give the comment of each field that the class itself defines."""
    source = Path(str(sys.modules[kind.__module__].__file__)).read_text(encoding="utf-8")
    remarks = dict(_remarks(source))
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
    fields = [node for node in classes[0].body if isinstance(node, ast.AnnAssign)]
    return {ast.unparse(node.target): _at(node, remarks) for node in fields}


def _at(node: ast.AnnAssign, remarks: dict[int, tuple[str, bool]]) -> str:
    behind, _ = remarks.get(node.end_lineno or 0, ("", False))
    above: list[str] = []
    line = node.lineno - 1
    while line in remarks and remarks[line][1]:
        above.insert(0, remarks[line][0])
        line -= 1
    return behind or " ".join(above)


def _remarks(source: str) -> list[tuple[int, tuple[str, bool]]]:
    """Give (line, (comment, whether it has the line for itself)); what is meant for tools is left out."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comment = token.string.lstrip("# ")
            if not _FOR_TOOLS.match(comment):
                found.append((token.start[0], (comment, not token.line[: token.start[1]].strip())))
    return found
