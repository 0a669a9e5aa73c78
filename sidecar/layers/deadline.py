"""Deadline: every call has an end, set before anything else; all layers below share this one budget of time."""

from collections.abc import Awaitable

from sidecar.core.call import Call, Handler, Layer, Reply


def deadline(timeout: float) -> Layer:
    """Set the call's deadline `timeout` seconds after its head came in; `Sidecar-Timeout` may only shorten it.

    Nothing is timed here: each wait below ends at the deadline, and names the step that used the time up. Up to the
    answer's head the deadline rules; a streamed body goes on under the idle timeout.
    """

    def around(inner: Handler) -> Handler:
        def limited(call: Call) -> Awaitable[Reply]:
            asked = call.timeout_asked
            call.deadline_at = call.started_at + (timeout if asked is None or asked > timeout else asked)
            return inner(call)

        return limited

    return around
