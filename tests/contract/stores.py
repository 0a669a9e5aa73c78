"""The secret stores that the contract is held against, each over its real server. A new kind joins ALL.

A place is one store with the operator's side of it: what others write there, and its outages. Its server, if it has
one, is started once in a session (`serve`); a place makes corners of its own in it, so that tests do not meet.
"""

import asyncio
import base64
import contextlib
import json
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sidecar.auth.secrets.aws.store import AwsStore
from sidecar.auth.secrets.file import FileStore, FileStoreConfig
from sidecar.auth.secrets.gcp.store import GcpStore
from sidecar.auth.secrets.store import SecretStore
from sidecar.auth.secrets.vault.config import AppRole, VaultAddress, VaultStoreConfig
from sidecar.auth.secrets.vault.dynamic import DynamicStore
from sidecar.auth.secrets.vault.store import VaultStore
from tests.auth.secrets import aws, gcp
from tests.auth.secrets.scripted import Scripted
from tests.contract import bao
from tests.contract.bao import Bao
from tests.contract.connecting import Connecting
from tests.contract.dynamic import Engine
from tests.contract.gate import Gate
from tests.kit.clock import ManualClock
from tests.kit.valkey import Valkey


def chance() -> float:
    """The middle of everything that is left to chance."""
    return 0.5


class Place(ABC):
    """One store and its operator. `clock` is the store's."""

    name: ClassVar[str]
    serve: ClassVar[Callable[[], AbstractContextManager[Any]]] = contextlib.nullcontext
    has_previous: ClassVar[bool] = True  # Whether `fetch_previous` gives the value before the current one.
    has_check_and_set: ClassVar[bool] = True  # Whether of two writers at the same moment exactly one wins.
    slash: ClassVar[str] = "/"  # What stands between the parts of a path.
    folder_name: ClassVar[str] = "production"  # The first part of a path.
    is_written: ClassVar[bool] = True  # Whether `write` says what the value is; where not, there is one at least.

    def __init__(self, server: Any, folder: Path, clock: ManualClock) -> None:
        self.server = server
        self.folder = folder
        self.clock = clock
        self.notices: list[tuple[str, str, dict[str, Any]]] = []  # What the store had to say: level, msg, fields.

    @abstractmethod
    async def start(self) -> SecretStore:
        """Make an empty corner, and open a store on it; called twice, a second store on the same corner."""

    @abstractmethod
    async def write(self, path: str, value: dict[str, Any]) -> None:
        """Write a JSON object, as an operator would, past the store; over what is there."""

    @abstractmethod
    async def remove(self, path: str) -> None:
        """Delete it, as an operator would."""

    @abstractmethod
    async def break_off(self) -> None:
        """Take the server, or the mount, away."""

    @abstractmethod
    async def heal(self) -> None:
        """Bring it back, with what was written."""

    async def stop(self) -> None:
        """Clear up; the stores are closed already."""
        self.notices.clear()

    def note(self, level: str, msg: str, **fields: Any) -> None:
        """Take a line for the log."""
        self.notices.append((level, msg, fields))


class FilePlace(Place):
    """A mounted directory."""

    name = "file"
    has_previous = False

    async def start(self) -> SecretStore:
        """Open a store on a directory."""
        self._mounted.mkdir(exist_ok=True)
        return FileStore(FileStoreConfig(path=str(self._mounted)))

    async def write(self, path: str, value: dict[str, Any]) -> None:
        """Replace the file, as an agent or a person does."""
        place = self._mounted / path
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = place.with_name("fresh")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(value))
        fresh.replace(place)

    async def remove(self, path: str) -> None:
        """Delete the file."""
        (self._mounted / path).unlink()

    async def break_off(self) -> None:
        """Unmount."""
        self._mounted.rename(self.folder / "away")

    async def heal(self) -> None:
        """Mount again."""
        (self.folder / "away").rename(self._mounted)

    @property
    def _mounted(self) -> Path:
        return self.folder / "mounted"


