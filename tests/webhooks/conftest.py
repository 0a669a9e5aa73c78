"""What the tests of webhooks stand on."""

import pytest

from sidecar.webhooks.presets import preset, webhook_presets


@pytest.fixture(scope="session", autouse=True)
def presets() -> None:
    """Have all presets read, as they are when a config is loaded: not on the loop, nor by whichever test is first."""
    for name in webhook_presets():
        preset(name)
