"""What is set once for the process: how many files it may have open."""

import msgspec

from sidecar.config.load import read
from sidecar.process import FILES_OWN, files_wanted, warn


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


def test_each_warning_has_a_line_and_is_counted() -> None:
    """The number is a metric: a line that was written once is seen by nobody a week later."""
    lines: list[tuple[object, ...]] = []
    wide = {"a": {"base_url": "https://a.example", "pool": {"connections_max": 10_000_000}}}

    def event(level: str, msg: str, **fields: object) -> None:
        lines.append((level, msg, *fields))

    assert warn(read({"services": wide}), event) == len(lines)
    assert ("warning", "files_max_low", "files_max", "wanted") in lines
    lines.clear()
    assert (
        warn(read({"services": {"a": {"base_url": "https://a.example"}}, "sidecar": {"environment": "test"}}), event)
        == 0
    )
    assert lines == []
