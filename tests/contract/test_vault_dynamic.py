"""Credentials that an engine makes, against a real one: users of a Valkey, which let in or do not."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from sidecar.auth.secrets.held import HeldSecrets
from sidecar.auth.secrets.store import SecretEnded, StoreFailed
from sidecar.auth.secrets.vault.config import TokenFile, VaultAddress, VaultStoreConfig
from sidecar.auth.secrets.vault.dynamic import UNASKED_MAX, DynamicStore
from sidecar.auth.signing.parts import Parts
from sidecar.core.clock import Clock, SystemClock
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.redact import Redactor
from tests.contract.bao import Bao
from tests.contract.connecting import Connecting
from tests.contract.dynamic import Engine
from tests.contract.gate import Gate
from tests.contract.stores import approle, chance
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers
from tests.kit.valkey import Valkey
from tests.kit.vendor import WAIT_MAX

HOUR = 3600.0
ASK_EVERY = 4.0  # Below the timeout, which passes while a server answers in real time.
STEPS_MAX = 10  # Of the background, one after the other.
LOOKS_MAX = 400
LOOK_EVERY = 0.05  # Seconds of real time, between two looks at servers, which take theirs.


class Opener:
    """Opens stores on one engine, through a gate, and closes them in the end."""

    def __init__(self, engine: Engine, gate: Gate, folder: Path, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.engine = engine
        self.gate = gate
        self.folder = folder
        self.clock = clock
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self._stack = stack

    def open(
        self, clock: Clock | None = None, *, may_revoke: bool = True, auth: Any = None, **role: Any
    ) -> DynamicStore:
        """Open a store that logs in by approle."""
        policy = self.engine.policy(may_revoke=may_revoke)
        config = VaultStoreConfig(
            address=VaultAddress.parse(f"http://127.0.0.1:{self.gate.port}"),
            auth=auth or approle(self.engine.bao, policy, self.folder, **role),
            mount=self.engine.mount,
            engine="dynamic",
        )
        clock = clock or self.clock
        store = DynamicStore(config, clock, chance, Connecting(clock).network, self._note)
        self._stack.push_async_callback(store.close)
        return store

    def token(self, policy: str) -> TokenFile:
        """A token in a file, as Vault's agent writes it: it is not ours to end."""
        file = self.folder / "token"
        file.touch(mode=0o600)
        file.write_text(self.engine.bao.token(policy))
        return TokenFile(token_file=str(file))

    def count(self, msg: str) -> int:
        """How often the store had this to say."""
        return sum(notice[0] == msg for notice in self.notices)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until servers, in their own time, have made it so."""
        for _ in range(LOOKS_MAX):
            if await asyncio.to_thread(is_so):
                return
            await pause()
        raise AssertionError(f"it did not become so; {self.notices}")

    async def use_for(self, seconds: float, store: DynamicStore, **held: Secret) -> None:
        """Let time pass, with the question whether it changed, which who holds a secret asks all the time."""
        while seconds > 0:
            for path, secret in held.items():
                with contextlib.suppress(StoreFailed):
                    await store.has_changed(path, secret.version)
            await self.clock.advance(min(seconds, ASK_EVERY))
            seconds -= ASK_EVERY
            for _ in range(STEPS_MAX):  # A real server answers in its own time.
                if await store._tasks.wait(WAIT_MAX) + await store._login._tasks.wait(WAIT_MAX) == 0:
                    break

    async def until_told(self, msg: str, count: int = 1) -> None:
        """Wait until the store had this to say."""
        await self.until(lambda: self.count(msg) >= count)

    def _note(self, level: str, msg: str, **fields: Any) -> None:
        self.notices.append((msg, {"level": level, **fields}))


async def pause() -> None:
    """Let real time pass."""
    try:
        async with asyncio.timeout(LOOK_EVERY):
            await asyncio.Event().wait()
    except TimeoutError:
        return


@pytest.fixture
def engine(bao: Bao, servers: Servers) -> Engine:
    """An engine on the session's servers."""
    valkey = servers.get(Valkey.serving)
    assert isinstance(valkey, Valkey)
    return Engine(bao, valkey)


@pytest.fixture
async def opener(engine: Engine, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Opener]:
    """A way to open stores."""
    async with AsyncExitStack() as stack:
        gate = Gate(engine.bao.port)
        await stack.enter_async_context(gate)
        yield Opener(engine, gate, tmp_path, clock, stack)


async def credential(store: DynamicStore, path: str) -> dict[str, Any]:
    """What the store gives."""
    read: dict[str, Any] = json.loads((await store.fetch(path)).reveal())
    return read


