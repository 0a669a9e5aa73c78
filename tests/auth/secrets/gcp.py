"""Google Cloud for tests: its metadata server, a strict Secret Manager, and drongo."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from sidecar.auth.secrets.gcp.config import GcpStoreConfig
from sidecar.auth.secrets.gcp.crc32c import crc32c
from sidecar.core.units import Duration
from tests.auth.secrets.servers import serving

PROJECT = "checkout-test"


def drongo() -> Iterator[str]:
    """Run drongo, which keeps versions and looks at no token."""
    with serving("drongo", "server", "--host", "127.0.0.1", "--port", "PORT") as url:
        yield url


def config(url: str, **more: Any) -> GcpStoreConfig:
    """Give the section of a store at `url`."""
    return GcpStoreConfig(
        **{"project": PROJECT, "endpoint": url, "allow_private": True, "timeout": Duration(20), **more}
    )


def refusal(status: int, word: str, reason: str = "", message: str = "") -> web.Response:
    """Refuse as Google does."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    error = {"code": status, "message": message, "status": word, "details": details}
    return web.json_response({"error": error}, status=status)


class Google:
    """A Secret Manager that looks at every call: path, method, token, checksum. With its metadata server."""

    def __init__(self) -> None:
        self.tokens: list[str] = []  # Those handed out; the last one is good.
        self.life: Any = 3599
        self.is_down = False  # The metadata server's answer is 503.
        self.calls: list[str] = []
        self.versions: list[tuple[str, bytes]] = []  # State and value of the secret "stripe", from version 1 on.
        self.says: dict[str, web.Response] = {}  # By a call's end: what is answered in its stead.
        self.checksum_off = 0

    def __call__(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Answer."""
        if request.raw_path == "/computeMetadata/v1/instance/service-accounts/default/token":
            return self._grant(request)
        call = f"{request.method} {request.raw_path}"
        self.calls.append(call)
        assert request.headers.getall("Authorization")[0].startswith("Bearer ")
        if request.headers["Authorization"] != f"Bearer {self.tokens[-1]}":
            return refusal(401, "UNAUTHENTICATED")
        for end, said in self.says.items():
            if call.endswith(end):
                # aiohttp sends an answer object once.
                return web.Response(status=said.status, body=said.body, headers=dict(said.headers))
        return self._answer(call, body)

    def _grant(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.method == "GET"
        assert request.headers["Metadata-Flavor"] == "Google"
        assert "Authorization" not in request.headers
        if self.is_down:
            return web.Response(status=503)
        self.tokens.append(f"token-{len(self.tokens)}")
        granted = {"access_token": self.tokens[-1], "expires_in": self.life, "token_type": "Bearer"}
        return web.json_response(granted, headers={"Metadata-Flavor": "Google"})

    def _answer(self, call: str, body: bytes) -> web.StreamResponse:
        secret = f"/v1/projects/{PROJECT}/secrets/stripe"
        if call == f"POST {secret}:addVersion":
            payload = json.loads(body)["payload"]
            value = base64.b64decode(payload["data"], validate=True)
            assert payload["dataCrc32c"] == str(crc32c(value))
            self.versions.append(("ENABLED", value))
            return web.json_response({"name": f"{self._name()}{len(self.versions)}", "state": "ENABLED"})
        method, _, rest = call.partition(f" {secret}/versions/")
        assert method == "GET"
        which, _, verb = rest.partition(":")
        number = len(self.versions) if which == "latest" else int(which)
        if not 0 < number <= len(self.versions):
            return refusal(404, "NOT_FOUND")
        state, value = self.versions[number - 1]
        if not verb:
            return web.json_response({"name": f"{self._name()}{number}", "state": state})
        assert verb == "access"
        if state != "ENABLED":
            return refusal(400, "FAILED_PRECONDITION")
        told = {"data": base64.b64encode(value).decode(), "dataCrc32c": str(crc32c(value) + self.checksum_off)}
        return web.json_response({"name": f"{self._name()}{number}", "payload": told})

    def _name(self) -> str:
        return "projects/123456789012/secrets/stripe/versions/"  # With the project's number, whatever was asked.
