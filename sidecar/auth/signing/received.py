"""Received: a request body wholly in hand, because a signature over it goes in front of it."""

from sidecar.core.body import NO_BODY, Body
from sidecar.core.call import Call
from sidecar.core.clock import Clock
from sidecar.core.errors import BodyTooLarge, DeadlineExceeded
from sidecar.core.units import Size

_STEP = "receiving the request's body, which is signed"


async def received(call: Call, bytes_max: Size, clock: Clock) -> bytes:
    """Give all of the body, and leave it on the call for sending.

    Read, not looked ahead: what `retry` keeps for a second attempt is only there for who reads it. Raises BodyTooLarge
    over `bytes_max`, DeadlineExceeded when the app is too slow, and what the body fails with.
    """
    body = call.body
    if body is NO_BODY:
        return b""
    if body.length is not None and body.length > bytes_max:
        raise _too_large(bytes_max)
    content = body.take_all()
    if content is None:
        content = await _read(call, bytes_max, clock)
    elif len(content) > bytes_max:
        raise _too_large(bytes_max)
    call.body = Body.of(content)
    if body.trailers:
        call.body.trailers = body.trailers
        call.body.length = None
    return content


async def _read(call: Call, bytes_max: Size, clock: Clock) -> bytes:
    pieces = []
    left = int(bytes_max)
    call.step = _STEP
    try:
        async with clock.timeout_at(call.deadline_at):
            while piece := await call.body.read():
                pieces.append(piece)
                left -= len(piece)
                if left < 0:
                    raise _too_large(bytes_max)
    except TimeoutError:
        raise DeadlineExceeded(f"the call's time is used up; the step was: {_STEP}", is_ours=True) from None
    return b"".join(pieces)


def _too_large(bytes_max: Size) -> BodyTooLarge:
    return BodyTooLarge(
        f"the request's body is over auth.body_max = {bytes_max}; its signature goes first, so all of it is needed"
    )