class _VaultPlace(Place):
    """A mount of its own, with a role that may do everything there and nothing else."""

    serve: ClassVar[Callable[[], AbstractContextManager[Any]]] = staticmethod(bao.serving)
    version: ClassVar[int]
    server: Bao

    async def start(self) -> SecretStore:
        """Log in by approle, through a gate."""
        if not hasattr(self, "_gate"):
            self._gate = Gate(self.server.port)
            await self._gate.open()
            self._mount = self.server.mount(self.version)
            self._auth = approle(self.server, self.server.policy_for(self._mount), self.folder)
        config = VaultStoreConfig(
            address=VaultAddress.parse(f"http://127.0.0.1:{self._gate.port}"), auth=self._auth, mount=self._mount
        )
        return VaultStore(config, self.clock, chance, Connecting(self.clock).network, self.note)

    async def break_off(self) -> None:
        """Cut the way to the server."""
        await self._gate.shut()

    async def heal(self) -> None:
        """Open the way, after the pause that a failed login makes."""
        await self._gate.open()
        await self.clock.advance(1)

    async def stop(self) -> None:
        """Leave nothing open."""
        await self._gate.shut()


class VaultOnePlace(_VaultPlace):
    """The key-value engine without versions."""

    name = "vault-kv1"
    version = 1
    has_previous = False
    has_check_and_set = False

    async def write(self, path: str, value: dict[str, Any]) -> None:
        """Write over it."""
        self.server.ask("POST", f"{self._mount}/{path}", value)

    async def remove(self, path: str) -> None:
        """Delete it."""
        self.server.ask("DELETE", f"{self._mount}/{path}")


class VaultTwoPlace(_VaultPlace):
    """The key-value engine that counts versions."""

    name = "vault-kv2"
    version = 2

    async def write(self, path: str, value: dict[str, Any]) -> None:
        """Write a new version."""
        self.server.ask("POST", f"{self._mount}/data/{path}", {"data": value})

    async def remove(self, path: str) -> None:
        """Delete the current version, softly."""
        self.server.ask("DELETE", f"{self._mount}/data/{path}")


class VaultDynamicPlace(_VaultPlace):
    """A database engine, which makes users of a Valkey; an operator writes roles there, and no values."""

    name = "vault-dynamic"
    folder_name = "creds"
    is_written = False

    def __init__(self, server: Any, folder: Path, clock: ManualClock) -> None:
        super().__init__(server, folder, clock)
        self._stack = contextlib.ExitStack()

    async def start(self) -> SecretStore:
        """Log in by approle, through a gate."""
        if not hasattr(self, "_gate"):
            valkey = await asyncio.to_thread(self._stack.enter_context, Valkey.serving())
            self._engine = Engine(self.server, valkey)
            self._gate = Gate(self.server.port)
            await self._gate.open()
            self._auth = approle(self.server, self._engine.policy(), self.folder)
        config = VaultStoreConfig(
            address=VaultAddress.parse(f"http://127.0.0.1:{self._gate.port}"),
            auth=self._auth,
            engine="dynamic",
            mount=self._engine.mount,
        )
        return DynamicStore(config, self.clock, chance, Connecting(self.clock).network, self.note)

    async def write(self, path: str, value: dict[str, Any]) -> None:  # noqa: ARG002 - the engine makes the value
        """Make a role."""
        self._engine.role(name=path.removeprefix("creds/"))

    async def remove(self, path: str) -> None:
        """Delete the role."""
        self._engine.remove(path)

    async def stop(self) -> None:
        """Leave nothing open."""
        await super().stop()
        await asyncio.to_thread(self._stack.close)


def approle(server: Bao, policy: str, folder: Path, namespace: str | None = None, **settings: object) -> AppRole:
    """Make a role, and the file with its secret id."""
    mount = server.auth_method("approle", namespace=namespace)
    server.ask(
        "POST",
        f"auth/{mount}/role/pod",
        {"token_policies": [policy], "token_ttl": "1h", **settings},
        namespace=namespace,
    )
    role_id = server.ask("GET", f"auth/{mount}/role/pod/role-id", namespace=namespace)["data"]["role_id"]
    made = server.ask("POST", f"auth/{mount}/role/pod/secret-id", {}, namespace=namespace)["data"]["secret_id"]
    file = folder / f"{mount}-secret-id"
    file.touch(mode=0o600)
    file.write_text(f"{made}\n")
    return AppRole(role_id=role_id, secret_id_file=str(file), mount=mount)


