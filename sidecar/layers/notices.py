"""Notices: what a service's vendor said of the end of its API, for metrics, people, and a line the first time."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sidecar.core.call import Call, Reply
from sidecar.core.clock import Clock
from sidecar.upstream.notice import SINCE_EVER, Notice, read_notice, spelled

NOTICES_MAX = 64  # That differ, of one service. Full: the one that was not heard for longest is forgotten.
KEPT_S = 86400.0  # Not heard for so long: forgotten. The app calls it no more, or the vendor says something else now.

Said = tuple[str, float | None, float | None]  # Route, sunset and deprecation.


class _Kept(NamedTuple):
    heard_at: float  # Monotonic: the last time.
    link: str


class Notices:
    """The machine: which notices hold now."""

    def __init__(self) -> None:
        self._kept: dict[Said, _Kept] = {}
        self._has_doubted = False

    def hear(self, route: str, notice: Notice, now: float) -> bool:
        """Take a notice, and say whether it is news."""
        said = (route, notice.sunset_at, notice.deprecated_at)
        self._forget(now)
        known = self._kept.pop(said, None)  # Put in anew behind all others, so the first is the oldest.
        if known is None and len(self._kept) >= NOTICES_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept[said] = _Kept(now, notice.link or (known.link if known is not None else ""))
        return known is None

    def doubt(self) -> bool:
        """Whether what cannot be read is worth a line: the first time."""
        is_first, self._has_doubted = not self._has_doubted, True
        return is_first

    def sunsets(self, now: float) -> list[tuple[str, float]]:
        """Give the soonest sunset of each route; changes nothing, for the thread that scrapes."""
        return _soonest((route, at) for (route, at, _), _ in self._held(now) if at is not None)

    def deprecations(self, now: float) -> list[tuple[str, float]]:
        """Give the soonest deprecation of each route; the same."""
        return _soonest((route, at) for (route, _, at), _ in self._held(now) if at is not None)

    def snapshot(self, now: float) -> list[dict[str, Any]]:
        """Show what holds, for people."""
        return [_shown(said, kept.link) for said, kept in self._held(now)]

    def _held(self, now: float) -> list[tuple[Said, _Kept]]:
        return [(said, kept) for said, kept in list(self._kept.items()) if now - kept.heard_at < KEPT_S]

    def _forget(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            if now - self._kept[oldest].heard_at < KEPT_S:
                return
            del self._kept[oldest]


def _soonest(found: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    soonest: dict[str, float] = {}
    for route, at in found:
        soonest[route] = min(at, soonest.get(route, at))
    return list(soonest.items())


def _shown(said: Said, link: str) -> dict[str, Any]:
    route, sunset, deprecated = said
    shown = {
        "route": route,
        "sunset": "" if sunset is None else spelled(sunset),
        "deprecated": "" if deprecated is None else "yes" if deprecated == SINCE_EVER else spelled(deprecated),
        "link": link,
    }
    return {name: text for name, text in shown.items() if text}


def hearing(service: str, notices: Notices, clock: Clock, tell: Callable[..., None]) -> Callable[[Call, Reply], None]:
    """Give what reads the answers with a notice."""

    def hear(call: Call, reply: Reply) -> None:
        notice = read_notice(reply.headers, clock.wall())
        if notice.doubts and notices.doubt():
            tell("warning", "notice_ignored", service=service, request_id=call.request_id, why=list(notice.doubts))
        if notice.says_anything and notices.hear(call.route, notice, clock.now()):
            shown = _shown((call.route, notice.sunset_at, notice.deprecated_at), notice.link)
            said_of = {"method": call.method, "app": call.app} if call.app else {"method": call.method}
            tell("warning", "notice_heard", service=service, request_id=call.request_id, **said_of, **shown)

    return hear
