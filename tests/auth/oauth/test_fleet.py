"""Pods that share a store mint once: one renews under a lease, the others take its result over, good or bad."""

import asyncio
import base64
import secrets

import pytest

from sidecar.auth.oauth.fleet import FINAL_SECONDS, LEASE_SECONDS, FleetSupply
from sidecar.auth.oauth.sealed import Seal
from sidecar.auth.oauth.supply import Direct
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from sidecar.store.base import Record, StoreDown
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryRecords, MemoryStore
from tests.auth.oauth.minting import Endpoint, knowing_nothing
from tests.kit.clock import ManualClock

KEY = SecretRef.parse("files:store-key")


def held(value: bytes | None) -> Held:
    """The encryption key as a pod holds it."""
    made = Held(KEY, Known(knowing_nothing))
    made.secret = None if value is None else Secret(value, "1")
    return made


class Fleet:
    """A store, an endpoint, and pods over both."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.store = MemoryStore(StoreConfig(), clock)
        self.endpoint = Endpoint(clock)
        self.tasks = Tasks()
        self.key = secrets.token_bytes(32)
        self.told: list[str] = []

    def pod(self, seal: Seal | type[Seal] | None = Seal) -> FleetSupply:
        """Make another pod; without a seal it shares the lease alone."""
        made = Seal(KEY, held(self.key)) if seal is Seal else seal
        assert made is None or isinstance(made, Seal)
        return FleetSupply(
            Direct(self.endpoint), self.store, made, "crm:1", secrets.token_hex(8), self.clock, self.tasks,
            lambda: 0.5, lambda _, msg, **__: self.told.append(msg),
        )  # fmt: skip

    async def all(self, *pods: FleetSupply, seconds: float = 30.0) -> list[Token | BaseException]:
        """Have all pods mint at once, and let time pass until they are done."""
        minting = [self.tasks.spawn(quietly(pod), "pod") for pod in pods]
        await self.clock.advance(seconds)
        assert all(task.done() for task in minting)
        return [task.result() for task in minting]

    def stored(self) -> list[bytes]:
        """What whoever reads the store sees."""
        assert isinstance(self.store.records, MemoryRecords)
        return [value for value, _, _ in self.store.records._there.values()]


async def quietly(pod: FleetSupply) -> Token | BaseException:
    """Mint, and give the error instead of raising it."""
    try:
        return await pod.mint()
    except TokenRefused as refused:
        return refused


@pytest.fixture
async def fleet(clock: ManualClock) -> Fleet:
    """Nobody has a token yet."""
    await Seal.ready()
    return Fleet(clock)


def value(token: Token | BaseException) -> bytes:
    """The token's value."""
    assert isinstance(token, Token), token
    return token.value


async def test_ten_pods_at_once_make_one_request(fleet: Fleet) -> None:
    """The others wait for the one that asks, and have its token."""
    fleet.endpoint.takes = 4.0
    tokens = await fleet.all(*(fleet.pod() for _ in range(10)))
    assert len(fleet.endpoint.asked_at) == 1
    assert {value(token) for token in tokens} == {fleet.endpoint.made[0].value}
    assert sorted(token.is_shared for token in tokens if isinstance(token, Token)) == [False] + [True] * 9


async def test_a_token_that_is_taken_over_is_whole(fleet: Fleet) -> None:
    """Kind, what came with it, birth and end, by the taker's clock."""
    sent_at = fleet.clock.now()
    fleet.endpoint.turns.append(
        fleet.endpoint.token(sent_at, kind="DPoP", extra={"instance_url": "https://a.example", "scope": "b c"})
    )
    first, second = fleet.pod(), fleet.pod()
    (minted,) = await fleet.all(first, seconds=1000)
    (taken,) = await fleet.all(second, seconds=0)
    assert isinstance(minted, Token)
    assert isinstance(taken, Token)
    assert (taken.value, taken.kind, taken.extra) == (minted.value, minted.kind, minted.extra)
    assert taken.got_at == pytest.approx(minted.got_at, abs=0.01)
    assert taken.expires_at == pytest.approx(minted.expires_at, abs=0.01)


