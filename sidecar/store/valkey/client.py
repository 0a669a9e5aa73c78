"""Client: asks Valkey by scripts, knows whether it is there, and looks after it while it is not.

Every question is one script, so it is atomic, and one round trip. A script is named by its hash; a server that does not
know it, since it was restarted or has taken over, is sent the text. All keys of one script have the same hash tag, so a
cluster finds them in one slot.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as NoConnection,
)
from redis.exceptions import (
    TimeoutError as NoAnswer,
)

from sidecar.core.clock import Clock
from sidecar.core.tasks import HeedingCancellation, Tasks
from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.store.valkey.connecting import Client, drop_idle, owners
from sidecar.store.valkey.reach import Reach

Argument = str | bytes | int | float

# What the driver raises where the server, or the way to it, is not as it should be.
FAILURES = (RedisError, RedisClusterException, OSError)


class Script:
    """The text of a Lua script, and its hash."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # What EVALSHA goes by.


# What looks whether a server takes writes: one that became a replica, or may not write to its disk, answers a ping.
_LOOK = Script("return redis.call('DEL', KEYS[1])")


class ValkeyClient:
    """One Valkey, one set of sentinels, or one cluster. `tell` writes a line; `listeners` hear it go and come."""

    def __init__(
        self,
        client: Client,
        name: str,
        prefix: str,
        connections_max: int,
        timeout: float,
        clock: Clock,
        jitter: Callable[[], float],
        tell: Callable[..., None],
    ) -> None:
        self._client = client
        self._name = name
        self._prefix = prefix
        self._clock = clock
        self._jitter = jitter
        self._tell = tell
        self._timeout = timeout
        self._places_max = connections_max
        self._places = asyncio.Semaphore(connections_max)
        self._tasks = Tasks()
        self._is_closed = False
        self.reach = Reach()
        self.listeners: list[Callable[[bool], None]] = []

    def key(self, *parts: str, tag: str) -> str:
        """Give a key; those with the same tag are in the same slot of a cluster."""
        return ":".join((f"{{{self._prefix}:{tag}}}", *parts))

    async def ask(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script, within the timeout. Raises StoreDown at once while the server is known to be away, StoreFull.

        One that is cut off, by its timeout or its caller, may have been done all the same; its connection is closed, so
        that nobody is given its answer.
        """
        self._look_up()
        has_place = False
        try:
            async with self._clock.timeout_at(self._clock.now() + self._timeout), self._places:
                has_place = True
                self._look_up()  # It may have gone while we waited; then we would wait for nothing.
                return await self._run(script, keys, *arguments)
        except TimeoutError:
            if not has_place:
                raise StoreDown(
                    f"the store {self._name} is behind: its connections were in use until the end"
                ) from None
            raise self._failed(NoAnswer()) from None
        except FAILURES as error:
            raise self._failed(error) from None

    async def look(self, within: float | None = None) -> None:
        """Look whether it takes writes; of a cluster, every primary. Raises StoreFailed."""
        ends_at = self._clock.now() + within if within is not None else None
        try:
            if ends_at is None:
                await self._look()
            else:
                async with self._clock.timeout_at(ends_at):
                    await self._look()
        except TimeoutError:
            raise self._failed(NoAnswer()) from None
        except FAILURES as error:
            raise self._failed(error) from None
        self.reach.answered()

    async def close(self) -> None:
        """Finish what is under way, and let go of the connections."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._tasks.stop()
        for _ in range(self._places_max):  # Each is free within the timeout, whatever the server does.
            await self._places.acquire()
        with contextlib.suppress(*FAILURES):  # They are gone all the same.
            await self._client.aclose()

    def _look_up(self) -> None:
        """Say at once what is known. Raises StoreDown."""
        if self._is_closed:
            raise StoreDown(f"the store {self._name} is closed")
        if not self.reach.is_up:
            raise StoreDown(f"the store {self._name} is away: {self.reach.problem}")

    async def _run(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        with HeedingCancellation():  # The driver sends by `asyncio.wait_for`.
            try:
                return await self._client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await self._client.eval(script.text, len(keys), *keys, *arguments)

    async def _look(self) -> None:
        with HeedingCancellation():
            keys = await owners(self._client, lambda number: self.key(tag=f"look:{number}"))
        for key in keys:
            await self._run(_LOOK, [key])

    def _failed(self, error: Exception) -> StoreFailed:
        if isinstance(error, OutOfMemoryError):
            return StoreFull(f"the store {self._name} is full: its maxmemory is reached; nothing was written")
        is_refused = isinstance(error, ResponseError) and not isinstance(error, AuthenticationError)
        if is_refused and not _is_passing(error):
            return StoreFailed(f"the store {self._name} refused: {_first_line(error)}")
        self._lost(_first_line(error))
        return StoreDown(f"the store {self._name} is away: {self.reach.problem}")

    def _lost(self, problem: str) -> None:
        if self.reach.failed(problem) and not self._is_closed:
            self._tasks.spawn(self._look_after(), "store")

    async def _look_after(self) -> None:
        """Look until it is there again. Only a look that fails, too, is told: one broken connection is no outage."""
        is_told = False
        while not self.reach.is_up:
            await self._clock.sleep(self.reach.pause(self._jitter()))
            try:
                # What is idle may lead to a server that another has taken over from: a name is looked up anew.
                await drop_idle(self._client)
                await self.look()
            except (StoreFailed, *FAILURES) as error:
                if not is_told:
                    is_told = True
                    self._tell("error", "store_down", store=self._name, error=str(error))
                    self._call(is_up=False)
        if is_told:
            self._tell("info", "store_up", store=self._name)
            self._call(is_up=True)

    def _call(self, *, is_up: bool) -> None:
        for listener in self.listeners:  # An error of theirs is the loop's to tell: the looking goes on.
            asyncio.get_running_loop().call_soon(listener, is_up)


def _is_passing(error: Exception) -> bool:
    """Whether a refusal is about the server's moment and not about the question: it fails over, or cannot write."""
    if isinstance(error, (ReadOnlyError, ClusterDownError, TryAgainError)):  # The driver takes their word off.
        return True
    return str(error).startswith(("BUSY", "NOREPLICAS", "MISCONF"))


def _first_line(error: Exception) -> str:
    if isinstance(error, NoAnswer):
        return "it did not answer in time"
    text = str(error).strip().partition("\n")[0]
    return text or ("no connection" if isinstance(error, NoConnection) else type(error).__name__)
