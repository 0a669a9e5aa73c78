"""Receiving: a request's body wholly in hand, where it has to be looked into before it is sent."""

from sidecar.core.call import Call
from sidecar.core.clock import Clock
from sidecar.core.errors import DeadlineExceeded


async def receive(call: Call, bytes_max: int, clock: Clock, step: str) -> bool:
    """Wait for the body's last byte, or for one too many; say whether all of it is here, and none too many.

    Raises DeadlineExceeded when the app sends it too slowly. No byte is taken from it.
    """
    body = call.body
    if not body.is_complete and (body.length is None or body.length <= bytes_max):
        call.step = step
        try:
            async with clock.timeout_at(call.deadline_at):
                await body.ahead(bytes_max + 1)
        except TimeoutError:
            raise DeadlineExceeded(f"the call's time is used up; the step was: {step}", is_ours=True) from None
    return body.is_complete and not body.is_failed and body.received_bytes <= bytes_max
