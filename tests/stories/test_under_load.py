"""Reload and drain while calls come as fast as they go: a real process, and loops that count every answer."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.kit.app import App
from tests.kit.message import CutOff
from tests.kit.process import Line, Process
from tests.kit.vendor import Vendor, answer

APPS = 8
RELOADS = 5


def config_of(vendor: Vendor, timeout: int) -> str:
    """Write a service that differs from the others by its timeout, so that a reload builds it anew."""
    return f'[services.crm]\nbase_url = "{vendor.url}"\nallow_private = true\ntimeout = "{timeout}s"\n'


def is_loaded(generation: int) -> Callable[[Line], bool]:
    """Tell the line of this generation from others."""
    return lambda line: line["msg"] == "config_loaded" and line["generation"] == generation


async def call_until(is_over: Callable[[], bool], url: str, seen: Counter[str]) -> None:
    """Call over one connection after the other, and count what came back for each call."""
    while not is_over():
        try:
            async with App.to(url) as app:
                while not is_over():
                    reply = await app.ask("GET", "/crm/x")
                    is_right = (reply.status == 200) == (reply.body == b"whole")
                    seen[f"{reply.status}" if is_right else "broken"] += 1
                    if b"close" in reply.values("Connection"):
                        break
        except ConnectionRefusedError:
            return  # The door is closed.
        except (CutOff, ConnectionError):
            seen["no answer"] += 1


async def test_no_call_fails_by_a_reload(tmp_path: Path) -> None:
    """Each generation takes over between two calls; what is under way ends where it began."""
    seen: Counter[str] = Counter()
    is_over = asyncio.Event()
    async with Vendor.answering(answer(b"whole")) as vendor, Process(tmp_path, config_of(vendor, 10)) as sidecar:
        apps = [asyncio.create_task(call_until(is_over.is_set, sidecar.egress_url, seen)) for _ in range(APPS)]
        for generation in range(2, 2 + RELOADS):
            sidecar.write_config(config_of(vendor, 10 + generation))
            sidecar.send_signal(signal.SIGHUP)
            await sidecar.wait_for_line(is_loaded(generation))
        is_over.set()
        await asyncio.gather(*apps)
    assert set(seen) == {"200"}
    lines = Counter(line["outcome"] for line in sidecar.lines if line["msg"] == "call")
    assert lines == {"success": seen["200"]}
    assert len([line for line in sidecar.lines if line["msg"] == "config_loaded"]) == 1 + RELOADS


async def test_a_drain_loses_no_call_and_counts_them_all(tmp_path: Path) -> None:
    """What the vendor was asked, the app was answered; a request on a connection that just closed went nowhere."""
    seen: Counter[str] = Counter()
    async with Vendor.answering(answer(b"whole")) as vendor, Process(tmp_path, config_of(vendor, 10)) as sidecar:
        apps = [asyncio.create_task(call_until(lambda: False, sidecar.egress_url, seen)) for _ in range(APPS)]
        await sidecar.wait_for_line(lambda line: line["msg"] == "call")
        assert await sidecar.terminate() == 0
        await asyncio.gather(*apps)
        assert len(vendor.requests) == seen["200"]
    assert set(seen) <= {"200", "no answer", "503"}
    assert seen["no answer"] <= APPS
    lines = Counter(line["outcome"] for line in sidecar.lines if line["msg"] == "call")
    assert lines["success"] == seen["200"]
    assert set(lines) <= {"success", "rejected"}
    assert [line["cut_off"] for line in sidecar.lines if line.get("step") == "finish_calls"] == [0]
