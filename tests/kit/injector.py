"""A real injector: `python -m sidecar injector` on a free port, its files as the kubelet mounts them, always reaped."""

import json
import ssl
import sys
from pathlib import Path

import aiohttp

from tests.kit.admission import OWN, Json, answered, body
from tests.kit.certificates import Authority
from tests.kit.mount import Mount
from tests.kit.process import Process, free_ports

LEAVE = "20s"  # Longer than a test waits: what ends sooner was told to hurry.


def injecting(options: dict[str, str]) -> list[str]:
    """Give the command with these options."""
    return [sys.executable, "-m", "sidecar", "injector", *(part for option in options.items() for part in option)]


class InjectorProcess(Process):
    """One `sidecar injector`, from ready to gone, in front of it an API server that trusts one authority."""

    def __init__(
        self, directory: Path, fragments: dict[str, Json], *, leave: str = LEAVE, is_ready: bool = True
    ) -> None:
        super().__init__(directory, "", is_ready=is_ready)
        self.authority = Authority()
        self.configs, self.tls = Mount(directory / "configs"), Mount(directory / "tls")
        (self.port,) = free_ports(1)
        self.url = f"https://localhost:{self.port}"
        self.write_fragments(fragments)
        self.write_certificate(self.authority)
        self.options = {
            "--configs": str(self.configs.path),
            "--namespace": OWN,
            "--leave": leave,
            "--certificate": str(self.tls.path / "tls.crt"),
            "--key": str(self.tls.path / "tls.key"),
            "--listen": f"127.0.0.1:{self.port}",
        }
        self._command = injecting(self.options)

    def write_fragments(self, fragments: dict[str, Json]) -> None:
        """Swap the fragments."""
        self.configs.write({f"{name}.json": json.dumps(data) for name, data in fragments.items()})

    def write_certificate(self, authority: Authority) -> None:
        """Swap the certificate for a fresh one of this authority's."""
        chain, key, _ = authority.pems("localhost", "127.0.0.1")
        self.tls.write({"tls.crt": chain, "tls.key": key})

    def connector(self, tls: ssl.SSLContext | None = None) -> aiohttp.TCPConnector:
        """Give what connects as the API server does, trusting the authority alone."""
        return aiohttp.TCPConnector(ssl=tls or self.authority.client())

    async def ask(self, review: Json) -> Json:
        """Ask on a connection of its own, and give the response."""
        async with (
            aiohttp.ClientSession(connector=self.connector()) as session,
            session.post(
                f"{self.url}/inject?timeout=10s", data=body(review), headers={"Content-Type": "application/json"}
            ) as answer,
        ):
            assert answer.status == 200
            return answered(await answer.read(), review)

    async def get(self, path: str) -> tuple[int, str]:
        """Ask as a probe does: the kubelet does not look at certificates."""
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        async with (
            aiohttp.ClientSession(connector=self.connector(blind)) as session,
            session.get(f"{self.url}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def metric(self, name: str) -> float:
        """Give the value of a series, such as `a{b="c"}`."""
        _, text = await self.get("/metrics")
        return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))

    async def _is_ready(self, _: aiohttp.ClientSession) -> bool:
        try:
            return (await self.get("/readyz"))[0] == 200
        except aiohttp.ClientConnectionError:
            return False
