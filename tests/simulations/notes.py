"""Notes: an app that takes events, fails by chance, and notes each one, in the process that nobody kills."""

import json
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from typing import Any

from standardwebhooks.webhooks import Webhook

from sidecar.core.clock import SystemClock
from tests.kit.exchange import Exchange, Request
from tests.kit.hooks import DELIVER_SECRET
from tests.kit.vendor import answer

# Of what comes: the share that is answered 503, noted and then reset, and reset without having been noted.
BUSY, NOTED_AND_RESET, RESET = 0.08, 0.06, 0.04
LATENCY_MAX = 0.02  # Seconds that it takes at most.


class Notes:
    """What the app was asked to take, and what it took. An event's name, key and number stand in its body."""

    def __init__(self, chance: random.Random, heard: Callable[[], None]) -> None:
        self.chance = chance
        self.is_kind = False  # It fails no more.
        self.attempts: dict[str, list[int]] = defaultdict(list)  # By the event's id.
        self.ids: dict[str, set[str]] = defaultdict(set)  # By name.
        self.asked_at: dict[str, int] = {}  # By name: its place among all that happened, the first time;
        self.noted_at: dict[str, int] = {}  # and that of its first note.
        self.bodies: dict[str, str] = {}  # As they came, by name.
        self.problems: list[str] = []
        self.conflicts: set[str] = set()
        self._heard = heard
        self._clock = SystemClock()
        self._signer = Webhook(DELIVER_SECRET)
        self._count = 0

    async def play(self, exchange: Exchange) -> None:
        """Take a delivery of one event, or of many."""
        request = exchange.request
        assert request is not None
        fields = {name.decode().lower(): value.decode() for name, value in request.headers}
        events = self._events(request, fields)
        for event in events:
            self.ask(event)
        await self.pause()
        luck = self.luck()
        if BUSY + NOTED_AND_RESET <= luck < BUSY + NOTED_AND_RESET + RESET:
            exchange.reset()
        elif luck < BUSY:
            await exchange.send(answer(b"busy", status=503))
        else:
            told = [self._take(event, is_one=len(events) == 1) for event in events]
            if luck < BUSY + NOTED_AND_RESET:
                exchange.reset()
            else:
                lines = "\n".join(json.dumps(line) for line in told if line).encode()
                await exchange.send(answer(lines, headers=[(b"Content-Type", b"application/x-ndjson")]))
        request.content.body = bytearray()  # It was looked at, and there are many.

    def luck(self) -> float:
        """Draw."""
        return 1.0 if self.is_kind else self.chance.random()

    async def pause(self) -> None:
        """Take some time."""
        await self._clock.sleep(self.chance.random() * LATENCY_MAX)

    def ask(self, event: dict[str, Any]) -> None:
        """Note that an event came."""
        name = json.loads(event["body"])["name"]
        self.attempts[event["id"]].append(event["attempt"])
        self.ids[name].add(event["id"])
        self.bodies[name] = event["body"]
        if event["conflicts_with"]:
            self.conflicts.add(event["id"])
        self._count += 1
        self.asked_at.setdefault(name, self._count)
        self._heard()

    def take(self, event: dict[str, Any]) -> None:
        """Note an event as taken."""
        self._count += 1
        self.noted_at.setdefault(json.loads(event["body"])["name"], self._count)
        self._heard()

    def _take(self, event: dict[str, Any], *, is_one: bool) -> dict[str, Any]:
        """Note an event, one of a batch by chance not; give what is said of it, nothing by chance."""
        luck = 1.0 if is_one else self.luck()
        if luck < BUSY:
            return {"id": event["id"], "status": 500}
        self.take(event)
        return {} if luck < BUSY + NOTED_AND_RESET else {"id": event["id"], "status": 200}

    def _events(self, request: Request, fields: dict[str, str]) -> list[dict[str, Any]]:
        """Give what was delivered, in the form of a batch's lines, after a look at its signature."""
        body = request.body.decode()
        at = datetime.fromtimestamp(int(fields["webhook-timestamp"]), UTC)
        if self._signer.sign(fields["webhook-id"], at, body) != fields["webhook-signature"]:
            self.problems.append(f"{fields['webhook-id']} is not signed as the library signs it")
        if fields.get("content-type") == "application/x-ndjson":
            return [json.loads(line) for line in body.splitlines()]
        event = {"id": fields["sidecar-event-id"], "attempt": int(fields["sidecar-event-attempt"]), "body": body}
        return [{**event, "conflicts_with": fields.get("sidecar-event-conflicts-with")}]

    def hold(self, rows: dict[str, list[str]], acknowledged: set[str], sent: dict[str, str]) -> list[str]:
        """Hold it against what was promised. `rows` are the names of what was sent with each key, in order."""
        found = [f"{name} was acknowledged and never delivered" for name in sorted(acknowledged - self.noted_at.keys())]
        found += [f"{name} was delivered as {ids}" for name, ids in self.ids.items() if len(ids) > 1]
        found += [
            f"the body of {name} is not what was sent" for name, body in self.bodies.items() if body != sent[name]
        ]
        for event, attempts in self.attempts.items():
            if len(set(attempts)) < len(attempts):
                found.append(f"{event} came twice without a mark: {attempts}")
        for row, names in rows.items():
            first = inf  # Of those that were sent later.
            for name in reversed(names):
                # What was not acknowledged has no place: nobody knows whether it was accepted before the next.
                if name in acknowledged and self.noted_at.get(name, inf) > first:
                    found.append(f"the order of {row} was not kept: one that was sent after {name} came before it")
                first = min(first, self.asked_at.get(name, inf))
        return found + self.problems
