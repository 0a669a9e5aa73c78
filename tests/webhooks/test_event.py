"""What is stored of an event: its id, its order, its headers."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from sidecar.store.backlog import RUNNING, WAITING
from sidecar.webhooks.event import ENDED, ID_MAX, NEXT, headers_of, id_in_conflict, id_of, key_of


def test_the_vendors_id_is_kept_and_begins_with_the_webhook() -> None:
    """People find it in the vendor's own pages."""
    assert id_of("stripe", "evt_1NG8Du2eZvKYlo2CUI79vXWy", b"x") == "stripe.evt_1NG8Du2eZvKYlo2CUI79vXWy"


def test_without_an_id_a_hash_of_webhook_and_body_stands_for_it() -> None:
    """The same body is the same event; at another webhook it is another one."""
    first, again, other = (id_of(name, None, body) for name, body in [("a", b"x"), ("a", b"x"), ("b", b"x")])
    assert first == again != other
    assert first != id_of("a", "", b"y")


@given(st.text(max_size=300), st.binary(max_size=20))
def test_every_id_is_short_and_plain(given_id: str, body: bytes) -> None:
    """It becomes a header, a path and a line of log; and it is the same for the same, and another for another."""
    name = id_of("stripe", given_id, body)
    assert name.startswith("stripe.")
    assert len(name) <= len("stripe.") + ID_MAX
    assert all("!" <= letter <= "~" and letter not in '/?#%"\\' for letter in name)
    assert name == id_of("stripe", given_id, body)
    assert name != id_of("stripe", given_id + "x", body)


def test_a_conflict_has_an_id_that_follows_from_both() -> None:
    """So the same conflict that comes twice is known again."""
    one, other = hashlib.sha256(b"1").digest(), hashlib.sha256(b"2").digest()
    assert id_in_conflict("a.b", one) == id_in_conflict("a.b", one) != id_in_conflict("a.b", other)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=4))
def test_a_key_is_short_whatever_the_query_finds(found: object) -> None:
    """What is no text and no number keeps no order."""
    key = key_of(found)
    assert len(key.encode()) <= 128
    if found is None or isinstance(found, bool | list):
        assert key == ""
    assert key_of(7) == key_of("7") == "7"


def test_headers_that_hold_a_secret_or_are_the_connections_stay_behind() -> None:
    """A plain token in a header is the secret itself: it is neither stored nor delivered."""
    headers = [
        (b"Host", b"x"), (b"Connection", b"close, X-Gone"), (b"X-Gone", b"1"), (b"X-Gitlab-Token", b"s3cret"),
        (b"Authorization", b"Basic x"), (b"Cookie", b"a"), (b"Sidecar-Event-Id", b"forged"), (b"X-Kept", b"\xff"),
        (b"Content-Type", b"application/json"), (b"Transfer-Encoding", b"chunked"),
    ]  # fmt: skip
    kept = headers_of(headers, [b"s3cret", b""])
    assert kept == [(b"X-Kept", b"\xff"), (b"Content-Type", b"application/json")]


def test_the_machine_comes_to_an_end_from_everywhere_and_never_ends_what_it_did_not_claim() -> None:
    """Each state is reached, and only people bring one back that ended."""
    assert {state for events in NEXT.values() for state in events.values()} == set(NEXT)
    assert set(NEXT[RUNNING].values()) == {WAITING, "delivered", "dead"}
    assert all(set(NEXT[state]) == {"retried"} for state in ENDED)
