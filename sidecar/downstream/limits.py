"""Limits: what a door allows one connection of the app."""


class DoorLimits:
    """Bounds of a door, from `[listen]`; times in seconds."""

    __slots__ = ("body_timeout", "head_max", "head_timeout", "keepalive_timeout", "write_timeout")

    def __init__(
        self, head_max: int, head_timeout: float, body_timeout: float, write_timeout: float, keepalive_timeout: float
    ) -> None:
        self.head_max = head_max  # Bytes of a request's head. Over it (to within one read): 431.
        self.head_timeout = head_timeout  # From a head's first byte to its last. Over it: 408.
        self.body_timeout = body_timeout  # Between two bytes of a body. Over it: 408.
        self.write_timeout = write_timeout  # For the app to read on, when it does not. Over it: cut off.
        self.keepalive_timeout = keepalive_timeout  # Idle between two requests. Over it: closed.
