"""Entitled: a call goes on when its credential is there, and once more when the vendor refuses what it carried.

Two layers. `entitled` stands above all that is done once per attempt, so that nothing is held while it waits for a
token, and so that the second sending takes a permit and a slot like any other. `entitle` is innermost, and puts the
credential on at the moment of sending.
"""

from collections.abc import Awaitable
from typing import Protocol

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call, Handler, Layer, Reply
from sidecar.core.errors import CredentialUnavailable, SidecarError
from sidecar.core.outcome import Outcome
from sidecar.layers.retry.replay import Replay

_FAILURE = Outcome.FAILURE
_REFUSED_FROM = 400


class Entitler(Protocol):
    """A credential that may have to be waited for, and may be replaced."""

    def is_ready(self) -> bool:
        """Whether `put_on` will find what it needs."""

    async def ready(self, call: Call) -> None:
        """Wait until it will. Raises CredentialUnavailable."""

    def put_on(self, call: Call) -> None:
        """Put the credential on, in place of whatever stands there. Raises CredentialUnavailable."""

    def is_refused(self, reply: Reply) -> bool:
        """Whether the answer says that the credential is no good."""

    def refuse(self, call: Call, reply: Reply) -> bool:
        """Give up what is on `call`, and say whether the call may go again with another."""

    async def another(self, call: Call) -> bool:
        """Wait for the other; False: there is none after all. Raises CredentialUnavailable."""


class Entitled:
    """Waits for the credential, and sends a refused call once more if it can be repeated.

    What was refused was not processed, so this is no retry: the method does not matter, and no budget is spent; `app`s
    that count attempts (Sidecar-Attempts-Max) are heeded. `replay_max` bytes of a body that streams are kept.
    """

    __slots__ = ("_entitler", "_inner", "_replay_max")

    def __init__(self, entitler: Entitler, replay_max: int, inner: Handler) -> None:
        self._entitler = entitler
        self._replay_max = replay_max
        self._inner = inner

    async def __call__(self, call: Call) -> Reply:
        """Send one attempt, and another one after a refusal. Raises what is raised within, CredentialUnavailable."""
        entitler = self._entitler
        if not entitler.is_ready():
            await entitler.ready(call)
        body = call.body
        content: bytes | None = None
        replay: Replay | None = None
        if body is not NO_BODY:
            if body.is_complete and body.received_bytes <= self._replay_max and not body.trailers:
                content = await body.ahead(self._replay_max)
            elif body.length is None or body.length <= self._replay_max:
                replay = Replay(body, self._replay_max)
                call.body = replay.fresh()
        mark = call.mark()
        reply = await self._inner(call)
        if reply.status < _REFUSED_FROM or not entitler.is_refused(reply):
            return reply
        if not entitler.refuse(call, reply) or not self._may_repeat(call, body, content, replay):
            return reply
        if not await entitler.another(call):
            return reply
        call.end_since(mark, _FAILURE)
        if content is not None:
            call.body = Body.of(content)
        elif replay is not None:
            call.body = replay.fresh()
        return await self._repeat(call)

    def _may_repeat(self, call: Call, body: Body, content: bytes | None, replay: Replay | None) -> bool:
        if call.attempts_max is not None and len(call.attempts) >= call.attempts_max:
            call.not_retried = "the app allows no further attempt"
            return False
        if body is NO_BODY or content is not None:
            return True
        if body.is_failed:
            return False
        if replay.may_repeat if replay is not None else body.is_untouched:
            return True
        call.not_retried = f"the request's body is over {self._replay_max} bytes, so it was sent once only"
        return False

    async def _repeat(self, call: Call) -> Reply:
        try:
            return await self._inner(call)
        except SidecarError as error:
            if error.outcome is Outcome.REJECTED:  # It was sent before, and the call does not count as never sent.
                error.outcome = _FAILURE
                error.detail = f"the vendor refused the credential, and with a new one: {error.detail}"
            raise


def entitled(entitler: Entitler, replay_max: int) -> Layer:
    """Wait for the credential, and replace it once when it is refused."""
    return lambda inner: Entitled(entitler, replay_max, inner)


class Entitle:
    """Puts the credential on each attempt, innermost."""

    __slots__ = ("_entitler", "_inner")

    def __init__(self, entitler: Entitler, inner: Handler) -> None:
        self._entitler = entitler
        self._inner = inner

    def __call__(self, call: Call) -> Awaitable[Reply]:
        """Send the attempt. Raises CredentialUnavailable."""
        try:
            self._entitler.put_on(call)
        except CredentialUnavailable:
            if self._entitler.is_ready():
                raise
            return self._late(call)
        return self._inner(call)

    async def _late(self, call: Call) -> Reply:
        """Wait in the innermost place: the token's end came while the call stood in line for its permit."""
        await self._entitler.ready(call)
        self._entitler.put_on(call)
        return await self._inner(call)


def entitle(entitler: Entitler) -> Layer:
    """Put the credential on each attempt."""
    return lambda inner: Entitle(entitler, inner)
