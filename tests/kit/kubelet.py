"""What a kubelet does with the sidecar's container of a rendered pod: its mounts, its command, its probes, its end.

The container's paths lie below a folder of the test's, in which /etc/sidecar is <folder>/etc/sidecar; so the config's
absolute paths are put below it, too. All else is as it was rendered.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from tests.kit.mount import Mount
from tests.kit.process import Process

CONFIG, SECRETS, STATE, SOCKET = "/etc/sidecar", "/etc/sidecar-secrets", "/var/lib/sidecar", "/run/sidecar"


def telemetry_url(container: Mapping[str, Any]) -> str:
    """Give where its probes are asked, from this machine."""
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    return f"http://127.0.0.1:{ports['telemetry']}"


class Container(Process):
    """The container that a pod says, run as a process; `secrets` are the contents of Secret volumes, by their mount."""

    def __init__(
        self, folder: Path, container: Mapping[str, Any], config: str, secrets: Mapping[str, Mapping[str, str]]
    ) -> None:
        super().__init__(folder, "")
        self._folder = folder
        self._container = container
        for mount in container["volumeMounts"]:
            self._inside(mount["mountPath"]).mkdir(parents=True, exist_ok=True)
        self._config = Mount(self._inside(CONFIG))
        self.swap_config(config)
        for place, files in secrets.items():
            Mount(self._inside(place)).write(files)
        self._command = [sys.executable, "-m", "sidecar", *map(self._moved, container["args"])]
        self.telemetry_url = telemetry_url(container)

    def swap_config(self, text: str) -> None:
        """Bring a changed ConfigMap: the directory's `..data` is swapped."""
        self._config.write({"sidecar.toml": self._moved(text)})

    async def probe(self, kind: str) -> bool:
        """Probe as the kubelet does: by the path, on the port of that name."""
        asked = self._container[kind]["httpGet"]
        assert (asked["port"], asked["scheme"]) == ("telemetry", "HTTP")
        timeout = aiohttp.ClientTimeout(total=self._container[kind]["timeoutSeconds"])
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(self.telemetry_url + asked["path"]) as answer,
            ):
                return 200 <= answer.status < 400
        except aiohttp.ClientConnectionError:
            return False

    def _inside(self, path: str) -> Path:
        return self._folder / path.lstrip("/")

    def _moved(self, text: str) -> str:
        for path in (CONFIG, SECRETS, STATE, SOCKET):
            text = text.replace(f"{path}/", f"{self._folder}{path}{os.sep}")
        return text
