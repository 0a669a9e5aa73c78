import pickle
import traceback
from typing import Any

import pytest

from sidecar.auth.app_token import AppToken
from sidecar.auth.secrets.held import HeldSecrets
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.errors import AppTokenMissing, CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.telemetry.redact import Redactor


class Shelf:
    """A store in memory; a path without a value fails."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, str]] = {}
        self.fetched: list[str] = []

    async def fetch(self, path: str) -> Secret:
        """Give the value."""
        self.fetched.append(path)
        if path not in self.values:
            raise StoreFailed(f"{path} cannot be read")
        return Secret(*self.values[path])

    async def has_changed(self, path: str, version: str) -> bool:
        """Compare versions."""
        return self.values.get(path, (b"", ""))[1] != version


class Kept:
    """Held secrets over a shelf, with what they said and made known."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.lines: list[dict[str, Any]] = []
        self.redactor = Redactor()
        self.secrets = HeldSecrets({"files": self.shelf}, self._notice, self.redactor.know)

    def _notice(self, level: str, msg: str, **fields: Any) -> None:
        self.lines.append({"level": level, "msg": msg, **fields})


@pytest.fixture
def kept() -> Kept:
    """Held secrets over a shelf."""
    return Kept()


KEY = SecretRef.parse("files:key")
FIELD = SecretRef.parse("files:key#api.key")


async def test_a_changed_value_goes_to_all_who_listen(kept: Kept) -> None:
    """Once for each value, to those who came before it and after it."""
    early: list[bytes] = []
    late: list[bytes] = []
    held = kept.secrets.hold(KEY)
    held.on_change(lambda secret: early.append(secret.reveal()))
    for version in ("1", "1", "2"):
        kept.shelf.values["key"] = (f"value-{version}".encode(), version)
        await kept.secrets.refresh()
    held.on_change(lambda secret: late.append(secret.reveal()))
    assert (early, late) == ([b"value-1", b"value-2"], [b"value-2"])
    assert kept.shelf.fetched == ["key", "key"]
    assert [line["msg"] for line in kept.lines] == ["secret_read", "secret_read"]
    assert kept.redactor.text(b"value-1 value-2") == "*** ***"


async def test_rotation_without_end_does_not_fill_the_logs_table(kept: Kept) -> None:
    """An hourly secret changes thousands of times; only the newest two values are looked for in the log."""
    held = kept.secrets.hold(KEY)
    for number in range(1000):
        kept.shelf.values["key"] = (f"value-{number:04}".encode(), str(number))
        await kept.secrets.refresh()
    assert held.secret is not None
    assert held.secret.reveal() == b"value-0999"
    assert kept.redactor.text(b"value-0999 value-0998 value-0000") == "*** *** value-0000"


async def test_an_outage_keeps_the_last_value_and_has_one_line(kept: Kept) -> None:
    """A store that is away for an hour does not fill the log; its return is told."""
    held = kept.secrets.hold(KEY)
    kept.shelf.values["key"] = (b"value", "1")
    await kept.secrets.refresh()
    del kept.shelf.values["key"]
    for _ in range(3):
        await kept.secrets.refresh()
    assert held.secret is not None
    assert held.secret.reveal() == b"value"
    assert [line["msg"] for line in kept.lines] == ["secret_read", "secret_unreadable"]
    kept.shelf.values["key"] = (b"newer", "2")
    await kept.secrets.refresh()
    assert held.secret.reveal() == b"newer"
    assert (held.problem, kept.lines[-1]["msg"]) == ("", "secret_read")


async def test_a_second_outage_is_told_again_after_the_same_value_came_back(kept: Kept) -> None:
    """A file that is put back as it was ends the outage, so the next one is news."""
    held = kept.secrets.hold(KEY)
    kept.shelf.values["key"] = (b"value", "1")
    await kept.secrets.refresh()
    for _ in range(2):
        del kept.shelf.values["key"]
        await kept.secrets.refresh()
        kept.shelf.values["key"] = (b"value", "1")
        await kept.secrets.refresh()
    assert held.problem == ""
    assert [line["msg"] for line in kept.lines].count("secret_unreadable") == 2


async def test_the_same_reference_is_held_once(kept: Kept) -> None:
    """Two services with one secret read one file."""
    assert kept.secrets.hold(KEY) is kept.secrets.hold(SecretRef.parse("files:key"))
    assert kept.secrets.hold(KEY) is not kept.secrets.hold(FIELD)


async def test_what_nobody_names_any_more_is_forgotten(kept: Kept) -> None:
    """Its value leaves the memory with the generation that used it."""
    first = kept.secrets.hold(KEY)
    kept.secrets.forget_others({FIELD})
    assert kept.secrets.hold(KEY) is not first


async def test_a_field_of_a_json_secret_is_taken_out(kept: Kept) -> None:
    """One mounted document may hold several secrets."""
    held = kept.secrets.hold(FIELD)
    kept.shelf.values["key"] = ('{"api.key": "välue", "other": 1}'.encode(), "1")
    await kept.secrets.refresh()
    assert held.secret is not None
    assert held.secret.reveal() == "välue".encode()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (b"canary", "is not JSON"),
        (b'{"api.key": "can', "is not JSON"),
        (b'["canary"]', "has no text in its field api.key"),
        (b'{"other": "canary"}', "has no text in its field api.key"),
        (b'{"api.key": 5, "x": "canary"}', "has no text in its field api.key"),
        (b'{"api.key": "", "x": "canary"}', "has no text in its field api.key"),
        (b'{"api.key": {"canary": 1}}', "has no text in its field api.key"),
        (b"\xff\xfecanary", "is not JSON"),
    ],
)
async def test_a_field_that_is_not_there_is_told_without_the_document(
    document: bytes, sentence: str, kept: Kept
) -> None:
    """The sentence goes into the log and to the app."""
    held = kept.secrets.hold(FIELD)
    kept.shelf.values["key"] = (document, "1")
    await kept.secrets.refresh()
    assert held.secret is None
    assert sentence in held.problem
    assert "can" not in held.problem.replace("cannot", "")
    with pytest.raises(CredentialUnavailable, match=sentence):
        held.reveal_as(lambda value: value)


async def test_the_app_token_is_compared_with_the_current_value(kept: Kept) -> None:
    """A wrong one, none, and a prefix are refused; a rotated one counts at once."""
    held = kept.secrets.hold(KEY)
    token = AppToken(held)
    with pytest.raises(CredentialUnavailable, match="app_token"):
        token.check(b"anything")
    for value in (b"first", b"second"):
        held.put(Secret(value, "1"))
        token.check(value)
        for shown in (None, b"", b"wrong", value[:-1], value + b"x"):
            with pytest.raises(AppTokenMissing):
                token.check(shown)


async def test_a_secret_shows_itself_nowhere(kept: Kept) -> None:
    """Not in repr, format, a container, a traceback, a pickle or a held one."""
    held = kept.secrets.hold(KEY)
    kept.shelf.values["key"] = (b"canary-of-this-test", "1")
    await kept.secrets.refresh()
    secret = held.secret
    assert secret is not None
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), repr({"a": secret}), repr(held)]
    try:
        raise ValueError(secret)
    except ValueError as error:
        shown += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    assert all("canary-of-this-test" not in text for text in shown if "kept.shelf.values" not in text)
    assert secret.reveal().decode() not in repr(kept.lines)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
