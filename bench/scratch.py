"""Scratch: the directory of one run, with a throw-away certificate and a throw-away secret; removed at its end."""

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch() -> Iterator[Path]:
    """Make the directory: cert.pem, key.pem (for localhost and 127.0.0.1), secrets/bench."""
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as name:
        path = Path(name)
        path.chmod(0o755)  # nginx's workers run as another user when root started them.
        _make_certificate(path)
        _make_secret(path)
        yield path


def write(path: Path, text: str) -> Path:
    """Write a file, and give its path."""
    path.write_text(text)
    return path


def _make_certificate(path: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", path / "key.pem", "-out", path / "cert.pem", "-days", "30", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )


def _make_secret(path: Path) -> None:
    directory = path / "secrets"
    directory.mkdir(mode=0o700)
    secret = directory / "bench"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(16) + "\n")
