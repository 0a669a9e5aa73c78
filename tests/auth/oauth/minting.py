"""What the tests of the token cache share: an endpoint that plays turns, a store in memory, and a source over them."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from sidecar.auth.oauth.renewal import Renewal
from sidecar.auth.oauth.rotation import Rotation
from sidecar.auth.oauth.source import TokenSource
from sidecar.auth.oauth.supply import Direct, Supply
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.known import Know
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from tests.kit.clock import ManualClock

REF = SecretRef.parse("vault:crm#refresh_token")


def knowing_nothing(patterns: Iterable[bytes]) -> Callable[[], None]:
    """Stand in for the log's table of values."""
    list(patterns)
    return lambda: None


class Endpoint:
    """A token endpoint: gives numbered tokens of `life` seconds, or plays what stands in `turns` first."""

    def __init__(self, clock: ManualClock, life: float = 3600.0) -> None:
        self.clock = clock
        self.life = life
        self.takes = 0.0  # Seconds for each answer.
        self.turns: list[Exception | Token] = []
        self.failing: Exception | None = None  # Instead of a token, until it is None again.
        self.asked_at: list[float] = []
        self.shown: list[bytes | None] = []  # The refresh tokens that came.
        self.made: list[Token] = []
        self.under_way = self.under_way_max = 0

    async def mint(self, refresh_token: Secret | None) -> Token:
        """Answer a token request."""
        self.asked_at.append(self.clock.now())
        self.shown.append(None if refresh_token is None else refresh_token.reveal())
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        sent_at = self.clock.now()
        try:
            if self.takes:
                await self.clock.sleep(self.takes)
            return self.answer(refresh_token, sent_at)
        finally:
            self.under_way -= 1

    def answer(self, refresh_token: Secret | None, sent_at: float) -> Token:
        """Give the answer; `sent_at` is when the token's life begins."""
        del refresh_token
        if self.turns:
            turn = self.turns.pop(0)
            if isinstance(turn, Exception):
                raise turn
            return self._made(turn)
        if self.failing is not None:
            raise self.failing
        return self._made(self.token(sent_at))

    def token(self, sent_at: float, **more: Any) -> Token:
        """Make a token."""
        expires_at = more.pop("expires_at", sent_at + self.life)
        return Token(secrets.token_hex(16).encode(), got_at=sent_at, expires_at=expires_at, **more)

    def _made(self, token: Token) -> Token:
        self.made.append(token)
        return token


class RotatingEndpoint(Endpoint):
    """Replaces the refresh token at each use; an old one is refused, unless `leeway` seconds have not passed since."""

    def __init__(self, clock: ManualClock, first: bytes, leeway: float = -1.0) -> None:
        super().__init__(clock)
        self.good = {first}
        self.used_at: dict[bytes, float] = {}
        self.leeway = leeway
        self.does_rotate = True
        self.loses_answers = 0  # So many answers get lost on their way, after the rotation.

    def answer(self, refresh_token: Secret | None, sent_at: float) -> Token:
        """Check the refresh token, and give a new one."""
        if self.turns or self.failing is not None:
            return super().answer(refresh_token, sent_at)
        assert refresh_token is not None
        shown = refresh_token.reveal()
        if shown in self.used_at and self.clock.now() <= self.used_at[shown] + self.leeway:
            self.good.add(shown)
        if shown not in self.good:
            raise invalid_grant()
        new = None
        if self.does_rotate:
            self.good.discard(shown)
            self.used_at.setdefault(shown, self.clock.now())
            new = Secret(secrets.token_hex(16).encode(), "")
            self.good.add(new.reveal())
        if self.loses_answers:
            self.loses_answers -= 1
            raise broken_off()
        return self._made(self.token(sent_at, refresh_token=new))


def invalid_grant() -> TokenRefused:
    """What a vendor says of a refresh token that it does not accept."""
    return TokenRefused("the token endpoint answered 400: invalid_grant", error="invalid_grant", is_invalid_grant=True)


def broken_off() -> TokenRefused:
    """What a connection that broke off becomes."""
    return TokenRefused("the token endpoint broke off", is_retryable=True)


class MemoryStore:
    """A secret store of one field, with versions; `failing` and `conflicts` come true at the next questions."""

    poll_s = 1.0
    stale_max = 86400.0

    def __init__(self, value: bytes) -> None:
        self.value = value
        self.number = 1
        self.failing_reads: StoreFailed | None = None
        self.failing_writes: StoreFailed | None = None
        self.loses_answers = False  # A write is done, but its answer does not come.
        self.fetches = 0
        self.written: list[bytes] = []
        self.before_write: Callable[[], None] | None = None  # Called once, in the moment before the next write.
        self.gate: asyncio.Event | None = None  # Writes wait for it.

    async def fetch(self, path: str) -> Secret:
        """Give the object."""
        del path
        self.fetches += 1
        if self.failing_reads is not None:
            raise self.failing_reads
        return Secret(b'{"refresh_token": "%b", "other": "x"}' % self.value, str(self.number))

    async def has_changed(self, path: str, version: str) -> bool:
        """Compare versions."""
        del path
        return version != str(self.number)

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Write with check and set."""
        assert (path, field) == (REF.path, REF.field)
        if self.gate is not None:
            await self.gate.wait()
        if self.before_write is not None:
            before, self.before_write = self.before_write, None
            before()
        if self.failing_writes is not None:
            raise self.failing_writes
        if version != str(self.number):
            raise StoreConflict("vault:crm was written by somebody else")
        self.change(value)
        self.written.append(value)
        if self.loses_answers:
            self.loses_answers = False
            raise StoreFailed("vault:crm did not answer")
        return str(self.number)

    def change(self, value: bytes) -> None:
        """Write as somebody else."""
        self.value = value
        self.number += 1

    async def close(self) -> None:
        """Close."""


class FreePace:
    """A pace that lets all through, and counts."""

    def __init__(self) -> None:
        self.count = 0

    async def acquire(self, amount: float = 1) -> None:
        """Let one through."""
        del amount
        self.count += 1


class Sourced:
    """A source over an endpoint, with all it says; `chance` is what the jitter draws."""

    def __init__(
        self,
        clock: ManualClock,
        endpoint: Endpoint,
        supply: Supply | None = None,
        chance: float = 0.0,
        know: Know = knowing_nothing,
    ) -> None:
        self.clock = clock
        self.endpoint = endpoint
        self.tasks = Tasks()
        self.lines: list[dict[str, Any]] = []
        self.counted: list[str] = []
        self.pace = FreePace()
        self.renewal = Renewal(lambda: chance)
        self.source = TokenSource(
            "crm",
            supply or Direct(endpoint),
            self.renewal,
            self.pace,
            clock,
            self.tasks,
            know,
            self.tell,
            self.counted.append,
        )

    def tell(self, level: str, msg: str, **fields: Any) -> None:
        """Write a line."""
        self.lines.append({"level": level, "msg": msg, **fields})

    async def get(self, seconds: float = 20.0) -> Token:
        """Get a token within so many seconds."""
        return await self.source.get(self.clock.now() + seconds)

    def said(self) -> list[str]:
        """Give the names of all lines."""
        return [line["msg"] for line in self.lines]

    async def stop(self) -> None:
        """Stop as the process does."""
        await self.source.close()
        await self.tasks.stop()


def rotation_of(
    clock: ManualClock,
    endpoint: Endpoint,
    store: MemoryStore,
    tell: Callable[..., None] = lambda *_, **__: None,
    know: Know = knowing_nothing,
) -> Rotation:
    """Make the supply of one pod."""
    return Rotation("crm", endpoint, store, REF, clock, know, tell)