async def test_a_user_is_made_once_and_works(opener: Opener, engine: Engine) -> None:
    """However often, and however many at once, ask for it."""
    path, store = engine.role(), opener.open()
    tasks = Tasks()
    reads = [tasks.spawn(store.fetch(path), "read") for _ in range(20)]
    secrets = [await read for read in reads]
    assert {secret.version for secret in secrets} == {(await store.fetch(path)).version}
    made = await credential(store, path)
    assert engine.works(made)
    assert not engine.works({**made, "password": "wrong"})
    assert len(engine.leases(path)) == 1
    assert not await store.has_changed(path, secrets[0].version)
    said = json.dumps(opener.notices, default=repr) + secrets[0].version
    assert [hidden for hidden in (made["password"], *engine.leases(path)) if hidden in said] == []


async def test_a_lease_is_renewed_ahead(opener: Opener, engine: Engine) -> None:
    """At 0.6 to 0.8 of its hour, for an hour again; the user stays the same."""
    path, store = engine.role(), opener.open(token_ttl="24h")
    first = await store.fetch(path)
    await opener.use_for(0.69 * HOUR, store, **{path: first})
    assert opener.count("store_lease_renewed") == 0
    for count in (1, 2, 3):
        await opener.use_for(0.71 * HOUR, store, **{path: first})
        await opener.until_told("store_lease_renewed", count)
        assert not await store.has_changed(path, first.version)
    assert (await store.fetch(path)).version == first.version
    [lease] = engine.leases(path)
    looked = engine.bao.ask("PUT", "sys/leases/lookup", {"lease_id": lease})["data"]
    assert looked["last_renewal"] is not None
    assert looked["ttl"] > 3590


async def test_a_lease_that_was_revoked_is_replaced_at_its_renewal(opener: Opener, engine: Engine) -> None:
    """Whoever took it away did not tell us."""
    path, store = engine.role(), opener.open(token_ttl="24h")
    first, user = await store.fetch(path), await credential(store, path)
    engine.revoke(path)
    await opener.until(lambda: not engine.works(user))
    await opener.use_for(0.71 * HOUR, store, **{path: first})
    await opener.until_told("store_lease", 2)
    assert opener.count("store_lease_ends") == 1
    assert await store.has_changed(path, first.version)
    assert (await store.fetch(path)).version != first.version
    assert engine.works(await credential(store, path))


async def test_a_new_login_has_all_credentials_replaced(opener: Opener, engine: Engine) -> None:
    """What was made under a login ends with it, whatever its own lease says; so the new one makes its own, ahead."""
    paths = [engine.role(), engine.role()]
    store = opener.open(token_ttl="30m", token_max_ttl="30m", token_type="batch")
    first = [await store.fetch(path) for path in paths]
    users = [await credential(store, path) for path in paths]
    await opener.use_for(0.71 * HOUR / 2, store, **dict(zip(paths, first, strict=True)))
    await opener.until_told("store_login", 2)
    await opener.until_told("store_lease", 4)
    for path, before, user in zip(paths, first, users, strict=True):
        assert (await store.fetch(path)).version != before.version
        assert engine.works(await credential(store, path))
        assert engine.works(user), "calls under way may still carry it"


@pytest.mark.parametrize("way", ["revoked", "with its login", "of an agent's login"])
async def test_a_lease_ends_with_a_closed_store(way: str, opener: Opener, engine: Engine) -> None:
    """Whether we may revoke it, or it ends with the login that we end."""
    path = engine.role()
    auth = opener.token(engine.policy()) if way == "of an agent's login" else None
    store = opener.open(auth=auth, may_revoke=way == "revoked")
    user = await credential(store, path)
    assert engine.works(user)
    await store.close()
    await opener.until(lambda: not engine.works(user))
    assert engine.leases(path) == []
    assert opener.count("store_lease_not_revoked") == 0
    with pytest.raises(StoreFailed, match="closed"):
        await store.fetch(path)


async def test_a_lease_that_could_not_be_given_back_is_told(opener: Opener, engine: Engine) -> None:
    """An agent's token is not ours to end, and this one may not revoke; then the lease has to end by itself."""
    path = engine.role()
    store = opener.open(auth=opener.token(engine.policy(may_revoke=False)))
    user = await credential(store, path)
    await store.close()
    assert [fields["level"] for msg, fields in opener.notices if msg == "store_lease_not_revoked"] == ["warning"]
    assert engine.works(user)


async def test_a_store_is_closed_in_time_though_its_server_is_away(opener: Opener, engine: Engine) -> None:
    """Each lease that stays is told."""
    path, store = engine.role(), opener.open()
    await store.fetch(path)
    await opener.gate.shut()
    await store.close()
    assert opener.count("store_lease_not_revoked") == 1


