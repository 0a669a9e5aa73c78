"""The servers of a session, each started when a test first asks for it, and ended with the session."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

Serve = Callable[[], AbstractContextManager[Any]]


class Servers:
    """Servers by what starts them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[Serve, Any] = {}

    def get(self, serve: Serve) -> Any:
        """Give the one server of this kind."""
        if serve not in self._running:
            self._running[serve] = self._stack.enter_context(serve())
        return self._running[serve]
