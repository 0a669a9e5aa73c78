"""Callback: the result of a job, posted to the app; signed, and tried again until the app takes it.

Signed in the form of Standard Webhooks; `webhook-id` is the job's id and the attempt that ended it. The result is
stored as an entry of its own before the job is settled, so none gets lost; the same one may come twice.
"""

from collections.abc import Callable

import aiohttp
import msgspec

from sidecar.auth.secrets.held import Held
from sidecar.core.clock import Clock
from sidecar.layers.defer.config import QueueConfig
from sidecar.queue.job import DEAD, SUCCEEDED, shown
from sidecar.store.backlog import WAITING, Backlog, Bounds, Entry, NewEntry, Settlement
from sidecar.working.signing import sign
from sidecar.working.verdict import Ended, Verdict, delay_of

CALLBACKS = ".!callbacks"  # Behind the name of a line: no route is called so.
ANSWER_TIMEOUT = 30.0  # Seconds for the app to take one.
ANSWER_MAX = 4096  # Bytes of the app's answer that are read; nothing in it matters but its status.


async def note(backlog: Backlog, line: str, config: QueueConfig, entry: Entry, ended: Ended, clock: Clock) -> None:
    """Leave the result of a job that ended for the app. Raises StoreFailed."""
    settlement = ended.settlement
    done = entry._replace(
        state=settlement.state, head=settlement.head or entry.head, result=settlement.result or b"",
        settled_at=clock.wall(),
    )  # fmt: skip
    body = msgspec.json.encode(shown(line, done, is_whole=True))
    # Not bounded by the line's own bounds: it is there already, as the job that becomes this.
    bounds = Bounds(2 * config.length_max, 4 * int(config.bytes_max))
    # A job that people retry ends once more: that is another result.
    name = f"{entry.id}.{entry.attempts}"
    await backlog.append(line + CALLBACKS, [NewEntry(name, entry.key, b"", body)], bounds)


class Callbacks:
    """Delivers the results of one line."""

    def __init__(
        self, line: str, config: QueueConfig, secret: Held | None, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        assert config.callback is not None
        self._line = line
        self._url = config.callback
        self._config = config
        self._secret = secret
        self._clock = clock
        self._jitter = jitter
        self._schedule = tuple(float(seconds) for seconds in config.schedule)
        self.concurrency = config.concurrency

    def is_busy(self) -> bool:
        """Say no: nothing else goes this way."""
        return False

    async def run(self, entry: Entry, age: float) -> Ended:
        """Post one result."""
        problem = await self._post(entry)
        if not problem:
            return Ended(Settlement(SUCCEEDED, frees_body=True), Verdict("answered"))
        delay = delay_of(self._schedule, entry.attempts, self._jitter())
        if age + delay > float(self._config.age_max):
            return Ended(Settlement(DEAD, head=problem.encode()), Verdict("given_up", error=problem))
        return Ended(Settlement(WAITING, delay, head=problem.encode()), Verdict("put_off", delay, problem))

    async def _post(self, entry: Entry) -> str:
        """Post it, and give "" or what went wrong."""
        if self._secret is None or self._secret.secret is None:
            return "the secret to sign it with could not be read"
        at = int(self._clock.wall())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": entry.id,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(self._secret.secret.reveal(), entry.id, at, entry.body),
            "Sidecar-Event-Attempt": str(entry.attempts),
        }
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
                session.post(self._url, data=entry.body, headers=headers, allow_redirects=False) as answer,
            ):
                await answer.content.read(ANSWER_MAX)
                return "" if 200 <= answer.status < 300 else f"the app answered {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return f"the app was not reached: {type(error).__name__}"
