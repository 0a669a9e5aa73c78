"""Receiver: verify, know again, append; the answer is a 2xx once the event is stored for good, and never before.

A duplicate is what has the id and the body of an event that is there. The same id with another body is a conflict: it
is kept and delivered under an id of its own, and says so. An id that nobody signed may be left out by somebody who
sends an event again: so such an event is known by what would be its id without one, too.
"""

import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.learning import Learning, NotKept
from sidecar.core.body import Headers
from sidecar.core.clock import Clock
from sidecar.core.repeated import Repeated
from sidecar.store.backlog import Backlog, Bounds, NewEntry
from sidecar.store.base import StoreFailed, StoreFull
from sidecar.telemetry.metrics import Metrics
from sidecar.upstream.hints.expression import Expression
from sidecar.webhooks.config import WebhookConfig
from sidecar.webhooks.event import Head, encode, head_of, headers_of, id_in_conflict, id_of, key_of, line_of
from sidecar.webhooks.incoming import Handshake, Incoming, NotVerified, Verified, Verifier
from sidecar.webhooks.keys import Keys, KeyUnavailable
from sidecar.webhooks.verifying import revealed

RETRY_AFTER = 5  # Seconds that a vendor is told to wait whose event cannot be stored now.
NOT_LEARNT = (
    "it came with the handshake and is not kept; put it where `secret` leads to, as the vendor's API or page shows it, "
    "or write secret_from_handshake = true and have the vendor send it again"
)
DUPLICATE, CONFLICT, ACCEPTED = "duplicate", "conflict", "accepted"


class Answer(NamedTuple):
    """What the vendor gets."""

    status: int
    headers: Headers = []
    body: bytes = b""


class HookSpec(NamedTuple):
    """A webhook in this generation."""

    config: WebhookConfig
    verifier: Verifier
    secrets: tuple[Held, ...]
    deliver_secret: Held | None
    learning: Learning | None = None  # Where a secret goes that comes with a handshake.


