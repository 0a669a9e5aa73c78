import asyncio
import pickle
import traceback
from typing import Any

import pytest

from sidecar.auth.app_token import AppToken
from sidecar.auth.credential import Credential
from sidecar.auth.schemes import Bearer
from sidecar.auth.secrets.held import HeldSecrets
from sidecar.auth.secrets.known import FORGET_AFTER, forgetting_late
from sidecar.auth.secrets.store import SecretEnded, StoreFailed
from sidecar.core.body import NO_BODY
from sidecar.core.call import Call
from sidecar.core.errors import AppTokenMissing, CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.redact import PATTERNS_MAX, Redactor
from tests.kit.clock import ManualClock, settle


class Shelf:
    """A store in memory; a path without a value fails."""

    poll_s = 300.0
    stale_max = 3600.0

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, str]] = {}
        self.fetched: list[str] = []
        self.is_down = False
        self.has_ended = False
        self.closed = 0
        self.hangs: asyncio.Event | None = None

    async def fetch(self, path: str) -> Secret:
        """Give the value."""
        if self.hangs is not None:
            await self.hangs.wait()
        self.fetched.append(path)
        if self.is_down or path not in self.values:
            raise StoreFailed(f"{path} cannot be read")
        return Secret(*self.values[path])

    async def has_changed(self, path: str, version: str) -> bool:
        """Compare versions."""
        if self.has_ended:
            raise SecretEnded(f"the lease of {path} has ended")
        if self.is_down:
            raise StoreFailed(f"{path} cannot be read")
        return self.values.get(path, (b"", ""))[1] != version

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Is not asked here."""
        raise NotImplementedError

    async def close(self) -> None:
        """Hold nothing."""
        self.closed += 1


class Kept:
    """Held secrets over a shelf, with what they said and made known."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.lines: list[dict[str, Any]] = []
        self.redactor = Redactor()
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.secrets = HeldSecrets(
            {"files": self.shelf}, self._notice, self.redactor.know, self.clock, self.metrics, Tasks()
        )

    def ages(self) -> dict[str, float]:
        """Read the ages as a scrape does."""
        series = self.metrics._watched()["sidecar_secret_age_seconds"]
        return {labels[0]: values[0] for labels, values in series.items()}

    def _notice(self, level: str, msg: str, **fields: Any) -> None:
        self.lines.append({"level": level, "msg": msg, **fields})


@pytest.fixture
def kept() -> Kept:
    """Held secrets over a shelf."""
    return Kept()


KEY = SecretRef.parse("files:key")
FIELD = SecretRef.parse("files:key#api.key")


async def test_the_age_begins_anew_with_another_value(kept: Kept) -> None:
    """An alert for rotation that did not happen rests on it; the same value in a new file is no rotation."""
    kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    assert kept.ages() == {}
    kept.shelf.values["key"] = (b"first-value", "1")
    await kept.secrets.refresh()
    await kept.clock.advance(10)
    kept.shelf.values["key"] = (b"first-value", "2")
    await kept.secrets.refresh()
    assert kept.ages() == {"files:key": 10.0}
    kept.shelf.values["key"] = (b"second-value", "3")
    await kept.secrets.refresh()
    await kept.clock.advance(1)
    assert kept.ages() == {"files:key": 1.0}


async def test_the_age_goes_with_the_reference(kept: Kept) -> None:
    """A service that is gone leaves no series behind that grows old for ever."""
    kept.shelf.values["key"] = (b"first-value", "1")
    kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    kept.secrets.forget_others(())
    assert kept.ages() == {}


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
        assert kept.lines[-1]["msg"] == "secret_read"
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


async def test_what_is_let_go_is_masked_for_a_while_and_then_leaves_the_logs_table(kept: Kept) -> None:
    """Calls of the generation before may fail a little later; a table that only grows has an end."""
    late = forgetting_late(kept.redactor.know, kept.clock)
    kept.secrets = HeldSecrets({"files": kept.shelf}, kept._notice, late, kept.clock, kept.metrics, Tasks())
    for number in range(100):
        kept.shelf.values[str(number)] = (f"value-{number:03}".encode(), "1")
        ref = SecretRef.parse(f"files:{number}")
        kept.secrets.hold(ref)
        await kept.secrets.refresh()
        kept.secrets.forget_others({ref})
    assert kept.redactor.text(b"value-000 value-099") == "*** ***"
    await kept.clock.advance(FORGET_AFTER)
    assert kept.redactor.text(b"value-000 value-099") == "value-000 ***"
    kept.secrets.forget_others(())
    await kept.clock.advance(FORGET_AFTER)
    assert not kept.redactor._known