async def test_a_token_without_an_end_is_shared_too(fleet: Fleet) -> None:
    """Only the vendor's 401 ends it."""
    fleet.endpoint.turns.append(Token(b"endless", got_at=fleet.clock.now()))
    tokens = await fleet.all(fleet.pod(), fleet.pod())
    assert [token.expires_at for token in tokens if isinstance(token, Token)] == [float("inf")] * 2


async def test_a_renewal_replaces_what_all_have_once(fleet: Fleet) -> None:
    """Each pod asks when its token is due: the first has a new one minted, the others find it."""
    pods = [fleet.pod() for _ in range(3)]
    await fleet.all(*pods)
    renewed = await fleet.all(*pods)
    assert len(fleet.endpoint.asked_at) == 2
    assert {value(token) for token in renewed} == {fleet.endpoint.made[1].value}


async def test_a_killed_pod_delays_the_others_by_its_lease(fleet: Fleet) -> None:
    """Nobody gives its lease back, so it ends by itself, and one of the others renews."""
    await fleet.store.leases.take("token:crm:1", "killed", LEASE_SECONDS)
    began_at = fleet.clock.now()
    tokens = await fleet.all(fleet.pod(), fleet.pod())
    assert len(fleet.endpoint.asked_at) == 1
    assert LEASE_SECONDS <= fleet.endpoint.asked_at[0] - began_at <= LEASE_SECONDS + 1
    assert {value(token) for token in tokens} == {fleet.endpoint.made[0].value}


async def test_a_slow_renewal_keeps_its_lease(fleet: Fleet) -> None:
    """An answer that takes three times as long as the lease is still the only request."""
    fleet.endpoint.takes = 3 * LEASE_SECONDS
    await fleet.all(fleet.pod(), fleet.pod(), seconds=60)
    assert len(fleet.endpoint.asked_at) == 1


async def test_a_renewal_that_is_cut_off_gives_its_lease_back(fleet: Fleet) -> None:
    """The next pod does not wait for it."""
    fleet.endpoint.takes = 5.0
    cut_off = fleet.tasks.spawn(fleet.pod().mint(), "pod")
    await fleet.clock.advance(1.0)
    cut_off.cancel()
    await asyncio.wait([cut_off])
    fleet.endpoint.takes = 0.0
    (token,) = await fleet.all(fleet.pod(), seconds=0.5)
    assert value(token) == fleet.endpoint.made[-1].value


async def test_a_failure_is_every_pods(fleet: Fleet) -> None:
    """A token endpoint that fails is asked by one pod, not by all in a row; who waited hears the same sentence."""
    fleet.endpoint.takes = 1.0
    fleet.endpoint.failing = TokenRefused("the endpoint answered 503", is_retryable=True, retry_after=7.0)
    results = await fleet.all(*(fleet.pod() for _ in range(8)), seconds=3)
    assert len(fleet.endpoint.asked_at) == 1
    assert all(isinstance(result, TokenRefused) for result in results)
    assert {result.is_retryable for result in results if isinstance(result, TokenRefused)} == {True}
    assert all("503" in str(result) for result in results)
    fleet.endpoint.failing = None
    await fleet.clock.advance(1.0)
    (token,) = await fleet.all(fleet.pod(), seconds=2)
    assert value(token) == fleet.endpoint.made[0].value


async def test_a_final_failure_is_asked_about_less_often(fleet: Fleet) -> None:
    """What would only be met again is not shown to the vendor by each pod."""
    fleet.endpoint.failing = TokenRefused("invalid_grant", is_invalid_grant=True)
    await fleet.all(fleet.pod())
    (result,) = await fleet.all(fleet.pod(), seconds=0)
    assert isinstance(result, TokenRefused)
    assert result.is_invalid_grant
    assert len(fleet.endpoint.asked_at) == 2  # The thirty seconds of the first were longer than that.
    await fleet.clock.advance(FINAL_SECONDS)
    await fleet.all(fleet.pod())
    assert len(fleet.endpoint.asked_at) == 3


