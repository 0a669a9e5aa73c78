"""One webhook: what it takes, what it knows again, and what it says when it cannot keep an event."""

import asyncio
import hmac
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.auth.secrets.file import FileStore, FileStoreConfig
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.learning import Learning
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.units import Size
from sidecar.store.base import StoreDown
from sidecar.store.config import StoreConfig
from sidecar.store.memory import MemoryStore
from sidecar.telemetry.metrics import Metrics
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.event import head_of, id_of
from sidecar.webhooks.incoming import Incoming
from sidecar.webhooks.keys import Keys
from sidecar.webhooks.presets import preset, webhook_presets
from sidecar.webhooks.receiver import HookSpec, Receiver
from sidecar.webhooks.verifying import verifier_of
from tests.kit.clock import ManualClock
from tests.kit.hooks import SECRET, signed
from tests.kit.senders import NOW, SNS_CERT, SUBSCRIBE, TOPIC, certificate, sns_confirmation

NOTHING: Any = None
NO_KEYS = Keys(NOTHING, NOTHING)


def held(value: str | None) -> Held:
    """A secret that was read, or could not be."""
    found = Held(SecretRef("files:x"), NOTHING)
    if value is not None:
        found.put(Secret(value.encode(), "1"))
    return found


class Receiving:
    """A receiver over a line in memory."""

    def __init__(
        self, secrets: tuple[str | None, ...] = (SECRET,), section: dict[str, Any] | None = None, **config: Any
    ) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(StoreConfig(), self.clock)
        self.is_down = False
        self.told: list[dict[str, Any]] = []
        self.woken = 0
        self.metrics = Metrics()
        keys = {"provider": "standard-webhooks", "secret": SecretRef("files:x"), **config, **(section or {})}
        made = WebhookConfig(**keys)
        spec = HookSpec(made, verifier_of(made), tuple(held(secret) for secret in secrets), None)
        self.receiver = Receiver(
            "stripe", spec, self._backlog, self.clock, self._tell, self.metrics, self._wake, NO_KEYS
        )

    async def send(self, name: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> int:
        """Send one, and give the status."""
        fields = signed(name, body, at=self.clock.wall()) | (headers or {})
        raw = [(key.encode(), value.encode()) for key, value in fields.items() if value]
        return (await self.receiver.receive(Incoming("POST", "https://x/stripe", raw, body), "r-1")).status

    def counted(self, result: str) -> int:
        """How often a result was counted."""
        return self.metrics.counter("sidecar_events_total", "stripe", result).value

    async def entries(self) -> list[tuple[str, str]]:
        """Give (id, key) of what is stored, the newest first."""
        return [(entry.id, entry.key) for entry in await self.store.backlog.find("webhook/stripe", None, "", 100)]

    def _backlog(self) -> Any:
        if self.is_down:
            raise StoreDown("the store is away")
        return self.store.backlog

    def _tell(self, level: str, msg: str, **fields: Any) -> None:
        self.told.append({"level": level, "msg": msg, **fields})

    def _wake(self) -> None:
        self.woken += 1


async def test_an_event_is_kept_once_however_often_it_comes() -> None:
    """A duplicate is acknowledged and counted, and wakes nobody."""
    it = Receiving()
    assert [await it.send("evt_1") for _ in range(3)] == [200, 200, 200]
    assert await it.entries() == [("stripe.evt_1", "")]
    assert (it.counted("accepted"), it.counted("duplicate"), it.woken) == (1, 2, 1)


async def test_the_same_instant_makes_no_second_event() -> None:
    """The append itself knows it again."""
    it = Receiving()
    assert set(await asyncio.gather(*(it.send("evt_1") for _ in range(20)))) == {200}
    assert (it.counted("accepted"), it.counted("duplicate")) == (1, 19)


async def test_the_same_id_with_another_body_is_kept_beside_it_and_marked() -> None:
    """Nothing that was acknowledged is dropped; the conflict is told once, however often it comes."""
    it = Receiving()
    await it.send("evt_1", b"first")
    assert [await it.send("evt_1", b"second") for _ in range(2)] == [200, 200]
    [(conflict, _), (first, _)] = await it.entries()
    assert first == "stripe.evt_1"
    entry = await it.store.backlog.get("webhook/stripe", conflict)
    assert entry is not None
    assert (entry.body, head_of(entry).conflicts_with) == (b"second", "stripe.evt_1")
    assert (it.counted("conflict"), it.counted("duplicate")) == (1, 1)
    assert [line["level"] for line in it.told if line["msg"] == "event_conflict"] == ["warning"]


GITHUB = "X-GitHub-Delivery"


class FromGithub(Receiving):
    """Whose id stands in a header that is not signed."""

    def __init__(self) -> None:
        super().__init__(section={"provider": "github"})

    async def take(self, name: str, body: bytes) -> int:
        """Send one with an id, or without."""
        signature = "sha256=" + hmac.new(SECRET.encode(), body, "sha256").hexdigest()
        fields = {"X-Hub-Signature-256": signature} | ({GITHUB: name} if name else {})
        raw = [(key.encode(), value.encode()) for key, value in fields.items()]
        return (await self.receiver.receive(Incoming("POST", "https://x/stripe", raw, body), "r-1")).status


@pytest.mark.parametrize("order", [("1", ""), ("", "1"), ("1", "", "1", ""), ("", "", "1", "1"), ("1", "x" * 300)])
async def test_an_id_that_nobody_signed_can_be_left_out_and_that_makes_no_second_event(order: tuple[str, ...]) -> None:
    """Somebody who has an event sends it again without its id, or with one that is none: it is a duplicate."""
    it = FromGithub()
    assert {await it.take(name, b"a") for name in order} == {200}
    assert len(await it.entries()) == 1
    assert (it.counted("accepted"), it.counted("duplicate"), it.woken) == (1, len(order) - 1, 1)


async def test_equal_bodies_with_ids_of_their_own_are_events_of_their_own() -> None:
    """Also after one without an id, which may be one of them and not both."""
    it = FromGithub()
    for name in ("1", "2", "", "3", "1", "2"):
        await it.take(name, b"a")
    assert [name for name, _ in await it.entries()] == ["stripe.3", "stripe.2", "stripe.1"]
    it = FromGithub()
    for name in ("", "1", "2", "", "1", "2"):
        await it.take(name, b"a")
    assert [name.partition("-")[0] for name, _ in await it.entries()] == ["stripe.2", "stripe.sha256"]


async def test_a_conflict_is_known_without_its_id_too() -> None:
    """Its body makes no third event."""
    it = FromGithub()
    for name, body in (("1", b"a"), ("1", b"b"), ("", b"b"), ("", b"a"), ("1", b"b")):
        await it.take(name, body)
    assert len(await it.entries()) == 2
    assert (it.counted("conflict"), it.counted("duplicate")) == (1, 3)


async def test_nobody_hides_an_event_behind_one_that_took_its_id() -> None:
    """Who sends an old body without an id, and then with the id of an event to come, swallows nothing."""
    it = FromGithub()
    for name, body in (("", b"old"), ("7", b"old"), ("7", b"new"), ("7", b"new"), ("7", b"old")):
        assert await it.take(name, body) == 200
    bodies = [await it.store.backlog.get("webhook/stripe", name) for name, _ in await it.entries()]
    assert [entry.body for entry in bodies if entry is not None] == [b"new", b"old"]
    assert (it.counted("conflict"), it.counted("duplicate")) == (1, 3)


async def test_nobody_hides_an_event_behind_an_id_that_looks_like_its_hash() -> None:
    """An id that the vendor did not sign may be anything; it never is what stands for an event without one."""
    it = FromGithub()
    hidden = id_of("stripe", None, b"new").removeprefix("stripe.")
    for name, body in (("", b"old"), (hidden, b"old"), ("", b"new"), (hidden, b"other")):
        assert await it.take(name, body) == 200
    bodies = [await it.store.backlog.get("webhook/stripe", name) for name, _ in await it.entries()]
    assert [entry.body for entry in bodies if entry is not None] == [b"other", b"new", b"old"]


class FromAsana(Receiving):
    """Whose secret comes with the handshake."""

    def __init__(self, folder: Path, *, may_learn: bool = True) -> None:
        super().__init__(secrets=(None,), section={"provider": "asana"})
        self.store_of_secrets = FileStore(FileStoreConfig(path=str(folder)))
        spec = self.receiver._spec
        learning = Learning(spec.secrets, lambda _: self.store_of_secrets, lambda _: None) if may_learn else None
        self.receiver._spec = spec._replace(learning=learning)

    async def greet(self, secret: str) -> tuple[int, list[str]]:
        """Send a handshake; give the status, and what comes back in the header."""
        answer = await self.receiver.receive(
            Incoming("POST", "https://x/stripe", [(b"X-Hook-Secret", secret.encode())], b""), "r-1"
        )
        return answer.status, [value.decode() for name, value in answer.headers if name == b"X-Hook-Secret"]


async def test_a_secret_is_learnt_from_the_first_handshake_and_from_no_other(tmp_path: Path) -> None:
    """Before any secret is there the handshake is answered and an event is a 503; nothing of the secret is told."""
    it, secret, other = FromAsana(tmp_path), "5ec4e7" * 8, "0bad" * 12
    event = Incoming("POST", "https://x/stripe", [(b"X-Hook-Signature", b"00")], b"{}")
    assert (await it.receiver.receive(event, "r-1")).status == 503
    assert await it.greet(secret) == (200, [secret])
    assert (tmp_path / "x").read_text() == secret
    assert await it.greet(other) == (401, [])
    assert await it.greet(secret) == (200, [secret])
    assert (it.counted("handshake"), it.counted("refused")) == (2, 1)
    assert [line.get("secret") for line in it.told if line["msg"] == "event_handshake"] == ["kept at files:x"] * 2
    assert secret not in str(it.told)
    assert other not in str(it.told)


async def test_a_secret_that_nobody_asked_to_learn_is_sent_back_and_said_not_to_be_kept(tmp_path: Path) -> None:
    """The line says what to write."""
    it = FromAsana(tmp_path, may_learn=False)
    assert await it.greet("5ec4e7") == (200, ["5ec4e7"])
    [line] = it.told
    assert (line["level"], line["msg"]) == ("warning", "event_handshake")
    assert "secret_from_handshake = true" in line["secret"]
    assert not (tmp_path / "x").exists()


async def test_a_secret_that_cannot_be_kept_is_no_handshake(tmp_path: Path) -> None:
    """The vendor's webhook is not made, since nothing of it could be verified."""
    it = FromAsana(tmp_path / "none")
    assert await it.greet("5ec4e7") == (503, [])
    assert "could not be written to files:x" in it.told[0]["error"]


class FromAmazon(Receiving):
    """Whose subscriptions are confirmed by a URL."""

    def __init__(self, *, confirm: bool) -> None:
        super().__init__(secrets=(), section={"provider": "aws", "secret": (), "settings": {"topic_arn": TOPIC}})
        self.clock = ManualClock(wall_at=NOW)
        self.asked: list[str] = []
        self.is_reached = True
        config = msgspec.structs.replace(self.receiver.config, confirm=confirm)
        self.receiver = Receiver(
            "stripe", self.receiver._spec._replace(config=config), self._backlog, self.clock, self._tell, self.metrics,
            self._wake, Keys(self._fetch, self.clock),
        )  # fmt: skip

    async def _fetch(self, url: str) -> bytes:
        if url == SNS_CERT:
            return certificate()
        self.asked.append(url)
        if not self.is_reached:
            raise ValueError(f"{url} answered 500")
        return b"<ConfirmSubscriptionResponse/>"


async def test_a_subscription_is_confirmed_where_that_was_asked_for() -> None:
    """By one call, and the answer says so; one that fails is a 503, after which the vendor asks again."""
    it = FromAmazon(confirm=True)
    it.is_reached = False
    assert (await it.receiver.receive(sns_confirmation().incoming, "r-1")).status == 503
    it.is_reached = True
    assert (await it.receiver.receive(sns_confirmation().incoming, "r-1")).status == 200
    assert it.asked == [SUBSCRIBE] * 2
    assert (it.counted("handshake"), it.counted("unavailable"), it.counted("accepted")) == (1, 1, 0)
    assert "Token" not in str(it.told)


async def test_a_subscription_is_an_event_where_nobody_asked_to_confirm_it() -> None:
    """Nothing is called; the app gets it, and may call."""
    it = FromAmazon(confirm=False)
    assert (await it.receiver.receive(sns_confirmation().incoming, "r-1")).status == 200
    assert it.asked == []
    assert await it.entries() == [("stripe.m-0", "")]


def test_only_ids_that_can_be_left_out_cost_a_second_one() -> None:
    """What is signed, or in the body, cannot."""
    assert [name for name in webhook_presets() if preset(name).has_open_id] == [
        "atlassian", "bitbucket", "github", "gitlab-token", "google", "linear", "shopify", "twilio", "zendesk",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"webhook-signature": ""}, "there is no signature"),
        ({"webhook-signature": "v1,AAAA"}, "no signature is right"),
        ({"webhook-timestamp": "1"}, "no signature is right"),
        ({"webhook-timestamp": "x"}, "no signature is right"),
        ({"webhook-id": "evt_2"}, "no signature is right"),
    ],
)
async def test_what_is_not_the_vendors_is_refused_with_the_reason_in_the_log_alone(
    changes: dict[str, str], why: str
) -> None:
    """401 and nothing else; nothing is kept."""
    it = Receiving()
    assert await it.send("evt_1", headers=changes) == 401
    assert await it.entries() == []
    [line] = it.told
    assert line["msg"] == "event_refused"
    assert why in line["error"]


