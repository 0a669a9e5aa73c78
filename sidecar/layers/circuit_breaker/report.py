"""Report: what a circuit does, told once: a line in the log and a count for each change."""

from collections.abc import Callable
from typing import Any

_LINES = {
    "open": ("warning", "circuit_opened"),
    "half_open": ("info", "circuit_half_open"),
    "closed": ("info", "circuit_closed"),
    "forced": ("warning", "circuit_forced"),
}


class Report:
    """Tells the changes of one circuit; `route` is "" when it is the service's."""

    def __init__(self, service: str, route: str, tell: Callable[..., None], count: Callable[[str], None]) -> None:
        self._service = service
        self._route = route
        self._tell = tell
        self._count = count

    def __call__(self, state: str, facts: dict[str, Any]) -> None:
        """Count the change to `state`, and write its line."""
        self._count(state)
        level, line = _LINES[state]
        where = {"service": self._service, "route": self._route} if self._route else {"service": self._service}
        self._tell(level, line, **where, **facts)