async def test_a_credential_that_is_released_hears_and_masks_nothing_any_more(kept: Kept) -> None:
    """A service that was replaced a hundred times has one listener, and its last calls still have what they need."""
    kept.shelf.values["key"] = (b"first-value", "1")
    held = kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    credentials = [Credential(Bearer(secret=KEY, prefix="k-"), held, kept.redactor.know) for _ in range(100)]
    for credential in credentials[:-1]:
        credential.release()
    assert len(held._listeners) == 1
    kept.shelf.values["key"] = (b"other-value", "2")
    await kept.secrets.refresh()
    calls = [Call("crm", "GET", b"/", [], NO_BODY) for _ in range(2)]
    credentials[0].put_on(calls[0])
    credentials[-1].put_on(calls[1])
    assert [call.headers[0][1] for call in calls] == [b"k-first-value", b"k-other-value"]
    credentials[-1].release()
    kept.secrets.forget_others(())
    assert not kept.redactor._known


async def test_a_value_that_cannot_be_masked_is_not_used(kept: Kept) -> None:
    """It would show in the log of the first failed call; the problem is told, and the next look tries again."""
    forget = kept.redactor.know(f"value-{number}".encode() for number in range(PATTERNS_MAX))
    kept.shelf.values["key"] = (b"first-value", "1")
    held = kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    assert held.secret is None
    assert "use fewer secrets" in held.problem
    forget()
    await kept.secrets.refresh()
    assert held.secret is not None


async def test_a_value_is_used_through_an_outage_up_to_stale_max(kept: Kept) -> None:
    """The store may be away for long; a value that nobody could confirm for longer may have been withdrawn."""
    kept.shelf.values["key"] = (b"first-value", "1")
    held = kept.secrets.hold(KEY)
    lost: list[str] = []
    held.on_change(lambda _: None, lambda: lost.append("lost"))
    await kept.secrets.refresh()
    kept.shelf.is_down = True
    await kept.clock.advance(3600)
    await kept.secrets.refresh()
    assert (held.secret is not None, bool(held.problem), lost) == (True, True, [])
    await kept.clock.advance(1)
    await kept.secrets.refresh()
    assert (held.secret is not None, lost) == (False, ["lost"])
    assert "stale_max" in held.problem
    assert [line["msg"] for line in kept.lines] == ["secret_read", "secret_unreadable", "secret_stale"]
    kept.shelf.is_down = False
    await kept.secrets.refresh()
    assert (held.secret is not None, held.problem) == (True, "")
    assert kept.ages() == {"files:key": 0.0}


async def test_a_value_that_ended_is_given_up_at_once(kept: Kept) -> None:
    """A lease that is over is no credential any more, however young the value."""
    kept.shelf.values["key"] = (b'{"api.key":"made-up-value-1","other":"made-up-value-2"}', "1")
    both = [kept.secrets.hold(ref) for ref in (FIELD, SecretRef.parse("files:key#other"))]
    lost: list[str] = []
    for held in both:
        held.on_change(lambda _: None, lambda: lost.append("lost"))
    await kept.secrets.refresh()
    kept.shelf.has_ended = kept.shelf.is_down = True
    for _ in range(3):
        await kept.secrets.refresh()
    assert ([held.secret for held in both], lost) == ([None, None], ["lost", "lost"])
    told = [line["msg"] for line in kept.lines]
    assert (told.count("secret_ended"), told.count("secret_stale")) == (2, 0)
    kept.shelf.has_ended = kept.shelf.is_down = False
    kept.shelf.values["key"] = (b'{"api.key":"made-up-value-3","other":"made-up-value-4"}', "2")
    await kept.secrets.refresh()
    assert [held.secret and held.secret.version for held in both] == ["2", "2"]


async def test_a_store_that_a_reload_let_go_is_closed_when_its_calls_are_over(kept: Kept) -> None:
    """A lease or a login that is given back takes away what they carry; the process's end waits for nothing."""
    for ends_early in (False, True):
        gone, stays, tasks = Shelf(), Shelf(), Tasks()
        old, new = (
            HeldSecrets(stores, kept._notice, kept.redactor.know, kept.clock, kept.metrics, tasks)
            for stores in ({"files": gone, "far": stays}, {"far": stays})
        )
        closing = tasks.spawn(old.close(new), "close")
        await kept.clock.advance(FORGET_AFTER - 1)
        assert (gone.closed, stays.closed) == (0, 0)
        if ends_early:
            await tasks.stop()
        else:
            await kept.clock.advance(1)
        assert closing.done()
        assert (gone.closed, stays.closed) == (1, 0)
        await new.close()
        assert (gone.closed, stays.closed) == (1, 1)


