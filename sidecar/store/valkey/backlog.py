"""The backlog in Valkey, shared by pods: a claim ends by the server's time when its holder does not keep it."""

from collections.abc import Collection, Sequence
from typing import Any

from sidecar.store.backlog import RUNNING, UNFINISHED, Bounds, Entry, NewEntry, Settlement, Tally, crowding, distinct
from sidecar.store.base import StoreFull
from sidecar.store.valkey import backlog_scripts as scripts
from sidecar.store.valkey.append_scripts import APPEND, APPEND_EACH
from sidecar.store.valkey.appending import Appending
from sidecar.store.valkey.client import Argument, Script, ValkeyClient
from sidecar.store.valkey.records import milliseconds

ENDED_MAX = 100  # Leases that have ended, taken back by one claim; the rest by the next.


class ValkeyBacklog:
    """Lines by name, each in one slot of a cluster."""

    def __init__(self, client: ValkeyClient) -> None:
        self._client = client
        self._appending = Appending(self._append_each)

    async def close(self, seconds: float) -> None:
        """Finish what was asked to append, within `seconds`."""
        await self._appending.close(seconds)

    async def append(self, line: str, entries: Sequence[NewEntry], bounds: Bounds) -> set[str]:
        """Append all of them, or none; a single one together with others that come at the same time."""
        if len(entries) == 1:
            return {entries[0].id} if await self._appending.append(line, entries[0], bounds) else set()
        said: list[Argument] = [*bounds]
        for entry in distinct(entries):
            said += _said(entry)
        answer = await self._ask(APPEND, line, *said)
        if answer and isinstance(answer[0], int):
            raise StoreFull(crowding(line, bounds, *answer))
        return {name.decode() for name in answer}

    async def _append_each(self, line: str, bounds: Bounds, entries: list[NewEntry]) -> list[Any]:
        said: list[Argument] = [*bounds]
        for entry in entries:
            said += _said(entry)
        answers: list[Any] = await self._ask(APPEND_EACH, line, *said)
        return answers

    async def claim(self, line: str, holder: str, count: int, seconds: float) -> list[Entry]:
        """Claim what is due, and what a lease that has ended left."""
        claimed = await self._ask(scripts.CLAIM, line, holder, count, milliseconds(seconds), ENDED_MAX)
        return [_entry(row) for row in claimed]

    async def keep(self, line: str, ids: Collection[str], holder: str, seconds: float) -> set[str]:
        """Keep claims for longer; one whose lease has ended is still the holder's until it is taken back."""
        kept = await self._ask(scripts.KEEP, line, holder, milliseconds(seconds), *ids) if ids else []
        return {name.decode() for name in kept}

    async def settle(self, line: str, name: str, holder: str, settlement: Settlement) -> bool:
        """End a claim."""
        (head, result) = (settlement.head, settlement.result)
        said = (_delay(settlement.delay), int(settlement.frees_body), *_perhaps(head), *_perhaps(result))
        return bool(await self._ask(scripts.SETTLE, line, name, holder, settlement.state, *said))

    async def get(self, line: str, name: str) -> Entry | None:
        """Give one, whole."""
        row = await self._ask(scripts.GET, line, name)
        return None if row is None else _entry(row)

    async def states(self, line: str, ids: Sequence[str]) -> list[str]:
        """Give the state of each."""
        return [state.decode() for state in await self._ask(scripts.STATES, line, *ids)] if ids else []

    async def find(self, line: str, state: str | None, after: str, count: int) -> list[Entry]:
        """Give heads, the newest first."""
        return [_entry(row) for row in await self._ask(scripts.FIND, line, state or "", after, count)]

    async def move(self, line: str, name: str, states: Collection[str], to: str) -> bool:
        """Bring one to another state."""
        assert to != RUNNING, "that is what claims are for"
        return bool(await self._ask(scripts.MOVE, line, name, to, *states))

    async def discard(self, line: str, name: str, states: Collection[str]) -> bool:
        """Take one away."""
        return bool(await self._ask(scripts.DISCARD, line, name, *states))

    async def next_due(self, line: str) -> float | None:
        """Give the seconds until something may be claimed, or a lease ends."""
        left = await self._ask(scripts.NEXT_DUE, line)
        return None if left < 0 else left / 1000

    async def tally(self, line: str) -> Tally:
        """Count."""
        oldest, flat = await self._ask(scripts.TALLY, line)
        counts = {field.decode(): int(value) for field, value in zip(flat[::2], flat[1::2], strict=True)}
        return Tally(
            {field[2:]: value for field, value in counts.items() if field.startswith("n:")},
            sum(counts.get(f"b:{state}", 0) for state in UNFINISHED),
            _instant(oldest),
        )

    async def purge(self, line: str, state: str, older_than: float, count: int) -> int:
        """Take away what ended long ago."""
        taken: int = await self._ask(scripts.PURGE, line, state, round(older_than * 1000), count)
        return taken

    async def _ask(self, script: Script, line: str, *said: Argument) -> Any:
        return await self._client.ask(script, [self._client.key(tag=f"b:{line}")], *said)


def _delay(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _said(entry: NewEntry) -> tuple[Argument, ...]:
    return entry.id, entry.key, entry.head, entry.body, _delay(entry.delay), entry.also


def _perhaps(value: bytes | None) -> tuple[int, bytes]:
    return int(value is not None), value or b""


def _instant(said: bytes | None) -> float | None:
    return float(said) / 1000 if said else None


def _entry(row: list[bytes]) -> Entry:
    name, key, state, head, body, result, attempts, created_at, due_at, settled_at = row
    return Entry(
        name.decode(), key.decode(), state.decode(), head, body, result, int(attempts), float(created_at) / 1000,
        _instant(due_at), _instant(settled_at),
    )  # fmt: skip
