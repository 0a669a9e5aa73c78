"""Jobs while the configuration changes and the pod ends: what is under way is finished, what waits is told."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.kit.app import App
from tests.kit.pod import Pod
from tests.kit.process import Process
from tests.kit.vendor import Vendor, answer
from tests.stories.test_jobs import STORE, config_for, state_of

ASYNC = "Prefer: respond-async"
QUEUE = 'queue = { concurrency = 1, schedule = ["10ms"] }'
CALLS_BACK = QUEUE.replace(" }", ', callback = "http://127.0.0.1:9/jobs", callback_secret = "files:jobs" }')


@pytest.mark.parametrize(("before", "after"), [(QUEUE, CALLS_BACK), (CALLS_BACK, QUEUE)], ids=["begins", "ends"])
async def test_a_change_of_the_section_cuts_no_turn_off(tmp_path: Path, before: str, after: str) -> None:
    """The vendor gets the call once, though results go to the app from now on, or do not any more."""
    open_now = asyncio.Event()
    async with Vendor.stalling(answer(b"ok"), 0, open_now) as vendor:
        pod = Pod(tmp_path, vendor, service=before, config=STORE)
        pod.write_secret("jobs", "whsec_c2VjcmV0")
        async with pod, pod.app() as app:
            place = (await app.ask("PUT", "/vendor/1", ASYNC)).value("Location")
            await vendor.wait_for_head()
            pod.config_file.write_text(pod.config_file.read_text().replace(before, after))
            assert (await pod.sidecar.reload())["ok"]
            open_now.set()
            job = await state_of(app, place, "succeeded")
            assert job["attempts"] == 1
            assert len(vendor.requests) == 1


async def test_jobs_whose_queue_is_switched_off_are_told_and_kept(tmp_path: Path) -> None:
    """The one under way is finished; the others lie in the store, are not made, and go on when the queue is back."""
    open_now = asyncio.Event()
    async with Vendor.stalling(answer(b"ok"), 0, open_now) as vendor:
        pod = Pod(tmp_path, vendor, service=QUEUE, config=STORE)
        async with pod, pod.app() as app:
            first, second = [(await app.ask("PUT", f"/vendor/{n}", ASYNC)).value("Location") for n in range(2)]
            await vendor.wait_for_head()
            config = pod.config_file.read_text()
            pod.config_file.write_text(config.replace(QUEUE, "queue = false"))
            assert (await pod.sidecar.reload())["ok"]
            open_now.set()
            assert (await state_of(app, first, "succeeded"))["attempts"] == 1
            [told] = [line for line in await pod.log_lines() if line["msg"] == "jobs_left"]
            assert (told["service"], told["jobs"]) == ("vendor", 2), "the one under way had not ended yet"
            assert (await state_of(app, second, "waiting"))["attempts"] == 0
            pod.config_file.write_text(config)
            assert (await pod.sidecar.reload())["ok"]
            await state_of(app, second, "succeeded")
            assert len(vendor.requests) == 2


async def test_a_second_signal_waits_for_no_job(tmp_path: Path) -> None:
    """The drain says how many it cut off; their lines say why, and each waits for the next process."""
    store = f'[store]\nkind = "sqlite"\npath = "{tmp_path}/state.db"\n'
    async with (
        Vendor.stalling(answer(b"ok"), 0, asyncio.Event()) as vendor,
        Process(tmp_path, config_for(vendor, store)) as sidecar,
        App.to(sidecar.egress_url) as app,
    ):
        await app.ask("PUT", "/vendor/1", ASYNC)
        await vendor.wait_for_head()
        async with asyncio.timeout(10):  # The drain has 25 s.
            sidecar.send_signal(signal.SIGTERM)
            await sidecar.wait_for_line(lambda line: line.get("step") == "stop_accepting")
            sidecar.send_signal(signal.SIGTERM)
            await sidecar.wait_for_line(lambda line: line.get("step") == "close")
        assert await sidecar.wait() == 0
    steps = {line["step"]: line for line in sidecar.lines if line["msg"] == "drain"}
    assert (steps["stop_accepting"]["jobs"], steps["cut_short"]["jobs"]) == (1, 1)
    assert (steps["finish_calls"]["cut_off"], steps["finish_calls"]["jobs_cut_off"]) == (0, 1)
    [turn] = [line for line in sidecar.lines if line["msg"] == "call" and line.get("job")]
    assert (turn["outcome"], turn["code"]) == ("cancelled", "draining")
    async with Vendor.answering(answer(b"ok")) as vendor, Process(tmp_path, config_for(vendor, store)):
        assert (await vendor.wait_for_request()).target == b"/1"
