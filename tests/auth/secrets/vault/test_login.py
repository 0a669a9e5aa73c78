import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.auth.secrets.store import StoreFailed
from sidecar.auth.secrets.vault.config import AppRole, Kubernetes
from sidecar.auth.secrets.vault.store import VaultStore
from sidecar.core.tasks import Tasks
from tests.auth.secrets.vault.scripted import SEALED, Notices, Said, Script, asking, granted, life, opened, token_file
from tests.kit.clock import ManualClock
from tests.kit.exchange import Exchange
from tests.kit.vendor import WAIT_MAX, Vendor

HOUR = 3600
STEPS_MAX = 10  # Of the background, one after the other.
REFUSED: Said = (403, {"errors": ["permission denied"]})


class Stage:
    """A store whose login is scripted."""

    def __init__(self, store: VaultStore, vendor: Vendor, script: Script, notices: Notices, clock: ManualClock) -> None:
        self.store = store
        self.vendor = vendor
        self.script = script
        self.notices = notices
        self.clock = clock

    async def advance(self, seconds: float) -> None:
        """Move the time, and let the server answer what that set off, in its own time."""
        await self.clock.advance(seconds)
        for _ in range(STEPS_MAX):
            if await self.store._login._tasks.wait(WAIT_MAX) == 0:
                return
        raise AssertionError("the background does not come to rest")


@asynccontextmanager
async def staged(folder: Path, clock: ManualClock, **said: Said) -> AsyncIterator[Stage]:
    """Log in by approle, for an hour, unless it is said otherwise."""
    said.setdefault("login", granted("first", HOUR))
    said.setdefault("renew-self", granted("first", HOUR))
    script, notices = Script(**said), Notices()
    auth = AppRole(role_id="role", secret_id_file=token_file(folder, "proof"))
    async with asking(script, folder, clock, token="proof", auth=auth, notices=notices) as (store, vendor):
        yield Stage(store, vendor, script, notices, clock)


async def test_the_proof_goes_to_the_mount_of_the_method(tmp_path: Path, clock: ManualClock) -> None:
    """And nowhere else; no token goes with it."""
    async with staged(tmp_path, clock) as stage:
        await stage.store.fetch("app")
        login = stage.vendor.requests[0]
        assert login.target == b"/v1/auth/approle/login"
        assert json.loads(login.body) == {"role_id": "role", "secret_id": "proof"}
        assert login.values("X-Vault-Token") == []
        assert stage.vendor.requests[1].values("X-Vault-Token") == [b"first"]


async def test_a_pod_shows_its_role_and_its_token(tmp_path: Path, clock: ManualClock) -> None:
    """At the mount that the operator gave the cluster."""
    auth = Kubernetes(role="checkout", mount="clusters/eu-1", token_file=token_file(tmp_path, "t"))
    async with asking(Script(login=granted("first")), tmp_path, clock, auth=auth) as (store, vendor):
        await store.fetch("app")
        assert vendor.requests[0].target == b"/v1/auth/clusters/eu-1/login"
        assert json.loads(vendor.requests[0].body) == {"role": "checkout", "jwt": "t"}


async def test_renewals_go_on_for_ever_while_the_server_gives_the_whole_lease(
    tmp_path: Path, clock: ManualClock
) -> None:
    """No login is needed after the first."""
    async with staged(tmp_path, clock) as stage:
        await stage.store.fetch("app")
        for _ in range(5):
            await stage.advance(0.71 * HOUR)
        assert stage.script.count("renew-self") == 5
        assert stage.script.count("login") == 1
        await stage.store.fetch("app")
        assert stage.vendor.requests[-1].values("X-Vault-Token") == [b"first"]


async def test_a_capped_renewal_is_followed_by_a_new_login_before_the_end(tmp_path: Path, clock: ManualClock) -> None:
    """The token comes to its maximum; the proof is read anew, and the calls go on."""
    async with staged(tmp_path, clock) as stage:
        await stage.store.fetch("app")
        stage.script.said["renew-self"] = granted("first", 100)
        await stage.advance(0.71 * HOUR)
        assert stage.script.count("login") == 1
        stage.script.said["login"] = granted("second", HOUR)
        await stage.advance(71)
        assert stage.script.count("login") == 2
        await stage.store.fetch("app")
        assert stage.vendor.requests[-1].values("X-Vault-Token") == [b"second"]


@pytest.mark.parametrize("refusal", [REFUSED, (500, {"errors": ["past its max TTL"]}), (400, {"errors": ["no lease"]})])
async def test_a_refused_renewal_is_followed_by_a_new_login_at_once(
    refusal: Said, tmp_path: Path, clock: ManualClock
) -> None:
    """Vault says 500 past the maximum."""
    async with staged(tmp_path, clock, **{"renew-self": refusal}) as stage:
        await stage.store.fetch("app")
        stage.script.said["login"] = granted("second", HOUR)
        await stage.advance(0.71 * HOUR)
        await stage.advance(0)
        assert stage.script.count("login") == 2
        assert stage.notices.count_of("store_login_ends") == 1