async def test_a_flood_of_refused_requests_is_a_few_lines() -> None:
    """Each is counted and gets its answer; whoever has no key writes no log of ours."""
    it = Receiving()
    flood = {"webhook-signature": "v1,AAAA"}
    assert {await it.send("evt_1", headers=flood) for _ in range(200)} == {401}
    assert (len(it.told), it.counted("refused")) == (5, 200)
    await it.clock.advance(61)
    await it.send("evt_1", headers=flood)
    assert (len(it.told), it.told[-1]["times"]) == (6, 196)


async def test_a_flood_of_handshakes_that_nobody_signs_is_a_few_lines(tmp_path: Path) -> None:
    """Also where each brings a secret, which is kept nowhere."""
    it = FromAsana(tmp_path, may_learn=False)
    assert {(await it.greet(f"s-{number}"))[0] for number in range(200)} == {200}
    assert (len(it.told), it.counted("handshake")) == (5, 200)


async def test_a_flood_while_nothing_can_be_kept_is_a_few_lines() -> None:
    """A vendor that sends everything again is told to come later, and the log is told how often."""
    it = Receiving()
    it.is_down = True
    assert {await it.send(f"evt_{number}") for number in range(200)} == {503}
    assert len(it.told) == 5


async def test_any_of_several_secrets_verifies_and_none_that_is_read_is_a_503() -> None:
    """While it rotates both hold; a vendor that cannot be judged is told to come again, and not that it is wrong."""
    assert await Receiving(secrets=("whsec_b3RoZXI=", SECRET)).send("evt_1") == 200
    it = Receiving(secrets=(None,))
    assert await it.send("evt_1") == 503
    assert it.counted("unavailable") == 1


