"""Client: asks Valkey by scripts, knows whether it is there, and looks after it while it is not.

Every question is one script, so it is atomic, and one round trip. A script is named by its hash; a server that does not
know it, since it was restarted or has taken over, is sent the text. All keys of one script have the same hash tag, so a
cluster finds them in one slot.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import (
    AuthenticationError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    ConnectionError as NoConnection,
)
from redis.exceptions import (
    TimeoutError as NoAnswer,
)

from sidecar.core.clock import Clock
from sidecar.core.tasks import Tasks
from sidecar.store.base import StoreDown, StoreFailed, StoreFull
from sidecar.store.valkey.connecting import Client
from sidecar.store.valkey.reach import Reach

Argument = str | bytes | int | float


class Script:
    """The text of a Lua script, and its hash."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()  # What EVALSHA goes by.


class ValkeyClient:
    """One Valkey, one set of sentinels, or one cluster. `tell` writes a line; `listeners` hear it go and come."""

    def __init__(
        self,
        client: Client,
        name: str,
        prefix: str,
        connections_max: int,
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
        self._places = asyncio.Semaphore(connections_max)
        self._tasks = Tasks()
        self._is_closed = False
        self.reach = Reach()
        self.listeners: list[Callable[[bool], None]] = []

    def key(self, *parts: str, tag: str) -> str:
        """Give a key; those with the same tag are in the same slot of a cluster."""
        return ":".join((f"{{{self._prefix}:{tag}}}", *parts))

    async def ask(self, script: Script, keys: Sequence[str], *arguments: Argument) -> Any:
        """Run a script. Raises StoreDown at once while the server is known to be away, StoreFull."""
        if self._is_closed:
            raise StoreDown(f"the store {self._name} is closed")
        if not self.reach.is_up:
            raise StoreDown(f"the store {self._name} is away: {self.reach.problem}")
        async with self._places:
            try:
                try:
                    answer = await self._client.evalsha(script.sha, len(keys), *keys, *arguments)
                except NoScriptError:
                    answer = await self._client.eval(script.text, len(keys), *keys, *arguments)
            except (RedisError, OSError, StoreDown) as error:
                raise self._failed(error) from None
        return answer

    async def look(self) -> None:
        """Ask whether it is there. Raises StoreDown."""
        try:
            await self._client.ping()
        except (RedisError, OSError, StoreDown) as error:
            raise self._failed(error) from None
        self._answered()

    async def close(self) -> None:
        """Let go of the connections."""
        self._is_closed = True
        await self._tasks.stop()
        await self._client.aclose()

    def _failed(self, error: Exception) -> StoreFailed:
        if isinstance(error, OutOfMemoryError):
            return StoreFull(f"the store {self._name} is full: its maxmemory is reached; nothing was written")
        is_refused = isinstance(error, ResponseError) and not isinstance(error, AuthenticationError)
        if is_refused and not _is_passing(str(error)):
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
                await self.look()
            except StoreFailed as error:
                if not is_told:
                    is_told = True
                    self._tell("error", "store_down", store=self._name, error=str(error))
                    self._call(is_up=False)
        if is_told:
            self._tell("info", "store_up", store=self._name)
            self._call(is_up=True)

    def _answered(self) -> None:
        self.reach.answered()

    def _call(self, *, is_up: bool) -> None:
        for listener in self.listeners:
            listener(is_up)


def _is_passing(sentence: str) -> bool:
    """Whether a refusal is about the server's moment and not about the question: it loads, or fails over."""
    return sentence.startswith(
        ("LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "BUSY", "NOREPLICAS", "MISCONF", "NOAUTH")
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, NoAnswer):
        return "it did not answer in time"
    text = str(error).strip().partition("\n")[0]
    return text or ("no connection" if isinstance(error, NoConnection) else type(error).__name__)
