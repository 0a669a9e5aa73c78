"""Sending: vendors that send events, signed by code of others, and an app that notes them; a story of kills.

Three webhooks: the app gets the events of `stripe` one by one, those of `svix` in batches, and fetches those of
`standard`. A vendor sends what was not acknowledged again, for a while, and now and then what was, or twice at once.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import stripe
from standardwebhooks.webhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from tests.kit.hooks import DELIVER_SECRET, SECRET
from tests.kit.process import Process, free_ports
from tests.kit.vendor import Vendor
from tests.simulations.killing import CLOCK, EARLY_SHARE, LATE_MAX, PAUSE, Client, Story, json_of
from tests.simulations.notes import BUSY, NOTED_AND_RESET, RESET, Notes

KINDS = ("stripe", "svix", "standard")
ROWS, FREE = 2, 1  # Senders for each webhook: those whose events have a key, each its own, and those without.
FETCHERS = 2
OPEN_MAX = 80  # Events acknowledged and not noted. More: the vendors wait.
TWICE_SHARE, AGAIN_SHARE, CONFLICT_SHARE = 0.3, 0.1, 0.03  # Sent twice at once; again later; as the id of another.
GIVE_UP_SHARE = 0.05  # Of tries without an acknowledgement that are the last.
LARGE_SHARE, LARGE_BYTES = 0.05, 300 * 1024

_WEBHOOKS = """
[webhooks.stripe]
provider = "stripe"
secret = "files:vendor"
order_by = "row"
deliver_to = "{app}/hooks"
deliver_secret = "files:deliver"
schedule = ["10ms", "50ms", "200ms"]
[webhooks.svix]
provider = "svix"
secret = "files:vendor"
order_by = "row"
deliver_to = "{app}/hooks"
deliver_secret = "files:deliver"
deliver_batch = 10
concurrency = 2
schedule = ["10ms", "50ms", "200ms"]
[webhooks.standard]
provider = "standard-webhooks"
secret = "files:vendor"
order_by = "row"
schedule = ["10ms", "50ms", "200ms"]
"""


class Sending(Story):
    """Every event that was acknowledged is delivered, in order of its row, and none twice without a mark."""

    noun = "events"

    def __init__(self, seed: int, *, early: float = EARLY_SHARE, late: float = LATE_MAX) -> None:
        super().__init__(seed, early=early, late=late)
        self.notes = Notes(random.Random(seed + 1), self.heard)
        self.acknowledged: set[str] = set()  # Names of events.
        self.sent: dict[str, str] = {}  # Their bodies.
        self.rows: dict[str, list[str]] = defaultdict(list)  # Those of each row, in order.
        self._app = ""
        self._sides: list[str] = []  # Of all sidecars: where the app fetches.
        self._undone: set[str] = set()  # Acknowledged, and perhaps not noted.

    @asynccontextmanager
    async def peers(self) -> AsyncIterator[None]:
        """Have the app listen, and fetch."""
        timeout = aiohttp.ClientTimeout(total=30)
        async with Vendor(self.notes.play) as app, aiohttp.ClientSession(timeout=timeout) as session:
            self._app = app.url
            async with asyncio.TaskGroup() as group:
                fetchers = [group.create_task(self._fetch(session)) for _ in range(FETCHERS)]
                yield
                for fetcher in fetchers:
                    fetcher.cancel()

    def pod(self, folder: Path, config: str) -> Process:
        """Make a sidecar."""
        address = f"127.0.0.1:{free_ports(1)[0]}"
        process = Process(folder, config, listen=f'webhooks = "{address}"', is_ready=False)
        self.doors.append(f"http://{address}")
        self._sides.append(f"{process.egress_url}/_sidecar/events/standard")
        return process

    def sections(self) -> tuple[str, dict[str, str]]:
        """Give the webhooks."""
        return _WEBHOOKS.format(app=self._app), {"vendor": SECRET, "deliver": DELIVER_SECRET}

    # The vendors.

    def clients(self) -> list[Client]:
        """Give those that send."""
        return [partial(self._send_all, kind, n) for kind in KINDS for n in range(ROWS + FREE)]

    async def _send_all(self, kind: str, sender: int, session: aiohttp.ClientSession) -> None:
        """Send one event after the other, until it is over."""
        who = f"{kind}-{sender}"
        row = who if sender < ROWS else ""
        known = ""  # The id of an event that was acknowledged.
        number = 0
        while not self.is_over:
            await self.until(lambda: self.is_over or self._open < OPEN_MAX, "events to be noted")
            number += 1
            name = f"{who}-{number}"
            conflicts = known and self.chance.random() < CONFLICT_SHARE
            event = known if conflicts else f"evt_{name}"
            body = self._body(name, event, row)
            self.sent[name] = body
            if row:
                self.rows[row].append(name)
            while not await self._send(session, kind, name, event):
                if self.chance.random() < GIVE_UP_SHARE or self.is_over:
                    break
            else:
                known = event
                if self.chance.random() < AGAIN_SHARE:
                    self.counts["sent again though acknowledged"] += 1
                    await self._send(session, kind, name, event)

    def _body(self, name: str, event: str, row: str) -> str:
        is_large = self.chance.random() < LARGE_SHARE
        self.counts["of large bodies"] += is_large
        size = LARGE_BYTES if is_large else self.chance.randrange(1, 2000)
        return json.dumps({"id": event, "type": "paid", "name": name, "row": row or None, "note": "x" * size})

    @property
    def _open(self) -> int:
        self._undone -= self.notes.noted_at.keys()
        return len(self._undone)

    async def _send(self, session: aiohttp.ClientSession, kind: str, name: str, event: str) -> bool:
        """Send one, at one door or at two in the same instant; say whether it was acknowledged."""
        doors = [self.chance.choice(self.doors)]
        if self.chance.random() < TWICE_SHARE:
            self.counts["sent twice at once"] += 1
            doors = [self.doors[0], self.doors[-1]]
        fields = _signed(kind, event, self.sent[name])
        found = await asyncio.gather(
            *(self._post(session, f"{door}/{kind}", self.sent[name], fields) for door in doors)
        )
        if any(found) and name not in self.acknowledged:
            self.acknowledged.add(name)
            self._undone.add(name)
            self.heard()
        return any(found)

    async def _post(self, session: aiohttp.ClientSession, url: str, body: str, fields: dict[str, str]) -> bool:
        try:
            async with session.post(url, data=body.encode(), headers=fields) as answer:
                await answer.read()
        except aiohttp.ClientConnectorError:
            await CLOCK.sleep(PAUSE)
            return False
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.counts["acknowledgements lost"] += 1
            return False
        if answer.status == 503:
            self.counts["refused 503"] += 1
            await CLOCK.sleep(PAUSE)
        elif answer.status != 200:
            self.problems.append(f"{url} answered {answer.status}")
        return answer.status == 200

    # The app, where it fetches.

    async def _fetch(self, session: aiohttp.ClientSession) -> None:
        """Fetch, note and tell, until the end."""
        await self.until(lambda: bool(self._sides), "a sidecar")
        while True:
            try:
                told = await json_of(session, f"{self.chance.choice(self._sides)}?wait=1s&count=5&lease=2s")
                if not told.get("events"):
                    await CLOCK.sleep(PAUSE)
                    continue
                await self._note(session, told)
            except aiohttp.ClientConnectorError:
                await CLOCK.sleep(PAUSE)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                self.counts["fetches cut off"] += 1

    async def _note(self, session: aiohttp.ClientSession, told: dict[str, Any]) -> None:
        notes = self.notes
        for event in told["events"]:
            notes.ask(event)
        await notes.pause()
        done, again = [], []
        for event in told["events"]:
            luck = notes.luck()
            if luck < BUSY:
                again.append(event["id"])
            elif luck >= BUSY + RESET:
                notes.take(event)
                if luck >= BUSY + RESET + NOTED_AND_RESET:
                    done.append(event["id"])
        # Of what is not named the lease ends.
        said = {"lease": told["lease"], "done": done, "again": again}
        async with session.post(self.chance.choice(self._sides), json=said) as answer:
            self.counts["of a fetch: lease lost"] += len((await answer.json()).get("lost", []))

    # The end.

    async def see_through(self, process: Process) -> None:
        """Wait until all is delivered, those too whose acknowledgement nobody heard."""
        self.notes.is_kind = True
        await self.until(lambda: self.acknowledged <= self.notes.noted_at.keys(), "events to be noted")
        async with aiohttp.ClientSession() as session:
            for state in ("waiting", "running"):
                while (await json_of(session, f"{process.admin_url}/api/events?state={state}"))["events"]:
                    await CLOCK.sleep(PAUSE)
            dead = (await json_of(session, f"{process.admin_url}/api/events?state=dead"))["events"]
            self.problems += [f"{event['id']} is dead" for event in dead]

    def hold(self) -> None:
        """Hold what the app noted against what was promised."""
        notes = self.notes
        self.problems += notes.hold(self.rows, self.acknowledged, self.sent)
        self.counts["acknowledged"] = len(self.acknowledged)
        self.counts["never acknowledged"] = len(self.sent) - len(self.acknowledged)
        self.counts["of these delivered all the same"] = len(notes.noted_at.keys() - self.acknowledged)
        self.counts["delivered"] = len(notes.noted_at)
        self.counts["delivered as conflicts"] = len(notes.conflicts)
        self.counts["attempts"] = sum(map(len, notes.attempts.values()))
        self.counts["attempts after the first"] = self.counts["attempts"] - len(notes.attempts)


def _signed(kind: str, event: str, body: str) -> dict[str, str]:
    """Sign as the vendor's own library does."""
    at = int(CLOCK.wall())
    if kind == "stripe":
        return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(body, SECRET, at)}
    prefix, signer = ("svix", SvixWebhook(SECRET)) if kind == "svix" else ("webhook", Webhook(SECRET))
    return {
        f"{prefix}-id": event, f"{prefix}-timestamp": str(at),
        f"{prefix}-signature": signer.sign(event, datetime.fromtimestamp(at, UTC), body),
    }  # fmt: skip
