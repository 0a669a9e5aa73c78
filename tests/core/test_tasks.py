import asyncio
from contextlib import suppress
from typing import Any

import pytest

from sidecar.core.tasks import HeedingCancellation, Tasks
from tests.kit.clock import settle


@pytest.fixture
def told(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What the loop's exception handler heard."""
    return []


async def forever() -> None:
    """Run until cancelled."""
    await asyncio.get_running_loop().create_future()


async def test_a_task_has_a_name_and_an_owner_until_it_ends() -> None:
    """The owner counts it, and forgets it when it is over."""
    tasks = Tasks()
    over = asyncio.get_running_loop().create_future()

    async def work() -> str:
        await over
        return "done"

    task = tasks.spawn(work(), "refresh crm")
    assert task.get_name() == "refresh crm"
    assert len(tasks) == 1
    over.set_result(None)
    assert await task == "done"
    await settle()
    assert len(tasks) == 0


async def test_stop_cancels_what_runs_and_waits_until_it_is_gone() -> None:
    """After stop nothing of the owner's runs any more, not even a finally."""
    tasks = Tasks()
    cleaned: list[str] = []

    async def slow_to_leave() -> None:
        try:
            await forever()
        finally:
            await settle(5)
            cleaned.append("yes")

    tasks.spawn(slow_to_leave(), "a")
    tasks.spawn(forever(), "b")
    await settle()
    await tasks.stop()
    assert cleaned == ["yes"]
    assert len(tasks) == 0
    await tasks.stop()


async def test_an_error_that_nobody_awaits_reaches_the_exception_handler(told: list[dict[str, Any]]) -> None:
    """A background task that dies is heard of, by its name."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    tasks = Tasks()

    async def broken() -> None:
        raise RuntimeError("the work is broken")

    tasks.spawn(broken(), "refresh crm")
    await settle()
    assert len(tasks) == 0
    assert [(context["message"], str(context["exception"])) for context in told] == [
        ("task refresh crm ended with an error", "the work is broken")
    ]


async def test_a_cancelled_task_is_no_error(told: list[dict[str, Any]]) -> None:
    """Stopping is not failing."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    tasks = Tasks()
    tasks.spawn(forever(), "a")
    await settle()
    await tasks.stop()
    await settle()
    assert told == []


async def test_waiting_says_how_many_did_not_end() -> None:
    """A drain that runs out of time tells the number, and cancels nothing by itself."""
    tasks = Tasks()
    assert await tasks.wait(1) == 0
    task = tasks.spawn(forever(), "a")
    tasks.spawn(settle(3), "b")
    assert await tasks.wait(0.05) == 1
    assert not task.done()
    assert await tasks.wait(0) == 1
    await tasks.stop()
    assert await tasks.wait(1) == 0


@pytest.mark.parametrize("failure", [None, OSError("the way is gone")], ids=["result", "failure"])
async def test_a_cancellation_that_a_library_swallowed_counts(failure: OSError | None) -> None:
    """Whether it then gave a result or failed; the task ends cancelled."""

    async def swallowing() -> str:
        with suppress(asyncio.CancelledError):
            await forever()
        if failure is not None:
            raise failure
        return "done"

    async def asking() -> str:
        with HeedingCancellation():
            return await swallowing()

    task = asyncio.create_task(asking())
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_was_not_cancelled_in_the_block_goes_its_way() -> None:
    """A result is a result and a failure a failure, also in the cleanup of a task that was cancelled before."""

    async def cleaning() -> str:
        with suppress(asyncio.CancelledError):
            await forever()
        with pytest.raises(ValueError, match="theirs"), HeedingCancellation():
            raise ValueError("theirs")
        with HeedingCancellation():
            await settle(1)
        return "clean"

    task = asyncio.create_task(cleaning())
    await settle()
    task.cancel()
    assert await task == "clean"
