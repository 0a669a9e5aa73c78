"""Tour: `sidecar demo`; a vendor with its moods, a sidecar in front of it, and an app's calls, shown as they happen."""

import asyncio
import signal

import uvloop

from sidecar.config.problem import ConfigError
from sidecar.core.clock import Clock, SystemClock
from sidecar.demo.screen import Screen
from sidecar.demo.stage import Stage, raised
from sidecar.demo.step import Shown, play
from sidecar.demo.story import STORY


class Tour:
    """One tour; `exit_code` is 0 once every step came out as expected."""

    def __init__(self, clock: Clock, screen: Screen) -> None:
        self.exit_code = 1
        self._clock = clock
        self._screen = screen

    async def run(self, *, once: bool) -> None:
        """Play all steps; then, unless `once`, stay up until cancelled."""
        async with raised(self._clock) as stage:
            self._screen.open(stage)
            await self._play(stage)
            if not once:
                self._screen.invite(stage)
                await asyncio.Event().wait()

    async def _play(self, stage: Stage) -> None:
        shown: list[Shown] = []
        for chapter in STORY:
            self._screen.begin(chapter)
            for step in chapter.steps:
                shown.append(await play(step, stage))
                self._screen.show(shown[-1])
        self._screen.close(shown)
        self.exit_code = 1 if any(one.problem for one in shown) else 0


async def _until_signalled(tour: Tour, *, once: bool) -> None:
    """Run the tour; SIGINT and SIGTERM cancel it, so that it cleans up as at its end."""
    me = asyncio.current_task()
    assert me is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, me.cancel)
    await tour.run(once=once)


def main(*, once: bool) -> int:
    """Take the tour, and give the exit code: 0, or 1 if anything did not work. Without `once` it ends with a signal."""
    screen = Screen()
    tour = Tour(SystemClock(), screen)
    try:
        uvloop.run(_until_signalled(tour, once=once))
    except asyncio.CancelledError:
        screen.say("stopped")
    except (OSError, ConfigError) as error:
        screen.say(f"the demo cannot start: {error}")
        return 1
    return tour.exit_code
