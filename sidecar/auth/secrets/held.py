"""Held: the secrets that a generation uses, in memory, kept current; what is held outlives an outage of its store."""

import asyncio
import json
from collections.abc import Callable, Container, Mapping
from functools import partial

from sidecar.auth.secrets.known import FORGET_AFTER, Know, Known
from sidecar.auth.secrets.pace import Pace
from sidecar.auth.secrets.store import SecretEnded, SecretStore, StoreFailed
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.core.tasks import Tasks
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.redact import TooManyValues, forms

Notice = Callable[..., None]  # Writes a log line: notice(level, msg, **fields).


AT_ONCE = 4  # Values of one store that are read beside each other. More: after these.


def _nothing() -> None:
    """Stand in for somebody who does not mind a loss."""


class Held:
    """One secret, current or last known. `secret` is None until it could be read; `problem` says why."""

    __slots__ = (
        "_listeners", "_losses", "changed_at", "confirmed_at", "known", "problem", "ref", "secret", "source_version"
    )  # fmt: skip

    def __init__(self, ref: SecretRef, known: Known) -> None:
        self.ref = ref
        self.known = known
        self.secret: Secret | None = None
        self.problem = "the secret has not been read yet"
        self.source_version = ""  # Of the whole stored value, also when only a field of it is used.
        self.changed_at = 0.0  # Monotonic: when a value other than the one before was read.
        self.confirmed_at = 0.0  # Monotonic: when the store last said that this is the value.
        self._listeners: list[Callable[[Secret], None]] = []
        self._losses: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[Secret], None], lost: Callable[[], None] = _nothing) -> Callable[[], None]:
        """Call `listener` with the value now, if there is one, and with each new one; until what is given is called.

        `lost` is called when the last value became too old to be used (`stale_max`), or ended with its lease.
        """
        self._listeners.append(listener)
        self._losses.append(lost)
        if self.secret is not None:
            listener(self.secret)
        return partial(self._let_go, listener, lost)

    def _let_go(self, listener: Callable[[Secret], None], lost: Callable[[], None]) -> None:
        self._listeners.remove(listener)
        self._losses.remove(lost)

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

    def lose(self) -> None:
        """Give the last value up: it has ended, or nobody could say for too long whether it still holds."""
        self.secret = None
        self.source_version = ""
        for lost in self._losses:
            lost()