async def test_only_wanted_types_are_kept() -> None:
    """Others are acknowledged and dropped; what does not say its type may be wanted."""
    it = Receiving(types=("invoice.*", "ping"))
    bodies = [
        b'{"type":"invoice.paid"}',
        b'{"type":"customer.created"}',
        b'{"type":"pinged"}',
        b'{"type":"ping"}',
        b"x",
    ]
    assert {await it.send(f"evt_{n}", body) for n, body in enumerate(bodies)} == {200}
    assert [name for name, _ in await it.entries()] == ["stripe.evt_4", "stripe.evt_3", "stripe.evt_0"]
    assert it.counted("filtered") == 2


async def test_order_is_by_what_the_query_finds() -> None:
    """Where it finds nothing, or the body is no JSON, an event waits for no other."""
    it = Receiving(order_by="data.id")
    for n, body in enumerate([b'{"data":{"id":7}}', b'{"data":{}}', b"not json", b'{"data":{"id":"c"}}', b"[" * 5000]):
        assert await it.send(f"evt_{n}", body) == 200
    assert [key for _, key in await it.entries()] == ["", "c", "", "", "7"]


async def test_a_full_line_and_a_store_that_is_away_are_a_503_and_never_a_lie() -> None:
    """What was not kept was not acknowledged; what is there already is, also when it is full."""
    it = Receiving(length_max=2)
    assert [await it.send(f"evt_{n}") for n in range(3)] == [200, 200, 503]
    assert it.counted("full") == 1
    it.is_down = True
    assert await it.send("evt_9") == 503
    assert it.counted("unavailable") == 1
    assert Receiving(bytes_max=Size(1)).receiver.config.bytes_max == 1
    assert await Receiving(bytes_max=Size(1)).send("evt_1") == 503
