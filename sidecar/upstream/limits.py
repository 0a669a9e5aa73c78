"""Limits: when an exchange is overdue, and what is said then."""

from collections.abc import Callable

from sidecar.core.errors import SidecarError

SENDING = "sending the request"


class Limits:
    """The time limits of one exchange. Instants are monotonic; `say` turns the overdue step into the error."""

    __slots__ = ("due_at", "first_byte_at", "first_byte_timeout", "idle_timeout", "say")

    def __init__(
        self, due_at: float, first_byte_timeout: float | None, idle_timeout: float, say: Callable[[str], SidecarError]
    ) -> None:
        self.due_at = due_at  # The end of the attempt: for everything up to the answer's head.
        self.first_byte_timeout = first_byte_timeout  # Seconds, from the last byte of the request.
        self.idle_timeout = idle_timeout  # Seconds between two bytes of the answer's body.
        self.say = say
        self.first_byte_at = 0.0  # Of an answer whose head does not come in one read; 0 for the others.
