"""The presets are valid, hold no secret, and are those that the documentation tells of."""

import re
from pathlib import Path

import pytest

from sidecar.config.presets import BUILT_IN, Presets
from sidecar.webhooks.presets import preset, scheme_of, webhook_presets

DOCS = (Path(__file__).parent.parent.parent / "docs" / "webhooks-signatures.md").read_text()
GOOD = {"signature": ["header:X"]}
SNS = {"url": "json:SubscribeURL", "hosts": ["sns.{region}.amazonaws.com"]}


@pytest.mark.parametrize("name", webhook_presets())
def test_the_documentation_shows_every_preset_as_it_is(name: str) -> None:
    """Algorithm, what is signed, whether that is the whole body, how old it may be, where the id is."""
    scheme = preset(name)
    [row] = [line for line in DOCS.splitlines() if line.startswith(f"| `{name}` |")]
    cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    _, algorithm, signed, covers, within, place, handshakes = cells
    assert algorithm == f"`{scheme.algorithm}`"
    assert signed == f"`{scheme.signed}`".replace("\n", "") or scheme.algorithm in {"token", "jwt"}
    assert covers == ("yes" if scheme.covers_body else "no")
    assert within == (str(scheme.tolerance) if scheme.timestamp or scheme.algorithm == "jwt" else "")
    assert place == (f"`{scheme.id}`" if scheme.id else "each arrival" if scheme.repeats else "")
    assert handshakes == str(len(scheme.handshakes) or "")


def test_the_documentation_shows_nothing_else() -> None:
    """A preset that is gone is gone there, too."""
    rows = [line for line in DOCS.partition("\n## The presets\n")[2].splitlines() if line.startswith("| `")]
    assert [row[3:].partition("`")[0] for row in rows] == list(webhook_presets())


@pytest.mark.parametrize("path", sorted((BUILT_IN / "webhooks").glob("*.toml")), ids=lambda path: path.stem)
def test_what_belongs_to_no_vendor_stands_by_itself_and_says_where_it_is_from(path: Path) -> None:
    """And is no preset of a service."""
    text = path.read_text()
    assert text.startswith("# ")
    assert max(map(len, text.splitlines())) <= 120
    assert path.stem not in Presets().names
    assert path.stem in webhook_presets()


def test_only_settings_that_the_user_knows_are_left_open() -> None:
    """Nothing else has to be written beside the name and the secret."""
    missing = {name: preset(name).settings_missing for name in webhook_presets() if preset(name).settings_missing}
    assert missing == {
        "aws": ["topic_arn"], "braintree": ["public_key"], "google-pubsub": ["audience", "email"],
        "paypal": ["webhook_id"],
    }  # fmt: skip


def test_a_preset_of_a_service_keeps_its_webhook_apart() -> None:
    """What a vendor sends is no part of how it is called."""
    read = Presets().get("stripe")
    assert read is not None
    assert "webhook" not in read.table
    assert scheme_of(read.webhook) == preset("stripe")


def test_an_unknown_name_is_no_preset() -> None:
    """Neither is a vendor that does not sign, nor a path."""
    for name in ("acme", "salesforce", "datadog", "../stripe", ""):
        with pytest.raises(KeyError):
            preset(name)


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ({"signature": []}, "signature"),
        ({"signature": ["X-Signature"]}, "signature"),
        ({"signature": ["header:a b"]}, "signature"),
        ({**GOOD, "signed": "{what}"}, "signed"),
        ({**GOOD, "signed": "{"}, "signed"),
        ({**GOOD, "signed": "{timestamp}"}, "signed"),
        ({**GOOD, "variants": [{"signed": "{body}"}, {"signed": "{what}"}]}, "variants[1].signed"),
        ({**GOOD, "variants": [{"signed": "{body}", "body_hash": "x"}]}, "variants[0].body_hash"),
        ({**GOOD, "jwt": {"audience": "{header:X}"}}, "jwt.audience"),
        ({**GOOD, "type": "{what}"}, "type"),
        ({**GOOD, "prefix": "{header:X}"}, "prefix"),
        ({**GOOD, "id": "json:a["}, "id"),
        ({**GOOD, "requires": {"nowhere": "x"}}, "requires.nowhere"),
        ({**GOOD, "requires": {"json:a": "{header:X}"}}, "requires.json:a"),
        ({**GOOD, "tolerance": "8d"}, "tolerance"),
        ({**GOOD, "encoding": "plain"}, "encoding"),
        ({**GOOD, "keys": {"url": "header:X", "hosts": ["a.example"]}}, "keys"),
        ({**GOOD, "algorithm": "rsa-sha256", "keys": {"url": "header:X", "hosts": []}}, "hosts"),
        ({**GOOD, "algorithm": "rsa-sha256", "keys": {"url": "header:X", "hosts": ["**.example"]}}, "hosts"),
        ({**GOOD, "algorithm": "jwt", "keys": {"url": "https://b.example/", "hosts": ["a.example"]}}, "url"),
        ({**GOOD, "algorithm": "jwt", "jwt": {"algorithms": ["none"]}}, "algorithms"),
        ({**GOOD, "algorithm": "jwt", "jwt": {"algorithms": ["HS256", "RS256"]}}, "algorithms"),
        ({**GOOD, "handshakes": [{"when": {"json:a": "1"}, "signed": False}]}, "handshakes[0].signed"),
        ({**GOOD, "handshakes": [{"when": {"query:a": "*"}, "signed": False, "body": "{mac:query:a}"}]}, "when"),
        ({**GOOD, "handshakes": [{"when": {"query:a": "/(/"}}]}, "when"),
        ({**GOOD, "handshakes": [{"status": 302}]}, "status"),
        ({**GOOD, "handshakes": [{"signed": False}]}, "when"),
        (
            {**GOOD, "handshakes": [{"when": {"query:a": "*"}, "signed": False, "visits": SNS}]},
            "handshakes[0].visits",
        ),
        (
            {**GOOD, "handshakes": [{"when": {"json:a": "*"}, "visits": {**SNS, "hosts": []}}]},
            "handshakes[0].visits.hosts",
        ),
        ({**GOOD, "handshakes": [{"body": "a", "fields": {"a": "b"}}]}, "fields"),
        ({**GOOD, "handshakes": [{"headers": {"a b": "c"}}]}, "headers"),
    ],
)
def test_what_cannot_be_meant_is_told(table: dict[str, object], field: str) -> None:
    """With the field, and before anything is received."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        scheme_of(table)
    assert f"{field}: " in str(caught.value) or f"{field}[0]: " in str(caught.value)
