"""Delivery: one try to hand an event to the app, and what its answer means.

The app gets the raw body and the vendor's headers, and, with `deliver_secret`, one signature for all vendors.
"""

from collections.abc import Callable
from typing import NamedTuple

from sidecar.auth.secrets.held import Held
from sidecar.core.body import Headers
from sidecar.core.clock import Clock
from sidecar.store.backlog import RUNNING, WAITING, Entry, Settlement
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.event import NEXT, Head, attempts_of, encode, head_of
from sidecar.webhooks.taker import Said, Taker
from sidecar.working.signing import sign
from sidecar.working.verdict import Ended, Verdict, delay_of

ANSWER_MAX = 4096  # Bytes of the app's answer that are read; nothing in it matters but its status.
ERROR_MAX = 200  # Characters of what is kept of a reason.
UNREACHED_WAIT = 1.0  # Seconds at most, after which an event is tried again that nobody was there to take.
UNREACHED_PAUSE = 1.0  # Seconds in which no other is tried either; then a single one is, until one is answered.
_OURS = frozenset({b"webhook-id", b"webhook-timestamp", b"webhook-signature"})


class Means(NamedTuple):
    """What deliveries stand on."""

    clock: Clock
    jitter: Callable[[], float]
    taker: Taker
    note: Callable[[str], None]  # Is told the result of each try.


class Deliveries:
    """Delivers the events of one webhook, each by itself."""

    def __init__(self, config: WebhookConfig, secret: Held | None, means: Means) -> None:
        assert config.deliver_to is not None
        self._config = config
        self._target = config.deliver_to
        self._secret = secret
        self._means = means
        self.concurrency = config.concurrency

    def is_busy(self) -> bool:
        """Say no: nothing else goes this way."""
        return False

    async def run(self, entry: Entry, age: float) -> Ended:
        """Deliver one event, and say what becomes of it."""
        head, means = head_of(entry), self._means
        headers = [field for field in head.headers if self._secret is None or field[0].lower() not in _OURS]
        headers += [
            (b"Sidecar-Event-Id", entry.id.encode()),
            (b"Sidecar-Event-Attempt", b"%d" % attempts_of(entry, head)),
            (b"X-Request-ID", head.request_id.encode()),
        ]
        if head.conflicts_with:
            headers.append((b"Sidecar-Event-Conflicts-With", head.conflicts_with.encode()))
        signature = signature_of(self._secret, entry.id, entry.body, means.clock.wall())
        if signature is None:
            said = Said(0, error="deliver_secret could not be read", was_sent=False)
        else:
            said = await means.taker.post(
                self._target, headers + signature, entry.body, float(self._config.deliver_timeout), ANSWER_MAX
            )
        means.note(result_of(said))
        return ended_of(self._config, entry, head, said, age, means.jitter())


def signature_of(secret: Held | None, name: str, body: bytes, wall: float) -> Headers | None:
    """Give the fields of Standard Webhooks; none without a secret, and None where it could not be read."""
    if secret is None:
        return []
    if secret.secret is None:
        return None
    at = int(wall)
    return [
        (b"webhook-id", name.encode()),
        (b"webhook-timestamp", b"%d" % at),
        (b"webhook-signature", sign(secret.secret.reveal(), name, at, body).encode()),
    ]


def result_of(said: Said) -> str:
    """Give the word under which a try is counted."""
    if said.is_done:
        return "delivered"
    return f"{said.status // 100}xx" if said.status else "no_answer" if said.was_sent else "not_reached"


def judged(said: Said, attempts: int, age: float, config: WebhookConfig, chance: float) -> Verdict:
    """Say what the app's answer means for an event that was tried `attempts` times and is `age` seconds old. Pure."""
    if said.is_done:
        return Verdict("answered")
    error = said.error[:ERROR_MAX]
    delay = delay_of(tuple(float(seconds) for seconds in config.schedule), max(1, attempts), chance)
    if not said.was_sent:
        wait = min(delay, UNREACHED_WAIT)
        event = "given_up" if age + wait > float(config.age_max) else "put_off"
        return Verdict(event, wait, error, pause=UNREACHED_PAUSE)  # type: ignore[arg-type]
    left = float(config.age_max) - age
    if delay > left:
        return Verdict("given_up", error=error)
    # What the app says is obeyed as far as the event lives.
    return Verdict("put_off", max(delay, min(said.retry_after or 0.0, left)), error)


def ended_of(config: WebhookConfig, entry: Entry, head: Head, said: Said, age: float, chance: float) -> Ended:
    """Say what becomes of an event."""
    verdict = judged(said, attempts_of(entry, head), age, config, chance)
    state = NEXT[RUNNING][verdict.event]
    head.error = verdict.error
    head.unsent += not said.was_sent
    is_done = verdict.event == "answered"
    frees = is_done and not config.keep_bodies
    if frees:
        head.headers = []  # It is kept to be known again, and for that it needs no more.
    delay = verdict.delay if state == WAITING else 0.0
    return Ended(Settlement(state, delay, encode(head), frees_body=frees), verdict)
