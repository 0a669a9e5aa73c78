import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.auth.secrets.store import StoreFailed
from sidecar.auth.secrets.vault.config import TokenFile, VaultAddress, VaultStoreConfig
from sidecar.auth.secrets.vault.dynamic import GIVE_BACK_MAX, DynamicStore
from sidecar.core.tasks import Tasks
from tests.auth.secrets.vault.scripted import SEALED, Notices, Said, life, token_file, write
from tests.contract.connecting import Connecting
from tests.kit.clock import ManualClock, settle
from tests.kit.exchange import Exchange, Request
from tests.kit.vendor import WAIT_MAX, Vendor

HOUR = 3600.0
STEPS_MAX = 10  # Of the background, one after the other.
PATH = "creds/readonly"
ASK_EVERY = 100.0


class Engine:
    """A scripted engine: each credential is another one; renewals say what was set last."""

    def __init__(self) -> None:
        self.made = 0
        self.is_renewable = True
        self.refusal: Said | None = None  # In place of a credential.
        self.renewal: Said = (200, {"lease_id": "made-up", "lease_duration": HOUR, "renewable": True})
        self.look_up: Said = life(int(100 * HOUR))
        self.renewals: list[dict[str, Any]] = []
        self.revoked: list[str] = []

    def __call__(self, request: Request) -> bytes:
        """Answer as set."""
        path = request.target.decode().removeprefix("/v1/")
        body = json.loads(request.body) if request.body else {}
        if path.startswith("database/creds/"):
            if self.refusal is not None:
                return write(self.refusal)
            self.made += 1
            data = {"username": f"user-{self.made}", "password": f"password-{self.made}"}
            lease = {"lease_id": f"{path}/{self.made}", "lease_duration": HOUR, "renewable": self.is_renewable}
            return write((200, {**lease, "data": data}))
        if path == "sys/leases/renew":
            self.renewals.append(body)
            return write(self.renewal)
        if path == "sys/leases/revoke":
            self.revoked.append(body["lease_id"])
            return write((204, b""))
        return write(self.look_up if path.startswith("auth/token/") else (404, {"errors": []}))


class Stage:
    """A store whose engine is scripted."""

    def __init__(self, store: DynamicStore, engine: Engine, file: Path, notices: Notices, clock: ManualClock) -> None:
        self.store = store
        self.engine = engine
        self.file = file
        self.notices = notices
        self.clock = clock

    async def use_for(self, seconds: float, version: str) -> None:
        """Let time pass, with the question that who holds a secret asks, and let the server answer."""
        while seconds > 0:
            try:
                await self.store.has_changed(PATH, version)
            except StoreFailed:
                assert self.store._places[PATH].problem
            await self.clock.advance(min(seconds, ASK_EVERY))
            seconds -= ASK_EVERY
            await self.rest()

    async def rest(self) -> None:
        """Let the server answer, in its own time."""
        for _ in range(STEPS_MAX):
            if await self.store._tasks.wait(WAIT_MAX) + await self.store._login._tasks.wait(WAIT_MAX) == 0:
                return
        raise AssertionError("the background does not come to rest")


@asynccontextmanager
async def staged(folder: Path, clock: ManualClock, script: Any = None) -> AsyncIterator[Stage]:
    """An engine, and a store that logs in by a token."""
    engine, notices, file = Engine(), Notices(), token_file(folder, "token-1")
    async with Vendor(script) if script is not None else Vendor.answering(engine) as vendor:
        config = VaultStoreConfig(
            address=VaultAddress.parse(vendor.url), auth=TokenFile(token_file=file), engine="dynamic", mount="database"
        )
        store = DynamicStore(config, clock, lambda: 0.5, Connecting(clock).network, notices)
        try:
            yield Stage(store, engine, Path(file), notices, clock)
        finally:
            await store.close()


async def test_a_renewal_asks_for_the_lease_it_had_by_its_id(tmp_path: Path, clock: ManualClock) -> None:
    """An increment of nothing would be the mount's own default."""
    async with staged(tmp_path, clock) as stage:
        first = await stage.store.fetch(PATH)
        await stage.use_for(0.71 * HOUR, first.version)
        assert stage.engine.renewals == [{"lease_id": "database/creds/readonly/1", "increment": 3600}]
        assert not await stage.store.has_changed(PATH, first.version)


async def test_a_capped_renewal_leads_to_a_new_credential_ahead(tmp_path: Path, clock: ManualClock) -> None:
    """The role's maximum is near; the last piece of the lease is used, and its end is not waited for."""
    async with staged(tmp_path, clock) as stage:
        first = await stage.store.fetch(PATH)
        stage.engine.renewal = (200, {"lease_duration": 1000, "renewable": True, "warnings": ["capped"]})
        await stage.use_for(0.71 * HOUR, first.version)
        assert not await stage.store.has_changed(PATH, first.version)
        await stage.use_for(700, first.version)
        assert await stage.store.has_changed(PATH, first.version)
        second = await stage.store.fetch(PATH)
        assert json.loads(second.reveal()) == {"username": "user-2", "password": "password-2"}
        assert (stage.engine.made, len(stage.engine.renewals), stage.engine.revoked) == (2, 1, [])


