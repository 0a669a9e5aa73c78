"""Batching: many events in one delivery, as lines of JSON, with an answer for each.

An event waits LINGER at most for others, and longer only while all places are taken. Two of one key are never in one
batch: the second is not to be had before the first is done.
"""

import asyncio
import hashlib

import msgspec

from sidecar.auth.secrets.held import Held
from sidecar.core.body import Headers
from sidecar.store.backlog import Entry
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.delivery import Means, ended_of, result_of, signature_of
from sidecar.webhooks.event import given, head_of, webhook_of
from sidecar.webhooks.taker import Said
from sidecar.working.verdict import Ended

LINGER = 0.02  # Seconds that the first event of a batch waits for others.
BYTES_MAX = 8 * 2**20  # Of bodies in one batch. Full: it goes, and the next begins.
ANSWER_MAX = 2**20  # Bytes of the app's answer. What is behind it counts as not answered.
LINES = ("application/x-ndjson", "application/jsonl", "application/jsonlines")
_CUT_OFF = Said(0, error="the batch was cut off")
_LEFT_OUT = Said(0, error="the app's answer does not have this event")


class _Item(msgspec.Struct):
    """The app's answer for one event."""

    id: str
    status: int
    retry_after: float | None = None  # Seconds.


_decode = msgspec.json.Decoder(_Item).decode


class Basket:
    """A batch that fills."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._bytes = 0
        self._waiting: dict[str, asyncio.Future[Said]] = {}
        self.entries: list[Entry] = []
        self.filled = asyncio.Event()

    def put(self, entry: Entry) -> "asyncio.Future[Said]":
        """Add an event, and give where its answer will be."""
        assert not self.filled.is_set()
        assert entry.id not in self._waiting
        self.entries.append(entry)
        self._bytes += len(entry.body)
        if len(self.entries) >= self._count_max or self._bytes >= BYTES_MAX:
            self.filled.set()
        self._waiting[entry.id] = answer = asyncio.get_running_loop().create_future()
        return answer

    def settle(self, said: dict[str, Said], otherwise: Said) -> None:
        """Answer for all of them that wait yet."""
        for name, answer in self._waiting.items():
            if not answer.done():
                answer.set_result(said.get(name, otherwise))


class Batches:
    """Delivers the events of one webhook, many at once."""

    def __init__(self, config: WebhookConfig, secret: Held | None, means: Means) -> None:
        assert config.deliver_to is not None
        self._config = config
        self._target = config.deliver_to
        self._secret = secret
        self._means = means
        self._places = asyncio.Semaphore(config.concurrency)
        self._filling: Basket | None = None
        self.concurrency = config.concurrency * config.deliver_batch

    def is_busy(self) -> bool:
        """Say no: nothing else goes this way."""
        return False

    async def run(self, entry: Entry, age: float) -> Ended:
        """Deliver one event with others, and say what becomes of it."""
        basket, is_first = self._filling, False
        if basket is None or basket.filled.is_set():
            basket, is_first = Basket(self._config.deliver_batch), True
            self._filling = basket
        answer = basket.put(entry)
        if is_first:
            await self._carry(basket)
        said = await answer
        self._means.note(result_of(said))
        return ended_of(self._config, entry, head_of(entry), said, age, self._means.jitter())

    async def _carry(self, basket: Basket) -> None:
        """Wait for a place and for others, and post; whatever happens, nobody waits for an answer in vain."""
        said: dict[str, Said] = {}
        otherwise = _CUT_OFF
        try:
            async with self._places:
                await self._linger(basket)
                basket.filled.set()
                said, otherwise = await self._post(basket)
        finally:
            basket.filled.set()
            basket.settle(said, otherwise)

    async def _linger(self, basket: Basket) -> None:
        clock = self._means.clock
        try:
            async with clock.timeout_at(clock.now() + LINGER):
                await basket.filled.wait()
        except TimeoutError:
            return

    async def _post(self, basket: Basket) -> tuple[dict[str, Said], Said]:
        entries, means = basket.entries, self._means
        body = b"".join(msgspec.json.encode(given(entry)) + b"\n" for entry in entries)
        name = name_of(entries)
        headers: Headers = [
            (b"Content-Type", b"application/x-ndjson"),
            (b"Sidecar-Event-Count", b"%d" % len(entries)),
        ]
        signature = signature_of(self._secret, name, body, means.clock.wall())
        if signature is None:
            return {}, Said(0, error="deliver_secret could not be read", was_sent=False)
        seconds = float(self._config.deliver_timeout)
        return answers_of(await means.taker.post(self._target, headers + signature, body, seconds, ANSWER_MAX))


def name_of(entries: list[Entry]) -> str:
    """Give the id of a batch: the same events at the same attempts are the same batch."""
    parts = msgspec.msgpack.encode([(entry.id, entry.attempts) for entry in entries])
    return f"{webhook_of(entries[0].id)}.batch-{hashlib.sha256(parts).hexdigest()[:32]}"


def answers_of(said: Said) -> tuple[dict[str, Said], Said]:
    """Give what the app said of each event, and what holds for those that it does not name. Pure."""
    if not said.is_done or said.kind not in LINES:
        return {}, said
    found = {}
    for line in said.body.splitlines():
        try:
            item = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        is_done = 200 <= item.status < 300
        retry_after = item.retry_after if item.retry_after is not None and item.retry_after > 0 else None
        found[item.id] = Said(
            item.status if 100 <= item.status <= 599 else 500, retry_after=retry_after,
            error="" if is_done else f"the app answered {item.status} for this event",
        )  # fmt: skip
    return found, _LEFT_OUT
