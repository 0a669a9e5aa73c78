"""Appending: single entries that come at the same time go to Valkey in one question, and are judged each by itself.

While one group is on its way the next gathers, so whoever is alone waits for nobody. One round trip, and where the
server forces each write to its disk one fsync, is then for all of them.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from sidecar.core.tasks import Tasks
from sidecar.store.backlog import Bounds, NewEntry, crowding
from sidecar.store.base import StoreFailed, StoreFull

GROUP_MAX = 128  # Entries in one question, for which the server does nothing else: some milliseconds.
GROUP_BYTES_MAX = 2**20  # Of heads and bodies; a larger one goes alone.

Ask = Callable[[str, Bounds, list[NewEntry]], Awaitable[list[Any]]]


class _Waiting(NamedTuple):
    entry: NewEntry
    there: "asyncio.Future[bool]"


class Appending:
    """Gathers by line and bounds. Those who wait are bounded by the calls that may be in flight."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask  # Gives for each entry 0: appended, 1: it was there, or the length and bytes that are too much.
        self._waiting: dict[tuple[str, Bounds], deque[_Waiting]] = {}
        self._tasks = Tasks()

    async def append(self, line: str, entry: NewEntry, bounds: Bounds) -> bool:
        """Append it, and say whether it was there before. Raises StoreFailed.

        It is appended even if the caller goes away meanwhile.
        """
        one = _Waiting(entry, asyncio.get_running_loop().create_future())
        row = self._waiting.get((line, bounds))
        if row is None:
            row = self._waiting[line, bounds] = deque()
            self._tasks.spawn(self._send(line, bounds, row), "appending")
        row.append(one)
        return await one.there

    async def close(self, seconds: float) -> None:
        """Finish what was asked, within `seconds`."""
        await self._tasks.wait(seconds)
        await self._tasks.stop()

    async def _send(self, line: str, bounds: Bounds, row: deque[_Waiting]) -> None:
        try:
            while row:
                await self._send_group(line, bounds, _group(row))
        finally:
            del self._waiting[line, bounds]
            for one in row:  # We are cancelled: the store closes.
                one.there.cancel()

    async def _send_group(self, line: str, bounds: Bounds, group: list[_Waiting]) -> None:
        try:
            answers = await self._ask(line, bounds, [one.entry for one in group])
        except StoreFailed as error:
            for one in group:  # Each its own: an error that is raised in several places gathers their tracebacks.
                _refuse(one, type(error)(*error.args))
            return
        except BaseException:
            for one in group:
                one.there.cancel()
            raise
        for one, answer in zip(group, answers, strict=True):
            if isinstance(answer, list):
                _refuse(one, StoreFull(crowding(line, bounds, *answer)))
            elif not one.there.done():
                one.there.set_result(bool(answer))


def _group(row: deque[_Waiting]) -> list[_Waiting]:
    """Take as many as go together."""
    group = [row.popleft()]
    size = group[0].entry.size
    while row and len(group) < GROUP_MAX and size + row[0].entry.size <= GROUP_BYTES_MAX:
        group.append(row.popleft())
        size += group[-1].entry.size
    return group


def _refuse(one: _Waiting, error: StoreFailed) -> None:
    if not one.there.done():
        one.there.set_exception(error)
