"""A preset of the user's says how a vendor signs: it is used and watched, and what is wrong is told with its file."""

from pathlib import Path

import pytest

from sidecar.cli import main
from sidecar.config.changes import sources
from sidecar.config.load import load, read_text
from sidecar.config.problem import ConfigError
from sidecar.config.show import as_toml
from sidecar.webhooks.presets import preset
from sidecar.webhooks.verifying import scheme_of

BASE = """
[sidecar]
providers_dir = "own"
[store]
kind = "sqlite"
[secrets.files]
kind = "file"
path = "/x"
"""
HOOK = '[webhooks.acme]\nprovider = "{}"\nsecret = "files:a"\n'
ACME = '[webhook]\nsignature = ["header:Acme-Signature"]\nid = "json:id"\n'
BAD = """
[webhook]
signature = ["X-Signature", "header:a b"]
signed = "{what}"
tolerance = "8d"
tolerence = "5m"
variants = [{ signed = "{body}" }, { signd = "{body}", body_hash = "nowhere" }]
[webhook.keys]
url = "header:X"
hosts = []
[[webhook.handshakes]]
status = 302
when = { "json:a" = "1" }
signed = false
"""


class Files:
    """A config, and presets beside it."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "sidecar.toml"
        (directory / "own").mkdir()
        self._own = directory / "own"
        self.write("acme")

    def write(self, provider: str, more: str = "") -> None:
        """Write the config, with one webhook."""
        self.config.write_text(BASE + HOOK.format(provider) + more)

    def preset(self, text: str, name: str = "acme") -> None:
        """Write a preset."""
        (self._own / f"{name}.toml").write_text(text)

    def problems(self) -> list[str]:
        """Give the paths of all that is wrong."""
        with pytest.raises(ConfigError) as caught:
            load(self.config)
        return [problem.path for problem in caught.value.problems]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A directory of them."""
    return Files(tmp_path)


def test_a_preset_of_the_users_says_how_a_vendor_signs(files: Files) -> None:
    """It may say nothing else; and one of a known name takes the place of the package's."""
    files.preset(ACME)
    files.preset(ACME, "stripe")
    for name in ("acme", "stripe"):
        files.write(name)
        scheme = scheme_of(load(files.config).webhooks["acme"])
        assert scheme.signature == ("header:Acme-Signature",)
        assert scheme != preset("stripe")


def test_what_is_shown_of_it_is_read_back_as_the_same(files: Files, tmp_path: Path) -> None:
    """The signature stands there whole."""
    files.preset(ACME)
    config = load(files.config)
    assert read_text(as_toml(config), tmp_path) == config


def test_all_that_is_wrong_is_told_with_its_file_and_its_whole_path(files: Files) -> None:
    """Once, and beside the problems of the config; the webhook that stands on it is not blamed."""
    files.preset(BAD)
    files.write("acme", "concurrency = 0\n[services.a]\nprovider = 'acme'\nbase_url = 'https://a.example'\n")
    found = files.problems()
    assert found == [
        "webhooks.acme.concurrency",
        *(
            f"own/acme.toml: webhook.{key}"
            for key in (
                "tolerence", "variants[1].signd", "variants[1].signed", "keys.hosts", "handshakes[0].signed",
                "handshakes[0].status", "signature[0]", "signature[1]", "variants[1].body_hash", "keys", "tolerance",
            )
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["webhook = 1", "webhook = []", "= 1", '[webhook]\nsigned = "{body}"'])
def test_what_is_no_table_is_told_too(files: Files, text: str) -> None:
    """So is a file that cannot be read, and a table without what it must have."""
    files.preset(text)
    [path] = files.problems()
    assert path.startswith("own/acme.toml")


def test_a_preset_without_a_webhook_is_none_for_webhooks(files: Files) -> None:
    """Its file is named; so is the name that nobody has."""
    files.preset('base_url = "https://a.example"')
    with pytest.raises(ConfigError, match=r"webhooks.acme.provider: own/acme.toml has no table \[webhook\]"):
        load(files.config)
    files.write("acmee")
    with pytest.raises(ConfigError, match=r"webhooks.acme.provider: there is no such preset"):
        load(files.config)


def test_its_settings_are_the_webhooks(files: Files) -> None:
    """What only the user knows is asked for where the webhook stands."""
    files.preset(ACME + 'signed = "{setting:account}{body}"\n')
    assert files.problems() == ["webhooks.acme.provider"]
    files.write("acme", 'settings = { account = "1" }\n')
    assert scheme_of(load(files.config).webhooks["acme"]).settings == {"account": "1"}


def test_its_file_is_watched(files: Files, tmp_path: Path) -> None:
    """When it comes, goes or changes, the config is another one."""
    before = sources(files.config)
    files.preset(ACME)
    assert sources(files.config).changed(before) == (f"{tmp_path}/own/acme.toml",)


def test_the_check_judges_those_that_nothing_names_too(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """A sidecar that runs does not read them."""
    files.preset(ACME)
    assert main(["check", "-c", str(files.config)]) == 0
    assert "1 webhook" in capsys.readouterr().out
    files.preset(BAD, "other")
    assert main(["check", "-c", str(files.config)]) == 1
    assert "own/other.toml: webhook.handshakes[0].status: " in capsys.readouterr().err
    assert load(files.config).webhooks["acme"].provider == "acme"
