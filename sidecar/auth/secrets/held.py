"""Held: the secrets that a generation uses, in memory, kept current; what is held outlives an outage of its store."""

import json
from collections.abc import Callable, Container, Iterable, Mapping

from sidecar.auth.secrets.store import SecretStore, StoreFailed
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.telemetry.redact import forms

Notice = Callable[..., None]  # Writes a log line: notice(level, msg, **fields).


Know = Callable[[Iterable[bytes]], Callable[[], None]]  # Has values masked in the log, until the function it gives.
VALUES_KEPT = 2  # Calls under way may still carry the value before the last. Full: the oldest is forgotten.


class Known:
    """What the log masks for one owner, as its value changes."""

    __slots__ = ("_forgets", "_know")

    def __init__(self, know: Know) -> None:
        self._know = know
        self._forgets: list[Callable[[], None]] = []

    def add(self, patterns: Iterable[bytes]) -> None:
        """Mask the forms of a new value, too, and forget those of old ones: rotation has no end, the table has one."""
        if len(self._forgets) >= VALUES_KEPT:
            self._forgets.pop(0)()
        self._forgets.append(self._know(patterns))


class Held:
    """One secret, current or last known. `secret` is None until it could be read; `problem` says why."""

    __slots__ = ("_listeners", "known", "problem", "ref", "secret", "source_version")

    def __init__(self, ref: SecretRef, known: Known) -> None:
        self.ref = ref
        self.known = known
        self.secret: Secret | None = None
        self.problem = "the secret has not been read yet"
        self.source_version = ""  # Of the whole stored value, also when only a field of it is used.
        self._listeners: list[Callable[[Secret], None]] = []

    def on_change(self, listener: Callable[[Secret], None]) -> None:
        """Call `listener` with the value now, if there is one, and with each new one."""
        self._listeners.append(listener)
        if self.secret is not None:
            listener(self.secret)

    def reveal_as(self, form: Callable[[bytes], bytes]) -> bytes:
        """Give the value in the form of a header. Raises CredentialUnavailable while there is none."""
        if self.secret is None:
            raise CredentialUnavailable(f"reading a secret from its store failed: {self.problem}")
        return form(self.secret.reveal())

    def put(self, secret: Secret) -> None:
        """Take a new value and tell the listeners."""
        self.secret = secret
        self.problem = ""
        for listener in self._listeners:
            listener(secret)


class HeldSecrets:
    """All secrets of one generation, by reference."""

    def __init__(self, stores: Mapping[str, SecretStore], notice: Notice, know: Know) -> None:
        self._stores = stores
        self._notice = notice
        self._know = know  # Hands the forms of a value to the redactor.
        self._held: dict[SecretRef, Held] = {}

    def hold(self, ref: SecretRef) -> Held:
        """Give the held secret for `ref`; the same one for the same reference."""
        return self._held.setdefault(ref, Held(ref, Known(self._know)))

    def forget_others(self, refs: Container[SecretRef]) -> None:
        """Let go of the secrets that no service names any more."""
        for ref in [ref for ref in self._held if ref not in refs]:
            del self._held[ref]

    async def refresh(self) -> None:
        """Read what has changed, or could not be read before. What fails keeps its last value, and says so once."""
        for held in list(self._held.values()):
            store = self._stores[held.ref.store]
            if held.secret is not None and not await store.has_changed(held.ref.path, held.source_version):
                held.problem = ""  # Also after an outage: what is there is what we hold, and the next outage is news.
                continue
            await self._read(held, store)

    async def _read(self, held: Held, store: SecretStore) -> None:
        try:
            stored = await store.fetch(held.ref.path)
            secret = _field(stored, held.ref)
        except StoreFailed as failure:
            if str(failure) != held.problem:
                held.problem = str(failure)
                self._notice("error", "secret_unreadable", secret=str(held.ref), error=held.problem)
            return
        if stored.version == held.source_version:
            return
        held.source_version = stored.version
        held.known.add(forms(secret.reveal()))
        held.put(secret)
        self._notice("info", "secret_read", secret=str(held.ref), version=secret.version)


def _field(stored: Secret, ref: SecretRef) -> Secret:
    """Take the field that the reference names out of a stored JSON object. Raises StoreFailed."""
    if ref.field is None:
        return stored
    try:
        document = json.loads(stored.reveal())
    except ValueError:
        # Not chained: the error of the JSON reader holds the document.
        raise StoreFailed(f"{ref.store}:{ref.path} is not JSON, so it has no field {ref.field}") from None
    value = document.get(ref.field) if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        raise StoreFailed(f"{ref.store}:{ref.path} has no text in its field {ref.field}")
    return Secret(value.encode(), stored.version)
