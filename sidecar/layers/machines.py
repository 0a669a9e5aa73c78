"""Machines: the state of one service's policies, one machine per section, carried over reloads."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

M = TypeVar("M")


class _Kept(NamedTuple):
    scope: str
    section: object
    machine: object


class Machines:
    """One machine for each different section of a kind.

    Routes that say nothing of their own share the service's. A section that did not change since the previous
    generation keeps its machine, with all that it counted; one that changed starts anew.
    """

    def __init__(self, previous: "Machines | None" = None) -> None:
        self._previous = previous
        self._kept: list[_Kept] = []  # As many as there are sections in the config.

    def get(self, kind: type[M], section: object, make: Callable[[], M], scope: str = "") -> M:
        """Give the machine of the class `kind` for a section; `scope` tells apart those that are not shared."""
        known = self.find(kind, section, scope)
        if known is None and self._previous is not None:
            known = self._previous.find(kind, section, scope)
            if known is not None:
                self._kept.append(_Kept(scope, section, known))
        if known is None:
            known = make()
            self._kept.append(_Kept(scope, section, known))
        return known

    def settle(self) -> None:
        """Forget the previous generation: everything that goes on was asked for."""
        self._previous = None

    def all(self, kind: type[M]) -> Iterator[tuple[str, M]]:
        """Give every machine of a kind, with its scope."""
        for kept in self._kept:
            if isinstance(kept.machine, kind):
                yield kept.scope, kept.machine

    def everything(self) -> Iterator[object]:
        """Give every machine."""
        return (kept.machine for kept in self._kept)

    def before(self, kind: type[M]) -> Iterator[tuple[str, M]]:
        """Give the machines of the previous generation, until `settle`."""
        if self._previous is not None:
            yield from self._previous.all(kind)

    def find(self, kind: type[M], section: object, scope: str) -> M | None:
        """Give the machine that is there, or None."""
        for kept in self._kept:
            if isinstance(kept.machine, kind) and kept.scope == scope and kept.section == section:
                return kept.machine
        return None
