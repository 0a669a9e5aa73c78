"""Held: the secrets that a generation uses, in memory, kept current; what is held outlives an outage of its store."""

import json
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial

from sidecar.auth.secrets.store import SecretStore, StoreFailed
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.redact import TooManyValues, forms

Notice = Callable[..., None]  # Writes a log line: notice(level, msg, **fields).


Know = Callable[[Iterable[bytes]], Callable[[], None]]  # Has values masked in the log, until the function it gives.
FORGET_AFTER = 60.0  # Seconds. Calls under way may carry the credential of a generation that is gone.
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

    def forget(self) -> None:
        """Forget all of them: the owner goes away."""
        while self._forgets:
            self._forgets.pop()()


def forgetting_late(know: Know, clock: Clock) -> Know:
    """Have values masked for FORGET_AFTER seconds longer than their owners ask for."""

    def know_longer(patterns: Iterable[bytes]) -> Callable[[], None]:
        forget = know(patterns)

        def forget_late() -> None:
            clock.call_at(clock.now() + FORGET_AFTER, forget)

        return forget_late

    return know_longer


class Held:
    """One secret, current or last known. `secret` is None until it could be read; `problem` says why."""

    __slots__ = ("_listeners", "changed_at", "known", "problem", "ref", "secret", "source_version")

    def __init__(self, ref: SecretRef, known: Known) -> None:
        self.ref = ref
        self.known = known
        self.secret: Secret | None = None
        self.problem = "the secret has not been read yet"
        self.source_version = ""  # Of the whole stored value, also when only a field of it is used.
        self.changed_at = 0.0  # Monotonic: when a value other than the one before was read.
        self._listeners: list[Callable[[Secret], None]] = []

    def on_change(self, listener: Callable[[Secret], None]) -> Callable[[], None]:
        """Call `listener` with the value now, if there is one, and with each new one; until what is given is called."""
        self._listeners.append(listener)
        if self.secret is not None:
            listener(self.secret)
        return partial(self._listeners.remove, listener)

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

    def __init__(
        self, stores: Mapping[str, SecretStore], notice: Notice, know: Know, clock: Clock, metrics: Metrics
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._stores = stores
        self._notice = notice
        self.know = know  # Hands the forms of a value to the redactor.
        self._held: dict[SecretRef, Held] = {}

    def hold(self, ref: SecretRef) -> Held:
        """Give the held secret for `ref`; the same one for the same reference."""
        return self._held.setdefault(ref, Held(ref, Known(self.know)))

    def forget_others(self, refs: Container[SecretRef]) -> None:
        """Let go of the secrets that no service names any more."""
        for ref in [ref for ref in self._held if ref not in refs]:
            held = self._held.pop(ref)
            held.known.forget()
            self._metrics.unwatch(held)

    async def refresh(self) -> None:
        """Read what has changed, or could not be read before. What fails keeps its last value, and says so once."""
        for held in list(self._held.values()):
            store = self._stores[held.ref.store]
            if held.secret is not None and not await store.has_changed(held.ref.path, held.source_version):
                if held.problem:  # An outage is over: what is there is what we hold, and the next outage is news.
                    held.problem = ""
                    self._notice("info", "secret_read", secret=str(held.ref), version=held.secret.version)
                continue
            await self._read(held, store)

    async def _read(self, held: Held, store: SecretStore) -> None:
        try:
            stored = await store.fetch(held.ref.path)
            if stored.version == held.source_version or self._held.get(held.ref) is not held:
                return  # The latter was let go of while it was read.
            secret = _field(stored, held.ref)
            held.known.add(forms(secret.reveal()))
        except (StoreFailed, TooManyValues) as failure:
            if str(failure) != held.problem:
                held.problem = str(failure)
                self._notice("error", "secret_unreadable", secret=str(held.ref), error=held.problem)
            return
        self._note_age(held, secret)
        held.source_version = stored.version
        held.put(secret)
        self._notice("info", "secret_read", secret=str(held.ref), version=secret.version)

    def _note_age(self, held: Held, secret: Secret) -> None:
        """Begin the age anew with another value; the same value written once more is no rotation."""
        now = self._clock.now
        if held.secret is None or held.secret.reveal() != secret.reveal():
            held.changed_at = now()
        if held.secret is None:
            self._metrics.watch("sidecar_secret_age_seconds", (held.ref,), lambda: now() - held.changed_at, held)


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
