"""For all tests: time that moves by hand, the loop of production, no blocking call in it, nothing left behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest
import pytest_asyncio
import uvloop
from blockbuster import blockbuster_ctx
from hypothesis import settings

from tests.kit.authorization import AuthorizationServer
from tests.kit.certificates import Authority
from tests.kit.clock import ManualClock
from tests.kit.servers import Servers

# In CI the examples are always the same, so that a red run is about the change; on a desk they search on.
settings.register_profile("sidecar", deadline=None, derandomize="CI" in os.environ, print_blob=True)
settings.load_profile("sidecar")

LEFT_BEHIND_SECONDS = 2.0  # What is on its way out when a test ends has this long.

# Where product code may block the loop: (function, file, functions there), each with its reason.
MAY_BLOCK: list[tuple[str, str, set[str]]] = [
    # A door that closes takes its Unix socket away in the same step, so that a reload which opens it anew comes after.
    ("os.unlink", "sidecar/downstream/listener.py", {"stop_accepting"}),
    # The AWS SDK looks for its file of keys once, when a store is opened, and for a pod's token once an hour.
    ("os.stat", "botocore/configloader.py", {"raw_config_parse"}),
    ("io.TextIOWrapper.read", "botocore/configloader.py", {"raw_config_parse"}),
    ("io.TextIOWrapper.read", "botocore/utils.py", {"__call__"}),
    ("io.TextIOWrapper.read", "botocore/credentials.py", {"_build_headers"}),
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where a built image is, whose tests run only then (`make image`)."""
    parser.addoption("--image", help="folder of a built image: root/ and config.json")


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on the loop that production runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def clock() -> ManualClock:
    """Time that moves when the test says `await clock.advance(seconds)`."""
    return ManualClock()


@pytest.fixture(scope="session")
def authorization_server() -> Iterator[AuthorizationServer]:
    """A certified authorization server (npm oidc-provider); its packages are installed when they are not."""
    with AuthorizationServer(Authority()) as server:
        yield server


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """All servers that run."""
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(scope="session", autouse=True)
def _no_blocking_call() -> Iterator[None]:
    """Raise BlockingError out of product code that blocks a running loop: a file, a lock, a socket, a sleep."""
    with blockbuster_ctx("sidecar") as detector:
        for function, file, names in MAY_BLOCK:
            detector.functions[function].can_block_in(file, names)
        yield


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> None:
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("no_task_left_behind")


@pytest.fixture
async def no_task_left_behind() -> AsyncIterator[None]:
    """Fail a test after which a task still runs: its owner did not stop it. Set up first, so looked at last."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=LEFT_BEHIND_SECONDS)
    if left:
        pytest.fail("tasks were left behind:\n" + "\n".join(sorted(map(repr, left))), pytrace=False)
