"""The effective config, as people and programs read it."""

import json

from sidecar.config.load import read, read_text
from sidecar.config.show import as_data, as_toml

TEXT = """
[secrets.files]
kind = "file"
path = "/x\\u007f"
[services.crm]
base_url = "https://api.crm.example/v2"
body_max = "64KiB"
auth = { kind = "api_key", secret = "files:key", in = "query", name = "k" }
rewrite_urls = false
headers = { set = { "X.Y" = "a \\"quoted\\" \\\\ one" } }
[services.crm.routes.search]
match = "GET /search"
timeout = "1500ms"
"""


def test_the_defaults_are_filled_in_and_units_are_written_as_people_do() -> None:
    """A reader sees what is in force, in the words of the file."""
    data = as_data(read_text(TEXT))
    times = {"load_balancer_timeout": "1m", "timeout_margin": "5s", "drain_timeout": "25s"}
    assert data["sidecar"] == {**times, "replicas": 1}
    service = data["services"]["crm"]
    assert (service["timeout"], service["body_max"], service["rewrite_urls"]) == ("20s", "64KiB", False)
    assert service["auth"]["kind"] == "api_key"
    assert service["auth"]["in"] == "query"
    assert service["routes"] == {"search": {"match": "GET /search", "timeout": "1.5s"}}


def test_data_is_plain_json_and_reads_back_to_an_equal_config() -> None:
    """The admin API answers with it."""
    config = read_text(TEXT)
    assert read(json.loads(json.dumps(as_data(config)))) == config


def test_toml_reads_back_to_an_equal_config() -> None:
    """So the output can be kept as a file."""
    config = read_text(TEXT)
    assert read_text(as_toml(config)) == config
    assert as_toml(read_text(as_toml(config))) == as_toml(config)