async def test_a_login_outlives_an_outage_that_is_shorter_than_the_rest_of_it(
    tmp_path: Path, clock: ManualClock
) -> None:
    """Renewals fail and are tried again, less and less often; no reading needs a new login."""
    async with staged(tmp_path, clock, **{"renew-self": SEALED}) as stage:
        await stage.store.fetch("app")
        await stage.advance(0.71 * HOUR)
        for _ in range(8):
            await stage.advance(60)
        assert 5 <= stage.script.count("renew-self") <= 20
        await stage.store.fetch("app")
        assert stage.script.count("login") == 1
        stage.script.said["renew-self"] = granted("first", HOUR)
        await stage.advance(60)
        assert stage.notices.count_of("store_login_renewed") == 1


async def test_a_login_that_ended_in_an_outage_is_made_anew_after_it(tmp_path: Path, clock: ManualClock) -> None:
    """By the background, before anybody reads; until then a reading says what is wrong."""
    async with staged(tmp_path, clock, **{"renew-self": SEALED}) as stage:
        await stage.store.fetch("app")
        stage.script.said["login"] = SEALED
        await stage.advance(0.71 * HOUR)
        for _ in range(20):
            await stage.advance(60)
        with pytest.raises(StoreFailed, match=r"the approle login at .* failed: it is sealed"):
            await stage.store.fetch("app")
        stage.script.said["login"] = granted("second", HOUR)
        for _ in range(2):
            await stage.advance(60)
        await stage.store.fetch("app")
        assert stage.vendor.requests[-1].values("X-Vault-Token") == [b"second"]


async def test_a_failed_login_is_not_repeated_before_its_pause_ends(tmp_path: Path, clock: ManualClock) -> None:
    """Every secret of the pod asks at once, and every second."""
    async with staged(tmp_path, clock, login=REFUSED) as stage:
        for _ in range(120):
            with pytest.raises(StoreFailed, match="permission denied"):
                await stage.store.fetch("app")
            await clock.advance(1)
        assert 5 <= stage.script.count("login") <= 8
        stage.script.said["login"] = granted("first")
        await clock.advance(60)
        await stage.store.fetch("app")


async def test_what_fails_in_the_login_is_not_taken_for_the_secrets_own(tmp_path: Path, clock: ManualClock) -> None:
    """A method that is not mounted is 404, as is a secret that is not there."""
    async with staged(tmp_path, clock, login=(404, {"errors": ['no handler for route "auth/approle/login"']})) as stage:
        with pytest.raises(StoreFailed, match=r"the approle login at .* failed: no handler"):
            await stage.store.fetch("app")
        with pytest.raises(StoreFailed, match="the approle login"):
            await stage.store.has_changed("app", "1-t")


@pytest.mark.parametrize("token", ["", "two\r\nX-Evil: 1", "tökn"])
async def test_what_cannot_stand_in_a_header_is_no_token(token: str, tmp_path: Path, clock: ManualClock) -> None:
    """The sentence does not repeat it."""
    async with staged(tmp_path, clock, login=granted(token)) as stage:
        with pytest.raises(StoreFailed, match="gave what cannot be a token") as refused:
            await stage.store.fetch("app")
        assert "Evil" not in str(refused.value)


async def test_a_token_in_its_last_second_is_not_one_without_an_end(tmp_path: Path, clock: ManualClock) -> None:
    """Both have a ttl of 0; only one has a time at which it expires."""
    async with asking(Script(**{"lookup-self": life(0)}), tmp_path, clock) as (store, _):
        await store.fetch("app")
        assert store._login._lease is not None
        assert store._login._lease.expires_at == clock.now() + 1
    forever: Said = (200, {"data": {"ttl": 0, "expire_time": None}})
    async with asking(Script(**{"lookup-self": forever}), tmp_path, clock) as (store, _):
        await store.fetch("app")
        assert clock.pending == 0


async def test_closing_waits_a_second_for_the_goodbye_and_no_longer(tmp_path: Path, clock: ManualClock) -> None:
    """A server that hangs does not hold up the end of the pod."""
    script, until = Script(login=granted("first", HOUR)), asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        assert exchange.request is not None
        if exchange.request.target.endswith(b"revoke-self"):
            await until.wait()
        await exchange.send(script(exchange.request))

    auth = AppRole(role_id="role", secret_id_file=token_file(tmp_path, "proof"))
    async with Vendor(hang) as vendor, opened(vendor.url, "", clock, auth=auth) as store:
        await store.fetch("app")
        tasks = Tasks()
        closing = tasks.spawn(store.close(), "close")
        await vendor.wait_for_request(3)
        await clock.advance(0.9)
        assert not closing.done()
        await clock.advance(0.2)
        await closing
        until.set()


async def test_a_goodbye_that_is_refused_is_told_and_no_more(tmp_path: Path, clock: ManualClock) -> None:
    """The token ends with its lease."""
    async with staged(tmp_path, clock) as stage:
        await stage.store.fetch("app")
        stage.script.said["revoke-self"] = SEALED
        await stage.store.close()
        assert stage.notices.count_of("store_logout_failed") == 1
        assert clock.pending == 0


async def test_a_reading_that_is_given_up_does_not_end_the_login_of_the_others(
    tmp_path: Path, clock: ManualClock
) -> None:
    """The first who asks logs in for all; when it leaves, the next one does."""
    async with staged(tmp_path, clock) as stage:
        tasks = Tasks()
        first = tasks.spawn(stage.store.fetch("app"), "first")
        second = tasks.spawn(stage.store.fetch("app"), "second")
        await stage.vendor.wait_for_head()
        first.cancel()
        assert (await second).reveal() == b'{"k": "v"}'
        assert first.cancelled()