class MotoPlace(Place):
    """AWS Secrets Manager on moto's server, which refuses the id of a version that is in use, as AWS does."""

    name = "aws-moto"
    serve: ClassVar[Callable[[], AbstractContextManager[Any]]] = staticmethod(contextlib.contextmanager(aws.moto))
    reset: ClassVar[str] = "/moto-api/reset"
    server: str

    async def start(self) -> SecretStore:
        """Empty the server, and open a store with keys of its own, through a gate."""
        if not hasattr(self, "_gate"):
            self._gate = Gate(int(self.server.rpartition(":")[2]))
            await self._gate.open()
            await asyncio.to_thread(ask, "POST", f"{self.server}{self.reset}")
            self._admin = aws.administrator(self.server)
            self._patch = pytest.MonkeyPatch()
            aws.plain_environment(self._patch, self.folder)
            aws.keys(self._patch)
        return AwsStore(aws.config(f"http://127.0.0.1:{self._gate.port}"), self.clock, Connecting(self.clock).network)

    async def write(self, path: str, value: dict[str, Any]) -> None:
        """Write a new version."""
        await asyncio.to_thread(self._write, path, json.dumps(value))

    def _write(self, path: str, value: str) -> None:
        try:
            self._admin.put_secret_value(SecretId=path, SecretString=value)
        except self._admin.exceptions.ResourceNotFoundException:
            self._admin.create_secret(Name=path, SecretString=value)

    async def remove(self, path: str) -> None:
        """Mark it for deletion."""
        await asyncio.to_thread(self._admin.delete_secret, SecretId=path)

    async def break_off(self) -> None:
        """Cut the way to the server."""
        await self._gate.shut()

    async def heal(self) -> None:
        """Open the way."""
        await self._gate.open()

    async def stop(self) -> None:
        """Leave nothing open."""
        await self._gate.shut()
        self._patch.undo()


class MinistackPlace(MotoPlace):
    """The same on ministack, which takes the id of a version twice."""

    name = "aws-ministack"
    serve: ClassVar[Callable[[], AbstractContextManager[Any]]] = staticmethod(contextlib.contextmanager(aws.ministack))
    reset = "/_ministack/reset"
    has_check_and_set = False


class GcpPlace(Place):
    """Google Secret Manager on drongo; its names have no slash."""

    name = "gcp"
    serve: ClassVar[Callable[[], AbstractContextManager[Any]]] = staticmethod(contextlib.contextmanager(gcp.drongo))
    has_check_and_set = False
    slash = "-"
    server: str

    async def start(self) -> SecretStore:
        """Empty the server, and open a store through a gate, with a metadata server beside it."""
        if not hasattr(self, "_gate"):
            self._gate = Gate(int(self.server.rpartition(":")[2]))
            await self._gate.open()
            await asyncio.to_thread(ask, "POST", f"{self.server}/drongo/reset")
            self._metadata = Scripted(gcp.Google())
            await self._metadata.__aenter__()
            self._patch = pytest.MonkeyPatch()
            self._patch.setenv("GCE_METADATA_HOST", self._metadata.host)
        return GcpStore(gcp.config(f"http://127.0.0.1:{self._gate.port}"), self.clock, Connecting(self.clock).network)

    async def write(self, path: str, value: dict[str, Any]) -> None:
        """Add a version."""
        with contextlib.suppress(urllib.error.HTTPError):  # It is there.
            await asyncio.to_thread(ask, "POST", f"{self._secrets}?secretId={path}", {})
        payload = {"data": base64.b64encode(json.dumps(value).encode()).decode()}
        await asyncio.to_thread(ask, "POST", f"{self._secrets}/{path}:addVersion", {"payload": payload})

    async def remove(self, path: str) -> None:
        """Delete it with all its versions."""
        await asyncio.to_thread(ask, "DELETE", f"{self._secrets}/{path}")

    async def break_off(self) -> None:
        """Cut the way to the server."""
        await self._gate.shut()

    async def heal(self) -> None:
        """Open the way."""
        await self._gate.open()

    async def stop(self) -> None:
        """Leave nothing open."""
        await self._gate.shut()
        await self._metadata.__aexit__(None, None, None)
        self._patch.undo()

    @property
    def _secrets(self) -> str:
        return f"{self.server}/v1/projects/{gcp.PROJECT}/secrets"


def ask(method: str, url: str, body: object = None) -> None:
    """Ask a server on loopback as its operator; raises HTTPError for a no."""
    content = None if body is None else json.dumps(body).encode()
    urllib.request.urlopen(urllib.request.Request(url, data=content, method=method), timeout=10).close()


ALL: list[type[Place]] = [
    FilePlace, VaultOnePlace, VaultTwoPlace, VaultDynamicPlace, MotoPlace, MinistackPlace, GcpPlace,
]  # fmt: skip
STORES = [place for place in ALL if place.is_written]
