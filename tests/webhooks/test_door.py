"""What the door makes of a request that its receiver has in hand."""

from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sidecar.core.ids import Ids
from sidecar.webhooks.door import Door
from sidecar.webhooks.incoming import Incoming
from sidecar.webhooks.receiver import Answer
from sidecar.webhooks.webhooks import Webhooks
from tests.kit.clock import ManualClock


class Faulty:
    """All webhooks, with one receiver, which fails in a way that a broken connection does, too."""

    is_draining = False
    methods = frozenset({"POST"})

    class config:  # noqa: N801 - a section, as the door reads it
        """What the door needs of it."""

        body_max = 1000
        url = None

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.counted: list[str] = []

    def receiver(self, _: str) -> "Faulty":
        """Give the receiver."""
        return self

    def count(self, result: str) -> None:
        """Count."""
        self.counted.append(result)

    async def receive(self, _: Incoming, __: str) -> Answer:
        """Fail."""
        raise self.error


@pytest.mark.parametrize("error", [TimeoutError("ours"), ConnectionResetError("ours")], ids=["timeout", "reset"])
async def test_a_fault_of_ours_is_not_the_vendors(clock: ManualClock, error: Exception) -> None:
    """What fails behind the body is told as such, and is neither a slow vendor nor one that hung up."""
    hooks, faults = Faulty(error), []

    def fault(msg: str, found: BaseException, **_: Any) -> None:
        faults.append((msg, found))

    door = Door(cast("Webhooks", hooks), clock, Ids(), fault)
    async with TestClient(TestServer(door.app(frozenset()))) as vendor, vendor.post("/crm", data=b"{}") as answer:
        assert answer.status == 500
    assert faults == [("internal", error)]
    assert hooks.counted == []
