"""A real OpenBao, which speaks Vault's API: one server of a session, in memory, with mounts that each test makes anew.

The root token is made at run time. What a test sets up goes in through `ask`, past the store that is tested.
"""

import contextlib
import json
import os
import re
import secrets
import subprocess
import sysconfig
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.kit.process import free_ports

START_MAX = 20.0  # Seconds until it answers.
STARTS_MAX = 3  # It takes the port after its own, too, which may be somebody's.
LOOK_EVERY = 0.05
STOP_MAX = 10.0


class Bao:
    """A server that runs; `ask` is its operator."""

    def __init__(self, port: int, root: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.port = port
        self.address = f"http://127.0.0.1:{port}"
        self.root = root
        self._process = process
        self._log = log

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None, namespace: str | None = None
    ) -> dict[str, Any]:
        """Ask as root, or as whose token it is; raises HTTPError for a no. Blocks: no store is served by this loop."""
        request = urllib.request.Request(f"{self.address}/v1/{path}", method=method)
        request.add_header("X-Vault-Token", token or self.root)
        if namespace is not None:
            request.add_header("X-Vault-Namespace", namespace)
        if body is not None:
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=STOP_MAX) as answer:
            read: dict[str, Any] = json.loads(answer.read() or b"{}")
            return read

    def mount(self, version: int, namespace: str | None = None) -> str:
        """Mount a key-value engine, and give its path."""
        name = f"kv-{secrets.token_hex(4)}"
        self.ask(
            "POST", f"sys/mounts/{name}", {"type": "kv", "options": {"version": str(version)}}, namespace=namespace
        )
        return name

    def policy(self, rules: str, namespace: str | None = None) -> str:
        """Write a policy, and give its name."""
        name = f"policy-{secrets.token_hex(4)}"
        self.ask("PUT", f"sys/policies/acl/{name}", {"policy": rules}, namespace=namespace)
        return name

    def policy_for(self, mount: str, namespace: str | None = None) -> str:
        """Write a policy that allows everything below a mount."""
        allowed = '["create", "read", "update", "patch", "delete", "list"]'
        return self.policy(f'path "{mount}/*" {{ capabilities = {allowed} }}', namespace)

    def auth_method(self, kind: str, config: object = None, namespace: str | None = None) -> str:
        """Switch a way to log in on, and give its mount."""
        name = f"{kind}-{secrets.token_hex(4)}"
        self.ask("POST", f"sys/auth/{name}", {"type": kind}, namespace=namespace)
        if config is not None:
            self.ask("POST", f"auth/{name}/config", config, namespace=namespace)
        return name

    def token(self, policy: str, namespace: str | None = None, **settings: object) -> str:
        """Make a token, as Vault's agent would write it to a file."""
        body = {"policies": [policy], "ttl": "1h", **settings}
        token = self.ask("POST", "auth/token/create", body, namespace=namespace)["auth"]["client_token"]
        assert isinstance(token, str)
        return token

    def unseal(self) -> None:
        """Undo a `sys/seal`."""
        self.ask("POST", "sys/unseal", {"key": self._unseal_key()})

    def has_answered(self) -> bool:
        """Whether it is there by now."""
        try:
            return bool(self.ask("GET", "sys/mounts")) and bool(self._unseal_key())
        except (OSError, urllib.error.URLError):
            return False

    def _unseal_key(self) -> str:
        """Give what it wrote when it was up."""
        found = re.search(r"^Unseal Key: (\S+)$", self._log.read_text(), re.MULTILINE)
        return found[1] if found is not None else ""

    def has_ended_within(self, seconds: float) -> bool:
        """Wait for its end, which is also the pause between two looks."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


@contextlib.contextmanager
def serving() -> Iterator[Bao]:
    """Run a server until the block is left."""
    with tempfile.TemporaryDirectory(prefix="bao-") as folder:
        for _ in range(STARTS_MAX):
            bao = _start(Path(folder))
            try:
                if _is_ready(bao):
                    yield bao
                    return
            finally:
                _stop(bao)
        raise AssertionError(f"no bao came up: {(Path(folder) / 'log').read_text()[-2000:]}")


def _start(folder: Path) -> Bao:
    port, root = free_ports(1)[0], secrets.token_hex(16)
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                Path(sysconfig.get_path("scripts")) / "bao",
                "server",
                "-dev",
                "-dev-no-store-token",
                f"-dev-listen-address=127.0.0.1:{port}",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "BAO_DEV_ROOT_TOKEN_ID": root, "HOME": str(folder)},
        )
    return Bao(port, root, process, log)


def _is_ready(bao: Bao) -> bool:
    for _ in range(int(START_MAX / LOOK_EVERY)):
        if bao.has_answered():
            return True
        if bao.has_ended_within(LOOK_EVERY):
            return False
    return False


def _stop(bao: Bao) -> None:
    bao._process.terminate()
    if not bao.has_ended_within(STOP_MAX):
        bao._process.kill()
        bao._process.wait()
