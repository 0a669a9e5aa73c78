"""A newcomer takes the tour."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOUR_MAX = 30.0  # Seconds; it takes five.


async def demo(*arguments: str) -> asyncio.subprocess.Process:
    """Start `sidecar demo` with its output in a pipe."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "demo", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=REPOSITORY,
    )  # fmt: skip


async def test_the_demo_shows_every_step_and_ends_well() -> None:
    """`sidecar demo --once` is what a newcomer and CI run: exit code 0, and every expectation held."""
    tour = await demo("--once")
    async with asyncio.timeout(TOUR_MAX):
        raw, _ = await tour.communicate()
    output = raw.decode()
    assert tour.returncode == 0, output
    assert re.search(r"^(\d+) of \1 steps came out as expected$", output, re.MULTILINE), output
    assert "\x1b" not in output, "a pipe is not a terminal"
    assert "Traceback" not in output
    # The credential is 48 hexadecimal digits made at run time; nothing of that shape may be shown.
    assert not re.search(r"[0-9a-f]{40,}", output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_stays_up_until_told_and_leaves_nothing_behind(number: signal.Signals) -> None:
    """Ctrl-C, or a container that is stopped: it ends in order, and the folder with the secret is gone."""
    tour = await demo()
    assert tour.stdout is not None
    output = ""
    async with asyncio.timeout(TOUR_MAX):
        while "tail -f" not in output:
            line = await tour.stdout.readline()
            assert line, f"the demo ended by itself:\n{output}"
            output += line.decode()
        folder = Path(output.rpartition("tail -f ")[2].strip()).parent
        assert folder.is_dir()
        tour.send_signal(number)
        rest = await tour.stdout.read()
        await tour.wait()
    assert tour.returncode == 0, rest.decode()
    assert not folder.exists()
