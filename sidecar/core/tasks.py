"""Tasks: the only place that creates them; each has a name and an owner, and is awaited when its owner stops."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any


class Tasks:
    """The tasks of one owner. An error nobody awaits is handed to the loop's exception handler, never lost."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start `work` as a task of this owner."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            task.get_loop().call_exception_handler(
                {"message": f"task {task.get_name()} ended with an error", "exception": error, "task": task}
            )

    async def wait(self, seconds: float) -> int:
        """Wait up to `seconds` for all tasks to end by themselves; say how many did not."""
        if self._running and seconds > 0:
            await asyncio.wait(set(self._running), timeout=seconds)
        return len(self._running)

    async def all_done(self) -> None:
        """Wait until all tasks ended by themselves, those too that are spawned meanwhile."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def stop(self) -> None:
        """Cancel what still runs, and wait until it is gone."""
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


class HeedingCancellation:
    """Has a cancellation count that a library in the block swallowed.

    `asyncio.wait_for` does so before Python 3.12 when what it waits for ends in the same turn of the loop; whoever
    waits for a task that was cancelled so waits for ever.
    """

    __slots__ = ("_before", "_task")

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        is_cut_off = kind is not None and issubclass(kind, asyncio.CancelledError)
        if not is_cut_off and self._task.cancelling() > self._before:
            raise asyncio.CancelledError
