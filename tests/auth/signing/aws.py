"""moto's server as the judge of signatures: after some free calls it computes each signature anew, with botocore."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import Request, urlopen

START_LINES_MAX = 50  # Of what the server writes before it listens.
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
ROLE = "arn:aws:iam::123456789012:role/pod"
# Made before the judge begins to judge.
_FREE: list[dict[str, str]] = [
    {"Action": "CreateUser", "UserName": "pod"},
    {"Action": "PutUserPolicy", "UserName": "pod", "PolicyName": "all", "PolicyDocument": EVERYTHING},
    {"Action": "CreateRole", "RoleName": "pod", "AssumeRolePolicyDocument": EVERYTHING},
    {"Action": "PutRolePolicy", "RoleName": "pod", "PolicyName": "all", "PolicyDocument": EVERYTHING},
    {"Action": "CreateAccessKey", "UserName": "pod"},
]


class Judge(NamedTuple):
    """A running server, and the keys of the one user it knows."""

    port: int
    access_key: str
    secret_key: str

    @property
    def authority(self) -> bytes:
        """What stands in Host."""
        return f"127.0.0.1:{self.port}".encode()

    def let_in(self, calls: int) -> None:
        """Have it judge nothing for so many calls: it cannot take those that nobody signs, such as web identity's."""
        request = Request(
            f"http://127.0.0.1:{self.port}/moto-api/reset-auth",
            data=str(calls).encode(),
            headers={"Content-Type": "text/plain"},
        )
        with urlopen(request, timeout=30) as answer:
            assert answer.status == 200


@contextmanager
def judging() -> Iterator[Judge]:
    """Run the server."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
    with subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(len(_FREE))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, b"")
        assert any(b"Running on" in line for line, _ in zip(lines, range(START_LINES_MAX), strict=False))
        drain = threading.Thread(target=lambda: [None for _ in lines], daemon=True)  # Else its pipe fills up.
        drain.start()
        try:
            answers = [_ask_iam(port, form) for form in _FREE]
            access_key, secret_key = (
                re.findall(f"<{name}>([^<]+)</{name}>", answers[-1])[0] for name in ("AccessKeyId", "SecretAccessKey")
            )
            yield Judge(port, access_key, secret_key)
        finally:
            process.kill()
            drain.join()


def _ask_iam(port: int, form: dict[str, str]) -> str:
    scope = "Credential=none/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    request = Request(
        f"http://127.0.0.1:{port}/",
        data=urlencode({**form, "Version": "2010-05-08"}).encode(),
        headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"},
    )
    with urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())
