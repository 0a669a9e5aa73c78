"""Ask: the admin API of the sidecar that runs in this pod, for the command line; blocking, standard library only."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from sidecar.core.address import Address

_TIMEOUT = 5.0  # Seconds for each step; the answer is a snapshot from memory.
_ANSWER_MAX = 16 * 1024 * 1024  # Bytes. Longer: refused; no snapshot is.


class Unreachable(Exception):
    """There is no answer; the sentence says why and what helps."""


class Refused(Unreachable):
    """The sidecar says no; the sentence is its own."""


def ask(address: str, path: str, told: Mapping[str, str] | None = None, method: str = "GET") -> Any:
    """GET `path` from the admin listener at `address`, decoded; with `told`, POST it there.

    Raises Unreachable; Refused, which is one, with the sidecar's own sentence where it says no.
    """
    body, headers = None, {"Host": "localhost"}
    if told is not None:
        method, body = "POST", json.dumps(told)
        headers["Content-Type"] = "application/json"
    connection = _connection(Address.parse(address))
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        content = answer.read(_ANSWER_MAX + 1)
    except (ConnectionRefusedError, FileNotFoundError):
        raise Unreachable(f"no sidecar listens at {address}; start one with: sidecar run") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the sidecar at {address} did not answer: {str(error) or type(error).__name__}") from None
    finally:
        connection.close()
    if answer.getheader("Content-Type", "").startswith("application/problem+json") and len(content) <= _ANSWER_MAX:
        raise Refused(_detail(content))
    if answer.status != http.client.OK or len(content) > _ANSWER_MAX:
        raise Unreachable(f"what listens at {address} answered {answer.status} to {method} {path}; is it a sidecar?")
    try:
        return json.loads(content)
    except ValueError:
        raise Unreachable(f"what listens at {address} did not answer with JSON; is it a sidecar?") from None


def _detail(content: bytes) -> str:
    try:
        detail = json.loads(content)["detail"]
    except (ValueError, KeyError, TypeError):
        return "it said no, and not why"
    return str(detail)


def _connection(address: Address) -> http.client.HTTPConnection:
    if address.path:
        return _UnixConnection(address.path)
    return http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT)
        self.sock.connect(self._path)
