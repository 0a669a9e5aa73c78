"""README.md and docs/ say what the code says: links, error codes, metrics, log fields, and every TOML example.

A block that begins with ```toml is a whole file; one with ```toml fragment shows only the tables that it is about, and
is read together with BASE.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sidecar.config.load import read, read_text
from sidecar.core.errors import SidecarError
from sidecar.telemetry.log import AttemptLine, CallLine
from sidecar.telemetry.table import TABLE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BASE = """
[secrets.files]
kind = "file"
path = "/var/run/secrets/sidecar"

[services.crm]
base_url = "https://api.crm.example/v2"
"""
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)")
BLOCK = re.compile(r"^```(\S*)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEREDOC = re.compile(r"<<'TOML'\n(.*?)^TOML$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Give a page without its code blocks."""
    return BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def rows(page: str, title: str) -> Iterator[list[str]]:
    """Give the cells of all table rows below a heading of a page, up to the next heading of its level."""
    text = (ROOT / "docs" / page).read_text()
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    assert section, f"{page} has no part {title!r}"
    for line in section.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def named(cell: str) -> list[str]:
    """Give what stands in backticks in a cell."""
    return re.findall(r"`([^`]+)`", cell)


def examples() -> Iterator[tuple[str, bool, str]]:
    """Give (where, whether it is a whole file, text) for every TOML example."""
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            where = f"{page.name}:{text[: match.start()].count(chr(10)) + 1}"
            if match[1] == "toml":
                assert match[2] in {"", "fragment"}, f"{where}: write nothing or `fragment` behind toml"
                yield where, match[2] == "", match[3]
            for heredoc in HEREDOC.finditer(match[3]):
                yield f"{where} (TOML)", True, heredoc[1]


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay tables over tables."""
    both = {
        key: overlaid(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **both}


def kinds(kind: type[SidecarError]) -> Iterator[type[SidecarError]]:
    """Give an error class and all below it, as far as core/errors.py has them."""
    if kind.__module__ == SidecarError.__module__:
        yield kind
        for inner in kind.__subclasses__():
            yield from kinds(inner)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """Files and headings that a page points to are there."""
    for path, anchor in LINK.findall(prose(page)):
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {path}#{anchor}"


def test_every_page_is_reached_from_the_readme() -> None:
    """A page that nobody links to is read by nobody."""
    linked = {(ROOT / path).resolve() for path, _ in LINK.findall(prose(ROOT / "README.md"))}
    assert set(PAGES[1:]) <= linked


def test_the_error_codes_are_those_of_the_code() -> None:
    """No code without its row, no row without its code, and the statuses are right."""
    told = {
        named(code)[0]: {int(status) for status in statuses.split(", ")}
        for code, statuses, *_ in rows("errors.md", "Codes")
    }
    true: dict[str, set[int]] = {}
    for kind in kinds(SidecarError):
        # A class that only gathers others has its parent's code, and is raised by nobody.
        if not (kind.__subclasses__() and "code" not in vars(kind)):
            true.setdefault(kind.code, set()).add(kind.status)
    assert told == true


def test_the_metrics_are_those_of_the_table() -> None:
    """Names and labels."""
    told = [named(name)[0] for name, *_ in rows("operating.md", "Metrics")]
    assert told == [row.name + ("{" + ",".join(row.labels) + "}" if row.labels else "") for row in TABLE]


def test_every_field_of_the_log_line_is_told_in_its_order() -> None:
    """The fields of the line, then those of its attempts."""
    told = [name for cells in rows("operating.md", "The log") for name in named(cells[0])]
    own = list(CallLine.__struct_fields__)
    assert told[: len(own)] == own
    assert set(told[len(own) :]) == set(AttemptLine.__struct_fields__)


@pytest.mark.parametrize(("is_whole", "text"), [pytest.param(*rest, id=where) for where, *rest in examples()])
def test_every_toml_example_is_accepted(is_whole: bool, text: str) -> None:
    """What a reader copies works."""
    if is_whole:
        assert read_text(text).services
    else:
        read(overlaid(tomllib.loads(BASE), tomllib.loads(text)))


def test_the_readme_stays_short() -> None:
    """It is for the first five minutes; what comes later is in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) < 150
