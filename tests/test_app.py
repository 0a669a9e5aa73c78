"""The composition root: what a load sees of files that change under it."""

from pathlib import Path

import pytest

import sidecar.app
from sidecar.app import App
from sidecar.config.load import load
from sidecar.config.model import Config

CONFIG = """\
[listen]
egress = ["127.0.0.1:0"]
admin = "127.0.0.1:0"
telemetry = "127.0.0.1:0"

[services.{name}]
base_url = "https://api.example"
"""


async def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap may be swapped between reading and looking; the new one must not be taken for the one in force."""
    path = tmp_path / "sidecar.toml"
    path.write_text(CONFIG.format(name="before"))

    def load_and_swap(read: Path) -> Config:
        config = load(read)
        monkeypatch.setattr(sidecar.app, "load", load)
        path.write_text(CONFIG.format(name="afterwards"))
        return config

    monkeypatch.setattr(sidecar.app, "load", load_and_swap)
    with (tmp_path / "log").open("wb", buffering=0) as log_stream:
        app = App(path, log_stream=log_stream)
        await app.start()
        try:
            assert list(app.snapshot()["services"]) == ["before"]
            result = await app.reload()
            assert (result["ok"], result["generation"]) == (True, 2)
            assert list(app.snapshot()["services"]) == ["afterwards"]
        finally:
            await app.stop()
