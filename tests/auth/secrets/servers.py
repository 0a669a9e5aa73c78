"""Real servers beside a test: started on a port of their own, waited for until they answer, always ended."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.kit.process import free_ports

START_MAX = 600  # Looks at its port, 0.05 s apart.


@contextmanager
def serving(
    name: str, *arguments: str, port_as: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a program of this virtual environment and give its address.

    It is told its port by the variable `port_as`, or in place of "PORT" among its arguments.
    """
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / name), *(each.replace("PORT", str(port)) for each in arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **(environment or {}), **({port_as: str(port)} if port_as else {})},
    )
    try:
        _wait_for(process, port, name)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, name: str) -> None:
    for _ in range(START_MAX):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            try:
                process.wait(0.05)  # Its end is also the pause between two looks.
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"{name} ended by itself with {process.returncode}") from None
        return
    raise AssertionError(f"{name} does not listen")
