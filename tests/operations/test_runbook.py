"""The runbook's words are the sidecar's: its commands run, and what it tells to look for is there to be found."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

from sidecar.cli import _parser
from tests.operations.promtool import ROOT, RUNBOOK

CODE = re.compile(r"`([^`\n]+)`|^(kubectl .*)$", re.MULTILINE)
INNER = re.compile(r"\$\(([^)]*)\)")  # What gives a command its ids.
SNIPPETS = [one or other for one, other in CODE.findall(RUNBOOK.read_text())]
COMMANDS = sorted(
    {
        part.strip().partition(" -- ")[2] or part.strip()
        for snippet in SNIPPETS
        for whole in (INNER.sub("ID", snippet), *INNER.findall(snippet))
        for part in re.split(r"\||   #", whole)
        if re.match(r"(kubectl .* -- )?sidecar \w", part.strip())
    }
)
WORDS = sorted({word for word in SNIPPETS if re.fullmatch(r"[a-z]+(?:[_.][a-z]+)+", word)})
SOURCES = [*(ROOT / "sidecar").rglob("*.py"), ROOT / "sidecar.toml", ROOT / "docs" / "operating.md"]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_one_of_the_sidecar(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At three in the morning nobody wants to see usage."""
    try:
        arguments: argparse.Namespace = _parser().parse_args(shlex.split(command)[1:])
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    assert arguments.command


def test_there_are_commands() -> None:
    """So the test above says something."""
    assert {"sidecar show services", "sidecar token SERVICE", "sidecar jobs retry ID"} <= set(COMMANDS)


@pytest.mark.parametrize("word", WORDS)
def test_each_word_of_the_log_the_config_and_the_metrics_is_there(word: str) -> None:
    """A message, a code, a key, a metric: whoever searches for it finds it."""
    parts = word.split(".")  # A key is told with its section.
    assert any(all(re.search(rf"\b{part}\b", text) for part in parts) for text in _texts())


def _texts(cache: list[str] = []) -> list[str]:  # noqa: B006 - read once
    if not cache:
        cache.extend(path.read_text() for path in SOURCES if path != Path(__file__))
    return cache


@pytest.mark.parametrize("address", re.findall(r"http://localhost:400[12](/\S*)", RUNBOOK.read_text()))
def test_each_address_is_of_a_door(address: str) -> None:
    """Of the admin API, or of the probes."""
    path = re.sub(r"/services/crm/", "/services/{name}/", address.rstrip("`,.;"))
    text = "".join((ROOT / "sidecar" / "admin" / name).read_text() for name in ("api.py", "health.py"))
    assert f'"{path}"' in text
