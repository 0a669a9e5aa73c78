"""Webhooks: how many events a second are verified, stored for good and acknowledged, and what those that wait cost.

    python -m bench.webhooks --folder DIR [--seconds 10] [--clients 64] [--kind sqlite|valkey] [--package DIR]
    python -m bench.webhooks ... --app up [--rate 500/s]
    python -m bench.webhooks ... --waiting 1000 10000 100000

A sidecar process with one webhook, and beside it so many clients that each send one signed event after the other over a
connection of their own. The app does not listen; with `--app up` it is one more process, which takes all it gets, at
most `--rate`. With `--waiting` it is memory that is told: resident, when so many events wait, and a while after that.
The disk's own pace, one fdatasync after the other in the same folder, is measured before and after.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import cast

import httptools
import uvloop

from bench.durable import LISTEN, disk_pace, figures, load, parser_of, sidecar, stored
from tests.kit.hooks import hook_config, signed
from tests.kit.process import free_ports
from tests.kit.valkey import Valkey

BODY = b'{"type": "invoice.paid", "data": {"id": 7, "note": "' + b"x" * 400 + b'"}}'
MORE = 'length_max = 100000000\nbytes_max = "50GiB"\nrate = "{}"\n[log]\nsuccess = 0.0\nlevel = "warning"\n'
LATER = 12.0  # Seconds after the last event: lines are counted every 5 s.
MIB = 2**20
_DELIVERED = re.compile(r'^sidecar_deliveries_total\{.*result="delivered".*\} (\S+)$', re.MULTILINE)


def events() -> Iterator[bytes]:
    """Give signed requests, each with an id of its own."""
    for number in count():
        fields = "".join(f"{key}: {value}\r\n" for key, value in signed(f"evt_{number}", BODY).items())
        yield f"POST /stripe HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY


class Takes(asyncio.Protocol):
    """The app: 204 for everything."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class.
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Read."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def _listen(port: int) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Takes, "127.0.0.1", port)
        await server.serve_forever()

    uvloop.run(serve())


@contextlib.contextmanager
def app(port: int, *, is_up: bool) -> Iterator[None]:
    """Have the app listen, in a process of its own, or not."""
    if not is_up:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=_listen, args=(port,))
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def resident(pid: int) -> float:
    """Give the resident MiB of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def spent(pid: int) -> float:
    """Give the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def used(valkey: Valkey | None) -> str:
    """Say what the server holds."""
    if valkey is None:
        return ""
    with valkey.client as client:
        return f", the server {client.info('memory')['used_memory'] / MIB:.0f} MiB"


def delivered(telemetry: int) -> int:
    """Ask how many the app took."""
    with urllib.request.urlopen(f"http://127.0.0.1:{telemetry}/metrics") as answer:
        return sum(int(float(found)) for found in _DELIVERED.findall(answer.read().decode()))


def pace(said: argparse.Namespace, port: int, pid: int, telemetry: int) -> str:
    """Measure acknowledgements."""
    empty, cpu = resident(pid), spent(pid)
    took = uvloop.run(load(port, said.clients, events(), 200, said.seconds))
    cpu = (spent(pid) - cpu) / len(took) * 1e6
    taken = f", {delivered(telemetry) / said.seconds:,.0f} deliveries/s" if said.app == "up" else ""
    return (
        f"{figures(took, said.seconds, 'acknowledgements')}, {cpu:.0f} us of CPU each{taken};"
        f" {len(took):,} events: {empty:.0f} MiB before, {resident(pid):.0f} MiB after"
    )


def memory(said: argparse.Namespace, port: int, pid: int, valkey: Valkey | None) -> str:
    """Measure memory, at each number of events that wait."""
    told = [f"{resident(pid):.1f} MiB empty{used(valkey)}"]
    requests, there = events(), 0
    for waiting in said.waiting:
        some = islice(requests, waiting - there)
        there += len(uvloop.run(load(port, said.clients, some, 200, 600)))
        full = resident(pid)
        time.sleep(LATER)
        told.append(f"{there:,} wait: {full:.1f} MiB, {resident(pid):.1f} MiB {LATER:g} s later{used(valkey)}")
    return "; ".join(told)


def main() -> None:
    """Measure, and print one line."""
    parser = parser_of(__doc__)
    parser.add_argument("--app", choices=["down", "up"], default="down")
    parser.add_argument("--rate", default="500/s", help="of deliveries; the config's default")
    parser.add_argument("--waiting", type=int, nargs="*")
    said = parser.parse_args()
    egress, admin, telemetry, port, takes = free_ports(5)
    with stored(said.folder, said.kind) as (folder, store, valkey), app(takes, is_up=said.app == "up"):
        before = disk_pace(folder)
        listen = LISTEN.format(egress, admin, telemetry) + f'webhooks = "127.0.0.1:{port}"\n'
        config = listen + hook_config(folder, f"http://127.0.0.1:{takes}/hooks", MORE.format(said.rate), store)
        with sidecar(folder, config, telemetry, said.package) as pid:
            told = memory(said, port, pid, valkey) if said.waiting else pace(said, port, pid, telemetry)
        forced = (before + disk_pace(folder)) / 2
    print(f"{said.kind}, the app is {said.app}: {told}; the disk forces {forced:,.0f} a second", flush=True)


if __name__ == "__main__":
    main()
