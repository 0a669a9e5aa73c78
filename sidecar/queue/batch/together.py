"""Together: several questions to the store at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sidecar.core.tasks import Tasks
from sidecar.store.base import StoreFailed

T = TypeVar("T")


async def together(tasks: Tasks, works: "list[Coroutine[Any, Any, T]]") -> list[T]:
    """Give what each gave, in their order. Raises the first StoreFailed, once all have ended."""
    running = [tasks.spawn(_caught(work), "a question to the store") for work in works]
    try:
        if running:
            await asyncio.wait(running)
    finally:
        for task in running:
            task.cancel()
    found: list[T] = []
    for task in running:
        answer = task.result()
        if isinstance(answer, StoreFailed):
            raise answer
        found.append(answer)
    return found


async def _caught(work: "Coroutine[Any, Any, T]") -> T | StoreFailed:
    try:
        return await work
    except StoreFailed as failed:
        return failed
