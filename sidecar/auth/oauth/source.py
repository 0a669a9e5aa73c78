"""Source: the one token of a service and scope set, in memory, kept good in the background so that calls do not wait.

Single flight: whatever happens, at most one token request is under way, and all who need its result wait for that one.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from sidecar.auth.oauth.pace import Pace
from sidecar.auth.oauth.renewal import Renewal
from sidecar.auth.oauth.supply import Supply
from sidecar.auth.oauth.token import Token, TokenRefused
from sidecar.auth.secrets.known import Know, Known
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.alarm import NEVER, Alarm
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable, SidecarError
from sidecar.core.tasks import Tasks
from sidecar.telemetry.redact import TooManyValues, forms

WAIT_MAX = 3600.0  # Seconds that a call without a deadline waits for a token.
RENEWAL_MAX = 60.0  # Seconds. Each step has a shorter limit of its own; nothing may keep the flight up for ever.
LANDING_SECONDS = 10.0  # A renewal under way at the close has this long, since its grant may be single use.
_FORBIDDEN = frozenset(b"\r\n\0")


class _Flight:
    """A renewal under way."""

    __slots__ = ("done", "error", "is_paced")

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_paced = False  # The pace let it through.
        self.error = ""  # A sentence once it failed; the same for all who waited.


class TokenSource:
    """Gives the current token at once, or has one minted; `name` is the service's.

    Those who wait are bounded by the calls that may be in flight, and each by its own deadline.
    """

    __slots__ = (
        "_alarm", "_clock", "_count", "_flight", "_is_closed", "_known", "_listeners", "_name",
        "_pace", "_problem", "_renewal", "_supply", "_tasks", "_tell", "_token", "expires_at", "number",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        supply: Supply,
        renewal: Renewal,
        pace: Pace,
        clock: Clock,
        tasks: Tasks,
        know: Know,
        tell: Callable[..., None],
        count: Callable[[str], None],
    ) -> None:
        self._name = name
        self._supply = supply
        self._renewal = renewal
        self._pace = pace
        self._clock = clock
        self._tasks = tasks
        self._known = Known(know)
        self._tell = tell  # Writes a log line.
        self._count = count  # Of a renewal: success or failure.
        self._alarm = Alarm(clock, self._renew_ahead)
        self._listeners: list[Callable[[Token], None]] = []
        self._flight: _Flight | None = None
        self._token: Token | None = None
        self.expires_at = 0.0  # Monotonic, of `_token`; beside it for the sake of the calls.
        self._problem = ""
        self._is_closed = False
        self.number = 0  # Of the token, from 1: how logs and the audit name it.

    # For calls.

    def token(self, now: float) -> Token | None:
        """Give the token if there is one that has not expired."""
        if now < self.expires_at:
            return self._token
        return None

    async def get(self, deadline_at: float) -> Token:
        """Give the token, waiting for a new one where there is none.

        A caller that goes away leaves the renewal to the others. Raises CredentialUnavailable with the step that
        failed, or that was under way at the deadline.
        """
        while True:
            now = self._clock.now()
            token = self.token(now)
            if token is not None:
                return token
            flight = self._begin(now)
            try:
                async with self._clock.timeout_at(min(deadline_at, now + WAIT_MAX)):
                    # Shielded: others wait for the same.
                    await asyncio.shield(flight.done)
            except TimeoutError:
                raise CredentialUnavailable(
                    f"no token for {self._name} came within the call's time; the step was: {self._step(flight)}"
                ) from None
            if flight.error:
                raise self._unavailable(flight.error)

    def drop(self, token: Token) -> bool:
        """Give up a token that the vendor refused, and have another one minted; say whether another is to be had.

        Once per token: when it was replaced already, what is here now is another one.
        """
        if token is not self._token:
            return self.has_another()
        now = self._clock.now()
        if self._is_closed or now < self._renewal.next_at or not self._renewal.drop(now):
            return False
        self._token = None
        self.expires_at = 0.0
        self._tell("warning", "token_dropped", service=self._name, number=self.number, age=_round(now - token.got_at))
        self._alarm.clear()
        self._begin(now)
        return True

    def has_another(self) -> bool:
        """Whether a call whose token is no longer here may have one: it is here, or on its way."""
        return self._flight is not None or self.token(self._clock.now()) is not None

    # For the generation.

    def start(self) -> None:
        """Have the first token minted before the first call asks for it."""
        now = self._clock.now()
        if not self._is_closed and self._token is None and now >= self._renewal.next_at:
            self._begin(now)

    def encourage(self) -> None:
        """Try again without waiting: what the last failure may have come from has changed, such as a secret."""
        self._renewal.encourage()
        if self._problem and not self._is_closed and self._flight is None:
            self._begin(self._clock.now())

    def on_token(self, listener: Callable[[Token], None]) -> Callable[[], None]:
        """Call `listener` with the token now, if there is one, and with each new one before any call has it.

        Until what is given is called.
        """
        self._listeners.append(listener)
        if self._token is not None:
            listener(self._token)
        return partial(self._listeners.remove, listener)

    async def close(self) -> None:
        """Mint no more, and let a renewal under way land: what it brings may exist only once."""
        self._is_closed = True
        self._alarm.stop()
        flight = self._flight
        if flight is not None:
            try:
                async with self._clock.timeout_at(self._clock.now() + LANDING_SECONDS):
                    await asyncio.shield(flight.done)
            except TimeoutError:
                self._tell("error", "token_renewal_abandoned", service=self._name, step=self._step(flight))
        self._known.forget()

    def expires_at_unix(self) -> float | None:
        """Give when the token expires, for the metric; None without a token, infinite where nobody knows."""
        if self._token is None:
            return None
        return self._clock.wall() + (self.expires_at - self._clock.now())

    def snapshot(self, now: float) -> dict[str, Any]:
        """Show the state for people; the value never."""
        token, renewal = self._token, self._renewal
        is_valid = token is not None and now < self.expires_at
        shown: dict[str, Any] = {"state": "valid" if is_valid else "expired" if token is not None else "none"}
        if token is not None:
            shown |= {"kind": token.kind, "number": self.number, "age": _round(now - token.got_at)}
            shown["expires_in"] = _round(self.expires_at - now)
            shown["renewed_in"] = _round(renewal.due_at() - now)
        if self._flight is not None:
            shown["renewing"] = self._step(self._flight)
        if self._problem:
            shown |= {"failures": renewal.failures, "error": self._problem}
            shown["tried_in"] = _round(max(0.0, renewal.next_at - now))
        return shown | self._supply.snapshot()

    # The renewal.

    def _begin(self, now: float) -> _Flight:
        """Give the flight under way, or begin one. Raises CredentialUnavailable where it is too early for one."""
        if self._flight is not None:
            return self._flight
        if self._is_closed:
            raise CredentialUnavailable(f"no new token for {self._name}: its configuration is being replaced")
        if now < self._renewal.next_at:
            raise self._unavailable(self._problem)
        flight = self._flight = _Flight()
        task = self._tasks.spawn(self._renew(flight), f"token of {self._name}")
        # Not at the end of `_renew`: a task that is cancelled at once never begins.
        task.add_done_callback(lambda task: self._land(flight, task))
        return flight

    async def _renew(self, flight: _Flight) -> None:
        await self._pace.acquire()
        flight.is_paced = True
        try:
            async with self._clock.timeout_at(self._clock.now() + RENEWAL_MAX):
                token = await self._supply.mint()
            self._take(token)
        except TimeoutError:
            self._fail(flight, f"it took over {RENEWAL_MAX:g} s; the step was: {self._supply.step}")
        except TokenRefused as error:
            self._fail(flight, str(error), is_final=not error.is_retryable, retry_after=error.retry_after)
        except CredentialUnavailable as error:
            self._fail(flight, error.detail, retry_after=error.retry_after)
        except (SidecarError, StoreFailed, TooManyValues) as error:
            self._fail(flight, str(error))

    def _take(self, token: Token) -> None:
        """Serve a new token. Raises TokenRefused if it cannot be served."""
        now = self._clock.now()
        if _FORBIDDEN.intersection(token.value) or not token.value:
            raise TokenRefused("the token holds what no header may hold")
        if token.life > 0 and token.expires_at <= now:
            raise TokenRefused("the token had expired when it came", is_retryable=True)
        self._known.add(forms(token.value))
        for listener in self._listeners:
            listener(token)
        self._renewal.succeeded(token.got_at, token.expires_at)
        self._token = token
        self.expires_at = self._renewal.expires_at
        self._problem = ""
        self.number += 1
        self._count("shared" if token.is_shared else "success")
        self._tell(
            "info",
            "token_renewed",
            service=self._name,
            kind=token.kind,
            number=self.number,
            expires_in=_round(self.expires_at - now),
            **({"from": "another pod"} if token.is_shared else {"took_ms": round((now - token.got_at) * 1000)}),
        )

    def _fail(self, flight: _Flight, reason: str, *, is_final: bool = False, retry_after: float | None = None) -> None:
        """Note a failure. The token in hand, if it is good, is served on."""
        now = self._clock.now()
        renewal = self._renewal
        renewal.failed(now, is_final=is_final, retry_after=retry_after)
        self._problem = flight.error = f"getting a token for {self._name} failed: {reason}"
        left = max(0.0, self.expires_at - now)
        self._count("failure")
        self._tell(
            "warning" if left else "error",
            "token_renewal_failed",
            service=self._name,
            error=reason,
            failures=renewal.failures,
            next_try_in=_round(renewal.next_at - now),
            expires_in=_round(left),
        )

    def _land(self, flight: _Flight, task: asyncio.Task[Any]) -> None:
        """End a flight: whoever waited looks at what became of it."""
        self._flight = None
        if task.cancelled():
            flight.error = f"getting a token for {self._name} was given up: the sidecar stops"
        elif task.exception() is not None:  # A fault of ours; Tasks hands it to the log.
            self._fail(flight, "a fault of the sidecar's own; its log tells more")
        if not self._is_closed:
            self._alarm.set(self._renewal.due_at())
        flight.done.set_result(None)

    def _step(self, flight: _Flight) -> str:
        return self._supply.step if flight.is_paced else "waiting for the pace of the authorization server"

    def _renew_ahead(self) -> None:
        if not self._is_closed and self._flight is None:
            self._begin(self._clock.now())

    def _unavailable(self, sentence: str) -> CredentialUnavailable:
        wait = max(0.0, self._renewal.next_at - self._clock.now())
        return CredentialUnavailable(sentence, retry_after=wait or None)


def _round(seconds: float) -> float | None:
    """Show a length; None where there is no end."""
    return round(seconds, 1) if seconds < NEVER else None
