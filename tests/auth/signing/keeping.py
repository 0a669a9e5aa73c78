"""Held secrets for tests, put there by hand."""

from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.core.secret import Secret, SecretRef
from sidecar.telemetry.redact import Redactor

REF = SecretRef.parse("files:key")


def held(value: bytes | None = None, ref: SecretRef = REF) -> Held:
    """Make a held secret; None: it could not be read yet."""
    kept = Held(ref, Known(Redactor().know))
    if value is not None:
        kept.put(Secret(value, "1"))
    return kept


class Told:
    """Keeps what was said to the log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def __call__(self, level: str, msg: str, **fields: object) -> None:
        """Take a line."""
        self.lines.append((level, msg, fields))