class HeldSecrets:
    """All secrets of one generation, by reference; each store is asked at its own pace, and none waits for another."""

    def __init__(
        self,
        stores: Mapping[str, SecretStore],
        notice: Notice,
        know: Know,
        clock: Clock,
        metrics: Metrics,
        tasks: Tasks,
        jitter: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self.stores = stores
        self._notice = notice
        self._tasks = tasks
        self._jitter = jitter
        self._paces = {name: Pace(store.poll_s, store.stale_max) for name, store in stores.items()}
        self._reading: dict[str, asyncio.Task[None]] = {}  # At most one for each store.
        self.know = know  # Hands the forms of a value to the redactor.
        self.values: dict[SecretRef, Held] = {}

    def store(self, ref: SecretRef) -> SecretStore:
        """Give the store that a reference names."""
        return self.stores[ref.store]

    def inherit(self, previous: "HeldSecrets", stores: Container[str]) -> None:
        """Take over the last values of these stores: they are no other than before, and may be away just now."""
        for ref, before in previous.values.items():
            if ref.store not in stores or before.secret is None:
                continue
            held = self.hold(ref)
            held.known.add(forms(before.secret.reveal()))
            self._show_ages(held)
            held.changed_at, held.confirmed_at = before.changed_at, before.confirmed_at
            held.source_version = before.source_version
            held.put(before.secret)
            held.problem = before.problem

    def hold(self, ref: SecretRef) -> Held:
        """Give the held secret for `ref`; the same one for the same reference."""
        held = self.values.get(ref)
        if held is None:
            held = self.values[ref] = Held(ref, Known(self.know))
            self._show(held)
            self._paces[ref.store].hurry()
        return held

    def forget_others(self, refs: Container[SecretRef]) -> None:
        """Let go of the secrets that no service names any more."""
        for ref in [ref for ref in self.values if ref not in refs]:
            held = self.values.pop(ref)
            held.known.forget()
            self._metrics.unwatch(held)

    async def refresh(self) -> None:
        """Ask all stores now, and wait for them: each bounds its own time."""
        for pace in self._paces.values():
            pace.hurry()
        self.look()
        while self._reading:
            await asyncio.wait(list(self._reading.values()))
            self.look()  # What was asked for while a store was being read.

    def look(self) -> None:
        """Begin to read what is due; a store that is slow delays nobody."""
        now = self._clock.now()
        for name, pace in self._paces.items():
            if name not in self._reading and pace.due_at <= now and any(ref.store == name for ref in self.values):
                task = self._tasks.spawn(self._read_all(name), f"secrets of {name}")
                self._reading[name] = task
                task.add_done_callback(partial(self._read_ended, name))

    def hurry(self, ref: SecretRef) -> None:
        """Ask the store of `ref` again now, whatever its pace: the value was refused."""
        self._paces[ref.store].hurry()
        self.look()

    async def close(self, successor: "HeldSecrets | None" = None) -> None:
        """Let go of the stores' connections, logins and leases, but for those that the successor goes on with.

        Where there is one, calls under way may still carry what these stores gave, and a lease or a login that is
        given back takes that away: so a store is closed as late as its values are forgotten, or as the process ends.
        """
        for task in list(self._reading.values()):
            task.cancel()
        kept = list(successor.stores.values()) if successor is not None else []
        closing = [store for store in self.stores.values() if store not in kept]
        try:
            if closing and successor is not None:
                await self._clock.sleep(FORGET_AFTER)
        finally:
            tasks = [self._tasks.spawn(store.close(), "secret store") for store in closing]
            if tasks:
                await asyncio.wait(tasks)

    def _read_ended(self, name: str, task: "asyncio.Task[None]") -> None:
        if self._reading.get(name) is task:
            del self._reading[name]

    async def _read_all(self, name: str) -> None:
        """Read what has changed, or could not be read before. What fails keeps its last value, and says so once."""
        store, pace = self.stores[name], self._paces[name]
        pace.begin()
        documents: dict[str, list[Held]] = {}
        for held in self.values.values():
            if held.ref.store == name:
                documents.setdefault(held.ref.path, []).append(held)
        paths = list(documents)
        answered: list[bool] = []
        for start in range(0, len(paths), AT_ONCE):
            some = [
                self._tasks.spawn(self._read_document(store, path, documents[path]), f"secrets of {name}")
                for path in paths[start : start + AT_ONCE]
            ]
            try:
                await asyncio.wait(some)
            finally:
                for task in some:
                    task.cancel()
            answered += [task.result() for task in some]
        pace.done(self._clock.now(), self._jitter(), is_well=all(answered))

    async def _read_document(self, store: SecretStore, path: str, several: list[Held]) -> bool:
        """Read one stored value for all who use a part of it; say whether the store answered."""
        try:
            version = several[0].source_version
            is_known = all(held.secret is not None and held.source_version == version for held in several)
            stored = None
            if not is_known or await store.has_changed(path, version):
                stored = await store.fetch(path)
        except StoreFailed as failure:
            for held in several:
                self._failed(held, str(failure), has_ended=isinstance(failure, SecretEnded))
            return False
        for held in several:
            held.confirmed_at = self._clock.now()
            if stored is None:
                self._still(held)
            elif self.values.get(held.ref) is held:  # Not let go of while it was read.
                self._take(held, stored)
        return True

    def _still(self, held: Held) -> None:
        if held.problem and held.secret is not None:
            # An outage is over: what is there is what we hold, and the next outage is news.
            held.problem = ""
            self._notice("info", "secret_read", secret=str(held.ref), version=held.secret.version)

    def _take(self, held: Held, stored: Secret) -> None:
        if stored.version == held.source_version:
            self._still(held)
            return
        try:
            secret = field_of(stored, held.ref)
            held.known.add(forms(secret.reveal()))
        except (StoreFailed, TooManyValues) as failure:
            self._failed(held, str(failure))
            return
        self._note_age(held, secret)
        held.source_version = stored.version
        held.put(secret)
        self._notice("info", "secret_read", secret=str(held.ref), version=secret.version)

    def _failed(self, held: Held, why: str, *, has_ended: bool = False) -> None:
        if has_ended and held.secret is not None:
            held.lose()
            held.problem = why
            self._notice("error", "secret_ended", secret=str(held.ref), error=why)
            return
        if why != held.problem:
            held.problem = why
            self._notice("error", "secret_unreadable", secret=str(held.ref), error=why)
        stale_max = self._paces[held.ref.store].stale_max
        if held.secret is not None and self._clock.now() - held.confirmed_at > stale_max:
            held.lose()
            held.problem = f"{why}; the last value is older than stale_max = {stale_max:g} s"
            self._notice("error", "secret_stale", secret=str(held.ref), error=held.problem)

    def _note_age(self, held: Held, secret: Secret) -> None:
        """Begin the age anew with another value; the same value written once more is no rotation."""
        now = self._clock.now
        if held.secret is None or held.secret.reveal() != secret.reveal():
            held.changed_at = now()
        if held.secret is None:
            self._show_ages(held)

    def _show(self, held: Held) -> None:
        self._metrics.watch("sidecar_secret_usable", (held.ref,), lambda: float(held.secret is not None), held)

    def _show_ages(self, held: Held) -> None:
        now = self._clock.now
        self._metrics.unwatch(held)
        self._show(held)
        self._metrics.watch("sidecar_secret_age_seconds", (held.ref,), lambda: now() - held.changed_at, held)
        unconfirmed = partial(_unconfirmed, held, now)
        self._metrics.watch("sidecar_secret_unconfirmed_seconds", (held.ref,), unconfirmed, held)


def _unconfirmed(held: Held, now: Callable[[], float]) -> float:
    return now() - held.confirmed_at if held.problem else 0.0


def field_of(stored: Secret, ref: SecretRef) -> Secret:
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