async def test_without_a_store_each_pod_mints_its_own(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away fails no call."""

    async def down(*_: object, **__: object) -> None:
        raise StoreDown("it is away")

    for part, names in ((fleet.store.records, ("get", "put")), (fleet.store.leases, ("take", "give_back"))):
        for name in names:
            monkeypatch.setattr(part, name, down)
    tokens = await fleet.all(fleet.pod(), fleet.pod())
    assert len({value(token) for token in tokens}) == 2


async def test_a_store_that_goes_away_in_the_middle_costs_one_request(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was minted is used, though nobody else hears of it."""
    put = fleet.store.records.put

    async def down(*_: object, **__: object) -> None:
        raise StoreDown("it is away")

    monkeypatch.setattr(fleet.store.records, "put", down)
    (token,) = await fleet.all(fleet.pod())
    assert value(token) == fleet.endpoint.made[0].value
    assert len(fleet.endpoint.asked_at) == 1
    monkeypatch.setattr(fleet.store.records, "put", put)


async def test_without_a_key_pods_mint_one_after_the_other(fleet: Fleet) -> None:
    """Two uses of one rotating refresh token at once would cost the grant."""
    fleet.endpoint.takes = 1.0
    tokens = await fleet.all(*(fleet.pod(seal=None) for _ in range(3)))
    assert len({value(token) for token in tokens}) == 3
    assert fleet.endpoint.under_way_max == 1
    assert fleet.stored() == []


@pytest.mark.parametrize("key", [None, b"too short", b"x" * 31, b"x" * 33], ids=["unread", "short", "31", "33"])
async def test_a_key_that_is_none_is_told_once_and_shares_nothing(fleet: Fleet, key: bytes | None) -> None:
    """Tokens stay in memory, and calls go on."""
    pod = fleet.pod(Seal(KEY, held(key)))
    await fleet.all(pod)
    await fleet.all(pod)
    assert fleet.stored() == []
    assert fleet.told == ["token_not_shared"]
    assert pod.snapshot()["shared"] is False


async def test_a_key_is_read_raw_in_hex_and_in_base64(fleet: Fleet) -> None:
    """The forms in which people keep 32 bytes; pods with any of them share."""
    forms = [
        fleet.key, fleet.key.hex().encode(), base64.b64encode(fleet.key) + b"\n", base64.urlsafe_b64encode(fleet.key)
    ]  # fmt: skip
    await fleet.all(*(fleet.pod(Seal(KEY, held(form))) for form in forms))
    assert len(fleet.endpoint.asked_at) == 1


async def test_pods_with_another_key_have_tokens_of_their_own(fleet: Fleet) -> None:
    """A rotated key does not make two halves of a rollout overwrite each other."""
    other = fleet.pod(Seal(KEY, held(secrets.token_bytes(32))))
    ours = fleet.pod()
    await fleet.all(ours, other)
    assert len(fleet.endpoint.asked_at) == 2
    await fleet.all(fleet.pod(), fleet.pod(Seal(KEY, held(fleet.key))))
    assert len(fleet.endpoint.asked_at) == 2


async def test_the_store_holds_no_token(fleet: Fleet) -> None:
    """Neither raw nor in pieces, and each sealing is another text."""
    pods = [fleet.pod(), fleet.pod()]
    await fleet.all(*pods)
    first = fleet.stored()
    await fleet.all(*pods)
    second = fleet.stored()
    assert first
    assert first != second
    for token in fleet.endpoint.made:
        for form in (token.value, base64.b64encode(token.value).rstrip(b"="), token.value.hex().encode()):
            assert all(form not in stored for stored in first + second)


@pytest.mark.parametrize("at", [0, 11, 12, 40, -1])
async def test_a_record_that_somebody_changed_is_no_token(
    fleet: Fleet, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write into the store cannot make pods send what they wrote."""
    await fleet.all(fleet.pod())
    get = fleet.store.records.get

    async def changed(key: str) -> Record | None:
        found = await get(key)
        if found is None:
            return None
        forged = bytearray(found.value)
        forged[at] ^= 1
        return found._replace(value=bytes(forged))

    monkeypatch.setattr(fleet.store.records, "get", changed)
    (token,) = await fleet.all(fleet.pod())
    assert value(token) == fleet.endpoint.made[1].value


async def test_a_record_that_was_moved_is_no_token(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of one service does not become another's."""
    await fleet.all(fleet.pod())
    get = fleet.store.records.get
    (place,) = [key for key in fleet.store.records._there if key.startswith("token:")]
    monkeypatch.setattr(fleet.store.records, "get", lambda key: get(place if key.startswith("token:") else key))
    seal = Seal(KEY, held(fleet.key))
    other = FleetSupply(
        Direct(fleet.endpoint), fleet.store, seal, "bank:1", "h", fleet.clock, fleet.tasks, lambda: 0.5, print
    )
    (token,) = await fleet.all(other)
    assert value(token) == fleet.endpoint.made[1].value


@pytest.mark.parametrize("record", [b"", b"\x00", b"\x84\xa6holder\xa2\xff\xfe", b"\x80"])
async def test_a_failure_that_cannot_be_read_is_none(fleet: Fleet, record: bytes) -> None:
    """Another version of the sidecar wrote it, or somebody else: no pod fails for it."""
    await fleet.store.records.put("token-failure:crm:1", record, FINAL_SECONDS)
    tokens = await fleet.all(fleet.pod(), fleet.pod())
    assert {value(token) for token in tokens} == {fleet.endpoint.made[0].value}


@pytest.mark.parametrize("plain", [b"", b"\x00", b"\x84\xa4kind\xa2\xff\xfe", b"\x80"])
async def test_a_token_in_another_form_is_no_token(fleet: Fleet, plain: bytes) -> None:
    """Another version of the sidecar sealed it with the same key, in the middle of a rollout."""
    seal = Seal(KEY, held(fleet.key))
    place, nonce = seal.place("crm:1"), secrets.token_bytes(12)
    await fleet.store.records.put(place, nonce + seal._cipher().encrypt(nonce, plain, place.encode()), 1000.0)
    (token,) = await fleet.all(fleet.pod())
    assert value(token) == fleet.endpoint.made[0].value


async def test_a_failure_that_lasts_too_long_is_none(fleet: Fleet) -> None:
    """Whoever writes into the store holds no pod up for longer than pods do."""
    fleet.endpoint.failing = TokenRefused("invalid_client")
    await fleet.all(fleet.pod(), seconds=0)
    fleet.endpoint.failing = None
    record = await fleet.store.records.get("token-failure:crm:1")
    assert record is not None
    await fleet.store.records.put("token-failure:crm:1", record.value, 10 * FINAL_SECONDS)
    (token,) = await fleet.all(fleet.pod(), seconds=0)
    assert value(token) == fleet.endpoint.made[0].value


async def test_a_failure_that_is_final_for_one_pod_is_not_for_another(fleet: Fleet) -> None:
    """A secret that was rotated is not in all pods in the same second; who has it asks as soon as the record ends."""
    fleet.endpoint.failing = TokenRefused("invalid_client")
    await fleet.all(fleet.pod(), seconds=0)
    fleet.endpoint.failing = None
    renewed = fleet.pod()
    (heard,) = await fleet.all(renewed, seconds=0)
    assert isinstance(heard, TokenRefused)
    assert heard.is_retryable
    assert heard.retry_after is not None
    assert heard.retry_after <= FINAL_SECONDS
    await fleet.clock.advance(heard.retry_after)
    (token,) = await fleet.all(renewed, seconds=0)
    assert value(token) == fleet.endpoint.made[0].value


async def test_a_pod_whose_time_is_up_says_that_it_waited_for_another(fleet: Fleet) -> None:
    """The step is asked for after the wait was cut off."""
    await fleet.store.leases.take("token:crm:1", "other", 1000.0)
    pod = fleet.pod()
    waiting = fleet.tasks.spawn(quietly(pod), "pod")
    await fleet.clock.advance(5.0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert "another pod" in pod.step
    await fleet.store.leases.give_back("token:crm:1", "other")
    await fleet.all(pod)
    assert "another pod" not in pod.step


async def test_a_lease_that_was_given_back_stays_so(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that keeps it up, and is under way as the renewal ends, does not take it again."""
    take, given = fleet.store.leases.take, asyncio.Event()
    calls = 0

    async def slow(name: str, holder: str, seconds: float) -> float:
        nonlocal calls
        calls += 1
        if calls > 1:
            try:
                await given.wait()
            except asyncio.CancelledError:
                await take(name, holder, seconds)  # It had been sent.
                raise
        return await take(name, holder, seconds)

    monkeypatch.setattr(fleet.store.leases, "take", slow)
    fleet.endpoint.takes = 4.0
    await fleet.all(fleet.pod(), seconds=5.0)
    monkeypatch.setattr(fleet.store.leases, "take", take)
    assert calls > 1
    assert await fleet.store.leases.take("token:crm:1", "another", 1.0) == 0.0
