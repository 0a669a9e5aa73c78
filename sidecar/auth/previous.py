"""Previous: a static credential in the middle of a rotation, when the vendor does not know the new value yet.

A store moves its label for the current value (AWSCURRENT, the newest version) in one step; a vendor may take minutes to
believe in it. A fresh value that is refused gives way to the one before for a while, and is tried again after that.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from sidecar.auth.credential import Credential
from sidecar.auth.schemes import Static
from sidecar.auth.secrets.held import Held, field_of
from sidecar.auth.secrets.known import Know, Known
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret
from sidecar.telemetry.redact import TooManyValues, forms

FRESH_FOR = 900.0  # Seconds after a value was first read in which its refusal may be the rotation's fault.
BEFORE_FOR = 30.0  # Seconds for which the value before is used, until the fresh one is tried again by one call.
_UNAUTHORIZED = 401


class Remembers(Protocol):
    """A store that still has the value before the current one."""

    async def fetch_previous(self, path: str) -> Secret | None:
        """Read it; None if there is none. Raises StoreFailed."""


class RotatedCredential:
    """A static credential with the one before it; what stands on calls is the one that the vendor accepts."""

    def __init__(
        self, auth: Static, held: Held, know: Know, store: Remembers, clock: Clock, tell: Callable[..., None]
    ) -> None:
        self._held = held
        self._before = Held(held.ref, Known(know))  # The value before, once it was needed.
        self._store = store
        self._clock = clock
        self._tell = tell
        self._fetching = asyncio.Lock()
        self._credential = Credential(auth, held, know)
        self._earlier = Credential(auth, self._before, know)
        self._fresh_until = 0.0
        self._before_until = 0.0  # 0: the current value is in use.
        self._switched_at = 0.0
        self._is_tried = False  # The value before was asked for, since the current one was last tried.
        self._let_go = held.on_change(self._note)

    def _note(self, secret: Secret) -> None:  # noqa: ARG002 - the signature of a listener
        self._fresh_until = self._clock.now() + FRESH_FOR
        self._is_tried = False
        self._use_current()

    def _use_current(self) -> None:
        if self._before_until:
            self._before_until = 0.0
            self._switched_at = self._clock.now()

    def release(self) -> None:
        """Hear of no further value: the service goes away."""
        self._let_go()
        self._credential.release()
        self._earlier.release()
        self._before.known.forget()

    def is_ready(self) -> bool:
        """Say yes: a value that could not be read is told by `put_on`."""
        return True

    async def ready(self, call: Call) -> None:
        """Wait for nothing."""

    def put_on(self, call: Call) -> None:
        """Put the credential on. Raises CredentialUnavailable with the step that failed."""
        if self._before_until:
            if self._clock.now() < self._before_until:
                self._earlier.put_on(call)
                return
            self._is_tried = False
            self._use_current()
        self._credential.put_on(call)

    def is_refused(self, reply: Reply) -> bool:
        """Whether the vendor does not accept the credential."""
        return reply.status == _UNAUTHORIZED

    def refuse(self, call: Call, reply: Reply) -> bool:  # noqa: ARG002 - another kind looks into the answer
        """Note that what is on `call` was refused, and say whether the call may go again with another value."""
        if self._is_older(call):
            return True
        if self._before_until:  # The vendor has caught up, or the rotation never was the reason: the current one tells.
            self._use_current()
            return True
        return not self._is_tried and self._clock.now() < self._fresh_until

    async def another(self, call: Call) -> bool:
        """Get the value before, once for all who were refused; say whether another value is in use now."""
        call.step = "reading the secret's previous value"
        async with self._fetching:
            if not self._is_tried and not self._before_until:
                self._is_tried = True
                await self._fall_back()
        return self._before_until > 0 or self._is_older(call)

    def _is_older(self, call: Call) -> bool:
        """Whether what the call carried is no longer in use."""
        return bool(call.attempts) and call.attempts[-1].started_at < self._switched_at

    async def _fall_back(self) -> None:
        ref, current = self._held.ref, self._held.secret
        try:
            stored = await self._store.fetch_previous(ref.path)
            before = None if stored is None else field_of(stored, ref)
            if before is None or current is None or before.reveal() == current.reveal():
                return
            self._before.known.add(forms(before.reveal()))
        except (StoreFailed, TooManyValues) as failure:
            self._tell("warning", "previous_secret_unreadable", secret=str(ref), error=str(failure))
            return
        if current is not self._held.secret:
            return  # A newer value came while we read.
        self._before.put(before)
        now = self._clock.now()
        self._switched_at = now
        self._before_until = now + BEFORE_FOR
        self._tell("warning", "previous_secret_used", secret=str(ref), version=before.version, refused=current.version)