async def test_the_metric_tells_for_how_long_a_value_is_unconfirmed(kept: Kept) -> None:
    """The alert rings long before stale_max."""

    def unconfirmed() -> list[list[float]]:
        return list(kept.metrics._watched()["sidecar_secret_unconfirmed_seconds"].values())

    kept.shelf.values["key"] = (b"first-value", "1")
    kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    await kept.clock.advance(50)
    assert unconfirmed() == [[0.0]]
    kept.shelf.is_down = True
    await kept.secrets.refresh()
    assert unconfirmed() == [[50.0]]


async def test_the_metric_tells_whether_there_is_a_value(kept: Kept) -> None:
    """From the moment in which somebody wants it; not any more when it is given up, and none once nobody does."""

    def usable() -> list[list[float]]:
        return list(kept.metrics._watched()["sidecar_secret_usable"].values())

    kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    assert usable() == [[0.0]]
    kept.shelf.values["key"] = (b"first-value", "1")
    await kept.secrets.refresh()
    assert usable() == [[1.0]]
    kept.shelf.has_ended = True
    await kept.secrets.refresh()
    assert usable() == [[0.0]]
    kept.secrets.forget_others(())
    assert usable() == []


async def test_several_fields_of_one_value_are_read_at_once(kept: Kept) -> None:
    """A store on the network is asked once for each path, not once for each reference."""
    kept.shelf.values["key"] = (b'{"api.key":"made-up-value-1","other":"made-up-value-2"}', "1")
    other = kept.secrets.hold(SecretRef.parse("files:key#other"))
    field = kept.secrets.hold(FIELD)
    await kept.secrets.refresh()
    assert kept.shelf.fetched == ["key"]
    assert [held.secret and held.secret.reveal() for held in (field, other)] == [b"made-up-value-1", b"made-up-value-2"]


async def test_a_store_is_asked_when_it_is_due(kept: Kept) -> None:
    """The look every second costs nothing where nothing is due; a refused value hurries it."""
    kept.shelf.values["key"] = (b"first-value", "1")
    held = kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    kept.shelf.values["key"] = (b"second-value", "2")
    await kept.clock.advance(200)
    kept.secrets.look()
    await settle()
    assert held.secret is not None
    assert held.secret.version == "1"
    await kept.clock.advance(100)
    kept.secrets.look()
    await settle()
    assert held.secret.version == "2"
    kept.shelf.values["key"] = (b"third-value", "3")
    kept.secrets.hurry(KEY)
    await settle()
    assert held.secret.version == "3"


async def test_a_store_that_hangs_delays_no_other(kept: Kept) -> None:
    """Nor the look itself, on which the reload of the config waits."""
    kept.shelf.values["key"] = (b"first-value", "1")
    stuck = Shelf()
    stuck.hangs = asyncio.Event()
    tasks = Tasks()
    held = HeldSecrets(
        {"files": kept.shelf, "far": stuck}, kept._notice, kept.redactor.know, kept.clock, kept.metrics, tasks
    )
    near, _ = held.hold(KEY), held.hold(SecretRef.parse("far:key"))
    held.look()
    await settle()
    assert near.secret is not None
    await held.close()
    await tasks.stop()


async def test_a_successor_takes_over_the_values_of_stores_that_are_the_same(kept: Kept) -> None:
    """Another store in the config is no reason to lose what one that is away just now gave before."""
    kept.shelf.values["key"] = (b"first-value", "1")
    kept.secrets.hold(KEY)
    await kept.secrets.refresh()
    await kept.clock.advance(50)
    kept.shelf.is_down = True
    successor = HeldSecrets(
        {"files": kept.shelf, "other": Shelf()}, kept._notice, kept.redactor.know, kept.clock, kept.metrics, Tasks()
    )
    successor.inherit(kept.secrets, {"files"})
    held = successor.hold(KEY)
    await successor.refresh()
    assert held.secret is not None
    assert held.secret.reveal() == b"first-value"
    kept.secrets.forget_others(())
    assert kept.ages() == {"files:key": 50.0}
    await kept.secrets.close(successor)
