"""What is set once for the process: how many files it may have open."""

import msgspec

from sidecar.config.load import read
from sidecar.process import FILES_OWN, files_wanted


def test_the_files_wanted_are_those_of_all_bounds() -> None:
    """A limit below it lets the system refuse connections before the sidecar can say `shed`."""
    config = read(
        {
            "listen": {"connections_max": 100},
            "services": {
                "a": {"base_url": "https://a.example", "pool": {"connections_max": 10}},
                "b": {"base_url": "https://b.example"},
            },
        }
    )
    assert files_wanted(config) == FILES_OWN + 100 + 10 + 100
    assert files_wanted(msgspec.structs.replace(config, services={})) == FILES_OWN + 100
