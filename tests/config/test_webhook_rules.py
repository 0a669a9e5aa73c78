"""What must be true of a webhook: it is kept, its form of signature is known, and the app's place is in the pod."""

import pytest

from sidecar.config.load import read_text
from sidecar.config.problem import ConfigError

BASE = """
[store]
kind = "sqlite"
[secrets.files]
kind = "file"
path = "/x"
"""
GOOD = 'provider = "stripe"\nsecret = "files:a"\n'


def problems(webhook: str, base: str = BASE, name: str = "stripe") -> list[str]:
    """Give what is wrong with a webhook, as `path: sentence`."""
    try:
        read_text(f"{base}[webhooks.{name}]\n{webhook}")
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "webhook",
    [
        GOOD,
        'provider = "stripe"\nsecret = ["files:new", "files:old"]',
        GOOD + 'deliver_to = "http://127.0.0.1:8080/hooks?x=1"\ndeliver_secret = "files:b"\ndeliver_batch = 100',
        GOOD + 'deliver_to = "unix:/run/app.sock:/hooks"',
        GOOD + 'deliver_to = "unix:/run/app.sock"\norder_by = "data.object.id"\ntypes = ["invoice.*"]',
        GOOD + 'url = "https://hooks.example.com/stripe"',
        'provider = "google-pubsub"\nsettings = { audience = "https://hooks.example.com", email = "a@b.example" }',
        'secret = "files:a"\nsignature = { signature = ["header:X-Sig"] }',
        'provider = "asana"\nsecret = "files:a"\nsecret_from_handshake = true',
        'provider = "aws"\nsettings = { topic_arn = "arn:aws:sns:eu-west-1:123456789012:*" }\nconfirm = true',
    ],
)
def test_what_is_right_is_accepted(webhook: str) -> None:
    """One secret or several; a preset or a scheme; delivered or fetched."""
    assert problems(webhook) == []


@pytest.mark.parametrize(
    ("webhook", "key", "word"),
    [
        ('secret = "files:a"', "provider", "write whose webhook it is"),
        ('provider = "nobody"\nsecret = "files:a"', "provider", "there is no such preset"),
        ('provider = "stripe"', "secret", "the vendor signs with"),
        ('provider = "stripe"\nsecret = "plain"', "secret", "never stands in the config"),
        ('provider = "stripe"\nsecret = ["files:a", "none:b"]', "secret[1]", "a store that is not configured"),
        ('provider = "google-pubsub"', "provider", "these settings are missing: audience, email"),
        ('provider = "aws"', "provider", "these settings are missing: topic_arn"),
        (GOOD + 'signature = { signature = ["header:X"] }', "signature", "the same thing twice"),
        ('secret = "files:a"\nsignature = { signed = "{body}" }', "signature.signature", "required"),
        (GOOD + "confirm = true", "confirm", "AWS' does"),
        (GOOD + "secret_from_handshake = true", "secret_from_handshake", "Asana's does"),
        (GOOD + 'deliver_to = "https://app.example/hooks"', "deliver_to", "of the app in this pod"),
        (GOOD + 'deliver_to = "unix:run/app.sock"', "deliver_to", "absolute path"),
        (GOOD + 'deliver_to = "unix:"', "deliver_to", "absolute path"),
        (GOOD + 'deliver_secret = "files:b"', "deliver_secret", "there is no deliver_to"),
        (GOOD + "deliver_batch = 5", "deliver_batch", "there is no deliver_to"),
        (GOOD + 'deliver_to = "http://localhost:1/x"\ndeliver_batch = 1001', "deliver_batch", "at most 1000"),
        (GOOD + 'order_by = "data["', "order_by", "no JMESPath query"),
        (GOOD + 'url = "https://hooks.example.com/stripe?a=b"', "url", "without a query"),
        (GOOD + "schedule = []", "schedule", "at least one length of time"),
        (GOOD + 'types = [""]', "types", "invoice.*"),
        (GOOD + "concurrency = 0", "concurrency", "at least 1"),
    ],
)
def test_what_is_wrong_is_told_at_its_key(webhook: str, key: str, word: str) -> None:
    """With what to write instead."""
    found = problems(webhook)
    assert any(problem.startswith(f"webhooks.stripe.{key}: ") and word in problem for problem in found), found


def test_events_need_a_store_that_outlives_the_process_and_a_name_that_is_a_path() -> None:
    """What is acknowledged is kept."""
    [problem] = problems(GOOD, BASE.replace("sqlite", "memory"))
    assert problem.startswith("webhooks.stripe: ")
    assert "the store is in memory" in problem
    assert any("a webhook is the path" in problem for problem in problems(GOOD, name="A_b"))


def test_the_door_of_webhooks_is_one_of_the_doors_only_where_there_are_some() -> None:
    """Its address is its own; and that it is open to the network is no warning."""
    listen = '[listen]\nwebhooks = "127.0.0.1:4001"\n'
    assert any("already taken by listen.admin" in problem for problem in problems(GOOD, BASE + listen))
    assert read_text(listen).webhooks == {}
