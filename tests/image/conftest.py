"""The image: only where one was built (`make image`), for its root tree and what it says of itself come from there."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Image(NamedTuple):
    """A built image: its root tree, and its config as in the OCI image specification."""

    root: Path
    config: dict[str, Any]

    @property
    def packages(self) -> Path:
        """Where what we install lies."""
        [folder] = self.root.glob("opt/sidecar/lib/python3.*/site-packages")
        return folder

    @property
    def command(self) -> list[str]:
        """What a container of it runs."""
        return [*self.config["Entrypoint"], *self.config["Cmd"]]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests of the image out where none is named."""
    is_test = collection_path.name.startswith("test_")
    return True if is_test and config.getoption("--image") is None else None


@pytest.fixture(scope="session")
def image(request: pytest.FixtureRequest) -> Image:
    """The one that `--image` names: a folder with `root`, its tree, and `config.json`."""
    folder = Path(request.config.getoption("--image"))
    return Image((folder / "root").resolve(), json.loads((folder / "config.json").read_text()))