async def test_what_nobody_asks_for_any_more_is_given_back(opener: Opener, engine: Engine) -> None:
    """A reload took its references away; the others go on."""
    kept, gone = engine.role(), engine.role()
    store = opener.open()
    first = await store.fetch(kept)
    user, other = await credential(store, kept), await credential(store, gone)
    await opener.use_for(2 * UNASKED_MAX, store, **{kept: first})
    await opener.until(lambda: not engine.works(other))
    assert engine.works(user)
    assert (await store.fetch(kept)).version == first.version
    assert engine.works(await credential(store, gone)), "asked for anew, it is made anew"


async def test_a_server_that_is_away_is_ridden_out_until_the_leases_end(opener: Opener, engine: Engine) -> None:
    """The credential is given up a little before; when the server is back there is a new one by itself."""
    path, store = engine.role(), opener.open(token_ttl="24h")
    first = await store.fetch(path)
    await opener.gate.shut()
    await opener.use_for(0.71 * HOUR, store, **{path: first})
    await opener.until_told("store_lease_not_kept")
    with pytest.raises(StoreFailed, match=r"renewing the lease of .* connecting failed") as failure:
        await store.has_changed(path, first.version)
    assert not isinstance(failure.value, SecretEnded)
    assert (await store.fetch(path)).version == first.version
    await opener.use_for(0.28 * HOUR, store, **{path: first})
    assert (await store.fetch(path)).version == first.version
    await opener.use_for(0.01 * HOUR, store, **{path: first})
    for ask in (store.has_changed(path, first.version), store.fetch(path)):
        with pytest.raises(SecretEnded, match=r"the lease of .* has ended, and there is no new one yet: .*connecting"):
            await ask
    assert opener.count("store_lease_not_kept") < 4, "an outage is told, not each try"
    await opener.gate.open()
    await opener.use_for(61, store, **{path: first})
    await opener.until_told("store_lease", 2)
    assert engine.works(await credential(store, path))


async def test_a_role_that_is_not_there_is_told(opener: Opener, engine: Engine) -> None:
    """And one that was deleted leaves what was made until its end."""
    store = opener.open()
    with pytest.raises(StoreFailed, match=rf"reading {engine.mount}/creds/nobody at .* unknown role: nobody"):
        await store.fetch("creds/nobody")
    with pytest.raises(StoreFailed, match=r"permission denied.*does the policy of the login allow it"):
        await store.fetch("roles/nobody")


async def test_an_engine_that_lends_nothing_is_told(opener: Opener, bao: Bao) -> None:
    """Its secrets are read as what they are."""
    mount = bao.mount(1)
    bao.ask("POST", f"{mount}/app", {"key": "canary-in-kv"})
    opener.engine.mount = mount
    with pytest.raises(StoreFailed, match=r"came without a lease.*engine = \"dynamic\" is for") as refused:
        await opener.open(auth=opener.token(bao.policy_for(mount))).fetch("app")
    assert "canary" not in str(refused.value)


async def test_nothing_is_written_to_an_engine(opener: Opener, engine: Engine) -> None:
    """The sentence says where it could be."""
    with pytest.raises(StoreFailed, match="is made by its engine, so nothing is written there; use a kv engine"):
        await opener.open().put(engine.role(), "password", b"mine", "")


async def test_a_user_goes_on_over_renewals_and_past_the_roles_maximum(opener: Opener, engine: Engine) -> None:
    """In real time: a lease of 4 s, 7 s at most. Name and password are of one user at every moment, and let in."""
    path, clock, tasks = engine.role("4s", "7s"), SystemClock(), Tasks()
    store = opener.open(clock)
    store.poll_s = LOOK_EVERY  # As short beside the lease as a second is beside one of a minute.
    held = HeldSecrets({"db": store}, opener._note, Redactor().know, clock, Metrics(), tasks)
    refs = [SecretRef.parse(f"db:{path}#{field}") for field in ("username", "password")]
    pairs: list[list[Secret]] = []
    lost: list[str] = []
    parts = Parts([held.hold(ref) for ref in refs], pairs.append, lambda: lost.append("lost"))
    await held.refresh()
    users: set[str] = set()

    def is_let_in() -> bool:
        username, password = (secret.reveal().decode() for secret in pairs[-1])
        users.add(username)
        return engine.works({"username": username, "password": password})

    tried = 0
    while len(users) < 2:
        held.look()
        assert await asyncio.to_thread(is_let_in), f"after {tried} times; {opener.notices}"
        tried += 1
        await pause()
    assert tried > 50
    assert opener.count("store_lease_renewed") >= 1
    assert lost == []
    assert all(username.version == password.version for username, password in pairs)
    parts.release()
    await held.close()
    await opener.until(lambda: not is_let_in())
    await tasks.stop()
