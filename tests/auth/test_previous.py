"""A fresh value that the vendor does not know yet gives way to the one before, for a while and once."""

import asyncio
import json
import secrets
from typing import Any

import pytest

from sidecar.auth.previous import BEFORE_FOR, FRESH_FOR, RotatedCredential
from sidecar.auth.schemes import ApiKey, Bearer, Static
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.body import Body
from sidecar.core.call import AttemptRecord, Call, Reply
from sidecar.core.outcome import Outcome
from sidecar.core.secret import Secret, SecretRef
from sidecar.layers.entitled import entitle, entitled
from tests.auth.oauth.minting import knowing_nothing
from tests.kit.clock import ManualClock
from tests.layers.calls import call_for

REF = SecretRef.parse("aws:crm#key")


class Shelf:
    """A store that knows the value before."""

    def __init__(self, before: Secret | None) -> None:
        self.before = before
        self.failing: StoreFailed | None = None
        self.asked = 0

    async def fetch_previous(self, path: str) -> Secret | None:
        """Give it."""
        assert path == REF.path
        self.asked += 1
        if self.failing is not None:
            raise self.failing
        return self.before


class Rotating:
    """A service in the middle of a rotation: the vendor knows the values in `good`."""

    def __init__(self, clock: ManualClock, auth: Static) -> None:
        self.clock = clock
        self.old, self.new = secrets.token_hex(16), secrets.token_hex(16)
        self.good = {self.old}
        self.shelf = Shelf(Secret(json.dumps({"key": self.old}).encode(), "AWSPREVIOUS"))
        self.held = Held(REF, Known(knowing_nothing))
        self.held.put(Secret(self.new.encode(), "v2"))
        self.lines: list[dict[str, Any]] = []
        self.credential = RotatedCredential(auth, self.held, knowing_nothing, self.shelf, clock, self.tell)
        self.handler = entitled(self.credential, 1024)(entitle(self.credential)(self.vendor))
        self.sent: list[str] = []

    def tell(self, level: str, msg: str, **fields: Any) -> None:
        """Write a line."""
        self.lines.append({"level": level, "msg": msg, **fields})

    async def vendor(self, call: Call) -> Reply:
        """Check the credential; takes a tenth of a second."""
        record = AttemptRecord()
        record.started_at = self.clock.now()
        call.attempts.append(record)
        carried = b"".join(value for _, value in call.headers) + call.target
        self.sent.append("old" if self.old.encode() in carried else "new")
        is_good = any(value.encode() in carried for value in self.good)
        await self.clock.sleep(0.1)
        return Reply(200 if is_good else 401, b"", [], Body.of(b""))

    async def send(self) -> int:
        """Send a call, and give the status."""
        call = call_for()
        call.deadline_at = self.clock.now() + 20
        sending = asyncio.ensure_future(self.handler(call))
        await self.clock.advance(0.3)
        call.end(Outcome.SUCCESS)
        return (await sending).status


@pytest.fixture(params=["header", "query"])
def rotating(request: pytest.FixtureRequest, clock: ManualClock) -> Rotating:
    """In a header and in the query."""
    auth: Static = Bearer(secret=REF) if request.param == "header" else ApiKey(secret=REF, place="query", name="key")
    return Rotating(clock, auth)


async def test_a_fresh_value_that_is_refused_gives_way_to_the_one_before(rotating: Rotating) -> None:
    """The first call is sent twice and goes well; those after it go with the old value at once."""
    assert [await rotating.send() for _ in range(3)] == [200, 200, 200]
    assert rotating.sent == ["new", "old", "old", "old"]
    assert rotating.shelf.asked == 1
    assert [(line["msg"], line["version"], line["refused"]) for line in rotating.lines] == [
        ("previous_secret_used", "AWSPREVIOUS", "v2")
    ]
    assert rotating.old not in json.dumps(rotating.lines)


async def test_after_a_while_one_call_tries_the_fresh_value_again(rotating: Rotating, clock: ManualClock) -> None:
    """As long as the vendor does not know it, that call alone is sent twice; then the new value stays."""
    await rotating.send()
    await clock.advance(BEFORE_FOR)
    assert [await rotating.send(), await rotating.send()] == [200, 200]
    assert rotating.sent == ["new", "old", "new", "old", "old"]
    rotating.good = {rotating.new}
    await clock.advance(BEFORE_FOR)
    assert [await rotating.send(), await rotating.send()] == [200, 200]
    assert rotating.sent[5:] == ["new", "new"]


async def test_when_the_old_value_is_refused_too_the_new_one_is_back(rotating: Rotating) -> None:
    """The vendor has caught up, and no call fails of it; one that knows neither costs one extra request, once."""
    await rotating.send()
    rotating.good = {rotating.new}
    assert [await rotating.send(), await rotating.send()] == [200, 200]
    rotating.good = set()
    assert [await rotating.send() for _ in range(3)] == [401, 401, 401]
    assert rotating.sent[2:] == ["old", "new", "new", "new", "new", "new"]


async def test_a_value_that_is_not_fresh_is_simply_refused(rotating: Rotating, clock: ManualClock) -> None:
    """A key that was revoked after months has nothing to do with a rotation."""
    await clock.advance(FRESH_FOR)
    assert await rotating.send() == 401
    assert (rotating.shelf.asked, rotating.sent) == (0, ["new"])


async def test_a_newer_value_takes_the_place_of_both(rotating: Rotating) -> None:
    """As soon as it was read."""
    await rotating.send()
    newest = secrets.token_hex(16)
    rotating.good = {newest}
    rotating.held.put(Secret(newest.encode(), "v3"))
    assert await rotating.send() == 200
    assert rotating.sent == ["new", "old", "new"]


@pytest.mark.parametrize("case", ["none", "same", "failing"])
async def test_without_another_value_the_vendors_answer_is_the_answer(rotating: Rotating, case: str) -> None:
    """The store has none, or the same, or fails: asked once, not for every call."""
    if case == "none":
        rotating.shelf.before = None
    elif case == "same":
        rotating.shelf.before = Secret(json.dumps({"key": rotating.new}).encode(), "AWSPREVIOUS")
    else:
        rotating.shelf.failing = StoreFailed("aws:crm cannot be read")
    assert [await rotating.send() for _ in range(3)] == [401, 401, 401]
    assert (rotating.shelf.asked, rotating.sent) == (1, ["new"] * 3)


async def test_many_refused_calls_ask_the_store_once(rotating: Rotating, clock: ManualClock) -> None:
    """And all go again with what it gives."""
    calls = [call_for() for _ in range(50)]
    for call in calls:
        call.deadline_at = clock.now() + 20
    sending = [asyncio.ensure_future(rotating.handler(call)) for call in calls]
    await clock.advance(1.0)
    for call in calls:
        call.end(Outcome.SUCCESS)
    assert {(await one).status for one in sending} == {200}
    assert rotating.shelf.asked == 1


async def test_once_released_it_hears_of_no_further_value(rotating: Rotating) -> None:
    """The service is gone."""
    rotating.credential.release()
    rotating.held.put(Secret(b"another-value", "v3"))
    call = call_for()
    rotating.credential.put_on(call)
    assert b"another-value" not in b"".join(value for _, value in call.headers) + call.target