async def test_what_is_not_renewable_is_replaced_ahead_without_asking(tmp_path: Path, clock: ManualClock) -> None:
    """As AWS's session credentials are."""
    async with staged(tmp_path, clock) as stage:
        stage.engine.is_renewable = False
        first = await stage.store.fetch(PATH)
        await stage.use_for(0.71 * HOUR, first.version)
        assert (stage.engine.made, stage.engine.renewals) == (2, [])


async def test_a_busy_server_is_asked_again_and_nothing_is_thrown_away(tmp_path: Path, clock: ManualClock) -> None:
    """Sealed is not a no; told once, and confirmed again once it answers."""
    async with staged(tmp_path, clock) as stage:
        first = await stage.store.fetch(PATH)
        good, stage.engine.renewal = stage.engine.renewal, SEALED
        await stage.use_for(0.75 * HOUR, first.version)
        with pytest.raises(StoreFailed, match="it is sealed"):
            await stage.store.has_changed(PATH, first.version)
        assert len(stage.engine.renewals) >= 3
        assert stage.notices.count_of("store_lease_not_kept") == 1
        stage.engine.renewal = good
        await stage.use_for(ASK_EVERY, first.version)
        assert not await stage.store.has_changed(PATH, first.version)
        assert stage.engine.made == 1


async def test_a_refusal_is_shared_and_asked_again_after_a_pause_by_itself(tmp_path: Path, clock: ManualClock) -> None:
    """Twenty who ask at once are one question, and so are those who ask while it is paused."""
    async with staged(tmp_path, clock) as stage:
        stage.engine.refusal = (500, {"errors": ["the database is away"]})
        tasks = Tasks()
        for _ in range(2):
            reads = [tasks.spawn(stage.store.fetch(PATH), "read") for _ in range(20)]
            for read in reads:
                with pytest.raises(StoreFailed, match="the database is away"):
                    await read
        assert stage.notices.count_of("store_lease_not_kept") == 1
        stage.engine.refusal = None
        await stage.clock.advance(1)
        await stage.rest()
        assert (await stage.store.fetch(PATH)).version
        assert stage.engine.made == 1


async def test_an_agents_token_that_is_the_same_changes_nothing_and_another_replaces(
    tmp_path: Path, clock: ManualClock
) -> None:
    """It is read anew as it nears its end; what was made under it goes on with it, or ends with it."""
    async with staged(tmp_path, clock) as stage:
        stage.engine.look_up = life(1000, is_renewable=False)
        first = await stage.store.fetch(PATH)
        stage.engine.look_up = life(2000, is_renewable=False)
        await stage.use_for(800, first.version)
        assert (stage.store._login.turns, stage.engine.made) == (2, 1)
        assert not await stage.store.has_changed(PATH, first.version)
        stage.file.write_text("token-2")
        await stage.use_for(1500, first.version)
        assert (stage.store._login.turns, stage.engine.made) == (3, 2)
        assert await stage.store.has_changed(PATH, first.version)


async def test_an_older_lease_is_left_to_its_end_and_the_last_is_revoked(tmp_path: Path, clock: ManualClock) -> None:
    """Calls under way may still carry the older one."""
    async with staged(tmp_path, clock) as stage:
        stage.engine.is_renewable = False
        first = await stage.store.fetch(PATH)
        await stage.use_for(0.71 * HOUR, first.version)
        await stage.store.close()
        assert stage.engine.revoked == ["database/creds/readonly/2"]


async def test_a_credential_that_is_being_made_as_the_store_is_closed_is_given_back(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Nobody gets it, and no lease stays behind."""
    engine = Engine()

    async def slowly(exchange: Exchange) -> None:
        assert exchange.request is not None
        is_making = exchange.request.target.startswith(b"/v1/database/")
        if is_making:
            asked.set_result(None)
            await settle()
        await exchange.send(engine(exchange.request))

    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with staged(tmp_path, clock, slowly) as stage:
        reading = Tasks().spawn(stage.store.fetch(PATH), "read")
        await asked
        await stage.store.close()
        assert (engine.made, engine.revoked) == (1, ["database/creds/readonly/1"])
        assert json.loads((await reading).reveal())["username"] == "user-1"


async def test_a_server_that_hangs_does_not_hold_the_end_up(tmp_path: Path, clock: ManualClock) -> None:
    """What could not be given back in time is told."""
    engine = Engine()

    async def hanging(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.target == b"/v1/sys/leases/revoke":
            asked.set_result(None)
            await exchange.read_some()
        else:
            await exchange.send(engine(exchange.request))

    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with staged(tmp_path, clock, hanging) as stage:
        await stage.store.fetch(PATH)
        closing = Tasks().spawn(stage.store.close(), "close")
        await asked
        await clock.advance(GIVE_BACK_MAX)
        await closing
        assert stage.notices.count_of("store_lease_not_revoked") == 1