class Receiver:
    """Takes the events of one webhook."""

    def __init__(
        self,
        name: str,
        spec: HookSpec,
        backlog: Callable[[], Backlog],
        clock: Clock,
        tell: Callable[..., None],
        metrics: Metrics,
        wake: Callable[[], None],
        keys: Keys,
    ) -> None:
        self._name = name
        self._spec = spec
        self.config = config = spec.config
        self._bounds = Bounds(config.length_max, int(config.bytes_max))
        self._is_wanted = _wanted(config.types)
        self._order_by = Expression(config.order_by) if config.order_by is not None else None
        self._backlog = backlog
        self._clock = clock
        self._tell = tell
        self._metrics = metrics
        self._wake = wake
        self._keys = keys
        self._repeated = Repeated()
        self.methods = spec.verifier.methods  # By which the vendor calls; events come by POST.

    def count(self, result: str) -> None:
        """Count what became of a request."""
        self._metrics.counter("sidecar_events_total", self._name, result).value += 1

    async def receive(self, incoming: Incoming, request_id: str) -> Answer:
        """Take one request, whose body is in hand."""
        secrets = revealed(self._spec.secrets)
        try:
            verified = await self._verify(incoming, secrets)
        except NotVerified as reason:
            return self._refused(str(reason), request_id)
        except KeyUnavailable as reason:
            return self._not_now("unavailable", str(reason), request_id)
        if verified is None:
            return self._not_now("unavailable", "none of its secrets could be read", request_id)
        if verified.handshake is not None and (verified.visits is None or self.config.confirm):
            return await self._greet(verified.handshake, verified, request_id)
        if not self._is_wanted(verified.type):
            self.count("filtered")
            return Answer(200)
        try:
            result, name = await self._store(incoming, verified, secrets, request_id)
        except StoreFull as full:
            return self._not_now("full", str(full), request_id)
        except StoreFailed as failed:
            return self._not_now("unavailable", str(failed), request_id)
        self.count(result)
        level = "warning" if result == CONFLICT else "debug"
        self._tell(level, f"event_{result}", webhook=self._name, event=name, request_id=request_id)
        if result != DUPLICATE:
            self._wake()
        return Answer(200)

    async def _verify(self, incoming: Incoming, secrets: list[bytes]) -> Verified | None:
        """Say what it is; None when no secret is there that says it. Raises NotVerified, KeyUnavailable."""
        verifier = self._spec.verifier
        if not secrets and self._spec.secrets:
            return verifier.greeted(incoming)
        url = verifier.needs(incoming)
        keys = {} if url is None else {url: await self._keys.get(url)}
        verified = verifier.verify(incoming, secrets, self._clock.wall(), keys)
        if url is not None:
            self._keys.prove(url)
        return verified

    async def _greet(self, handshake: Handshake, verified: Verified, request_id: str) -> Answer:
        """Answer a handshake, once the secret that it brings is kept, if it shall be, and what it names was asked."""
        level, secret = "info", verified.secret
        told: dict[str, str] = {}
        if verified.visits is not None:
            try:
                await self._keys.visit(verified.visits)
            except KeyUnavailable as reason:
                return self._not_now("unavailable", str(reason), request_id)
        if secret is not None and self._spec.learning is None:
            level, told = "warning", {"secret": NOT_LEARNT}
        elif secret is not None and self._spec.learning is not None:
            try:
                told = {"secret": f"kept at {await self._spec.learning.keep(secret)}"}
            except NotKept as reason:
                if reason.is_final:
                    return self._refused(str(reason), request_id)
                return self._not_now("unavailable", str(reason), request_id)
        self.count("handshake")
        self._tell_some(level, "event_handshake", request_id, told)
        return Answer(*handshake)

    async def _store(
        self, incoming: Incoming, verified: Verified, secrets: list[bytes], request_id: str
    ) -> tuple[str, str]:
        """Append it, unless it is there. Gives what it was, and the id under which it stands. Raises StoreFailed."""
        body = incoming.body
        name = id_of(self._name, verified.id, body)
        body_hash = hashlib.sha256(body).digest()
        head = Head(
            headers_of(incoming.headers, secrets), (verified.type or "")[:256], verified.sent_at, request_id, body_hash
        )
        key = self._key(body)
        is_open = self._spec.verifier.has_open_id and verified.id is not None
        also = id_of(self._name, None, body) if is_open else ""
        backlog, line = self._backlog(), line_of(self._name)
        if not await backlog.append(line, [NewEntry(name, key, encode(head), body, also=also)], self._bounds):
            return ACCEPTED, name
        there = await backlog.get(line, name)
        if there is None and also:  # It went away in between; or the id is another's second one, whose body may differ.
            there = await backlog.get(line, also)
            is_same = there is not None
        else:  # One that has no id is known by its hash, whoever has that.
            is_same = there is None or head_of(there).body_hash == body_hash
        if is_same:
            return DUPLICATE, name
        head.conflicts_with, name = name, id_in_conflict(name, body_hash)
        if await backlog.append(line, [NewEntry(name, key, encode(head), body, also=also)], self._bounds):
            return DUPLICATE, name
        return CONFLICT, name

    def _key(self, body: bytes) -> str:
        if self._order_by is None:
            return ""
        try:
            return key_of(self._order_by.search(msgspec.json.decode(body)))
        except (ValueError, RecursionError):  # It is no JSON, or no query for it: nothing to keep in order by.
            return ""

    def _refused(self, reason: str, request_id: str) -> Answer:
        self.count("refused")
        self._tell_some("warning", "event_refused", request_id, {"error": reason})
        return Answer(401)

    def _not_now(self, result: str, reason: str, request_id: str) -> Answer:
        self.count(result)
        self._tell_some("error", "event_not_accepted", request_id, {"error": reason})
        return Answer(503, [(b"Retry-After", b"%d" % RETRY_AFTER)])

    def _tell_some(self, level: str, msg: str, request_id: str, told: dict[str, str]) -> None:
        """Write a line, unless many like it were written just now: then one of them counts the others."""
        times = self._repeated.came(f"{msg} {' '.join(told.values())}", self._clock.now())
        if times is not None:
            self._tell(level, msg, webhook=self._name, request_id=request_id, **told, **times)


def _wanted(patterns: tuple[str, ...]) -> Callable[[str | None], bool]:
    """Say whether an event of a type is wanted; one that does not say its type is, since it may be."""
    if not patterns:
        return lambda _: True
    match = re.compile("|".join(".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns), re.DOTALL)
    return lambda kind: kind is None or match.fullmatch(kind) is not None
