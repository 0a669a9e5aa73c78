"""Ledger: a vendor that does each idempotency key once, however often it is asked, fails by chance, and counts."""

import hashlib
import json
import random
from collections.abc import Callable

from sidecar.core.clock import SystemClock
from tests.kit.exchange import Exchange, Request
from tests.kit.vendor import answer

# Of what comes: the share that is answered 503, done and then reset, and reset without having been done.
BUSY, DONE_AND_RESET, RESET = 0.10, 0.08, 0.05
LATENCY_MAX = 0.03  # Seconds that it takes at most.
LARGE_SHARE = 0.03  # Of answers that are long.
LARGE_BYTES = 300 * 1024


class Ledger:
    """What was asked and done. A call's name stands in its path, and its body follows from the name."""

    def __init__(self, chance: random.Random, heard: Callable[[], None]) -> None:
        self.done: dict[str, str] = {}  # The name of what was done, by its key.
        self.keys: dict[str, set[str]] = {}  # The keys with which each name came.
        self.rows: dict[str, list[int]] = {}  # The numbers of what was done, in order, by their row.
        self.asked = self.repeats = 0
        self.is_kind = False  # It fails no more.
        self.problems: list[str] = []
        self._chance = chance
        self._heard = heard
        self._clock = SystemClock()

    async def play(self, exchange: Exchange) -> None:
        """Take one request."""
        request = exchange.request
        assert request is not None
        self.asked += 1
        self._heard()
        await self._clock.sleep(self._chance.random() * LATENCY_MAX)
        luck = 1.0 if self.is_kind else self._chance.random()
        if luck < BUSY:
            await exchange.send(answer(b"busy", status=503))
        elif luck < BUSY + DONE_AND_RESET:
            self._do(request)
            exchange.reset()
        elif luck < BUSY + DONE_AND_RESET + RESET:
            exchange.reset()
        else:
            self._do(request)
            size = LARGE_BYTES if self._chance.random() < LARGE_SHARE else 10
            await exchange.send(answer(b"x" * size, status=201))
        request.content.body = bytearray()  # It was looked at, and there are many.
        self._heard()

    def _do(self, request: Request) -> None:
        name, _, size = request.target.decode().rpartition("/")[2].partition("?size=")
        key = b",".join(request.values("Idempotency-Key")).decode()
        if request.body != body_of(name, int(size)):
            self.problems.append(f"the body of {name} is not what was sent")
        self.keys.setdefault(name, set()).add(key)
        if key in self.done:
            self.repeats += 1
            if self.done[key] != name:
                self.problems.append(f"{name} has the key of {self.done[key]}")
            return
        self.done[key] = name
        row, _, number = name.rpartition("-")
        self.rows.setdefault(row, []).append(int(number))


class Inbox:
    """The app's address for results: takes most of them at once, and the others when they come again."""

    def __init__(self, chance: random.Random, heard: Callable[[], None]) -> None:
        self.jobs: set[str] = set()  # Of which the good end was told.
        self.taken = 0
        self._chance = chance
        self._heard = heard

    async def play(self, exchange: Exchange) -> None:
        """Take one, or be busy."""
        request = exchange.request
        assert request is not None
        if self._chance.random() < BUSY:
            await exchange.send(answer(b"busy", status=503))
            return
        told = json.loads(request.body)
        self.taken += 1
        if told["state"] == "succeeded":
            self.jobs.add(told["id"])
        await exchange.send(answer(status=204))
        request.content.body = bytearray()
        self._heard()


def body_of(name: str, size: int) -> bytes:
    """Give the body of a call."""
    grain = hashlib.sha256(name.encode()).digest()
    return (grain * (size // len(grain) + 1))[:size]
