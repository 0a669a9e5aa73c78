"""People: what those who run the sidecar may see and do at `listen.admin`, as the generation at work has it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from sidecar.admin.api import admin_app
from sidecar.admin.events import Events
from sidecar.admin.jobs import Jobs
from sidecar.config.show import as_data
from sidecar.generation import Generation
from sidecar.telemetry.audit.audit import Audit


class _Recorded:
    """The queue, with what people change in it in the audit."""

    def __init__(self, jobs: Jobs, audit: Audit) -> None:
        self.job = jobs.job
        self.jobs = jobs.jobs
        self._jobs = jobs
        self._audit = audit

    async def cancel(self, name: str) -> None:
        await self._jobs.cancel(name)
        self._audit.note("job_cancelled", job=name)

    async def retry(self, name: str) -> None:
        await self._jobs.retry(name)
        self._audit.note("job_retried", job=name)

    async def discard(self, name: str) -> None:
        await self._jobs.discard(name)
        self._audit.note("job_discarded", job=name)


class _RecordedEvents:
    """What vendors sent, with what people change in it in the audit."""

    def __init__(self, events: Events, audit: Audit) -> None:
        self.event = events.event
        self.events = events.events
        self._events = events
        self._audit = audit

    async def cancel(self, name: str) -> None:
        await self._events.cancel(name)
        self._audit.note("event_cancelled", event=name)

    async def retry(self, name: str) -> None:
        await self._events.retry(name)
        self._audit.note("event_retried", event=name)

    async def discard(self, name: str) -> None:
        await self._events.discard(name)
        self._audit.note("event_discarded", event=name)

    async def replay(self, webhook: str, since: float, after: str) -> dict[str, Any]:
        found = await self._events.replay(webhook, since, after)
        self._audit.note("events_replayed", webhook=webhook, events=found["replayed"])
        return found


class People:
    """Asks and leads the generation at work; what changes something is in the audit."""

    def __init__(
        self,
        generation: Callable[[], Generation],
        snapshot: Callable[[], Mapping[str, Any]],
        reload: Callable[[], Awaitable[Mapping[str, Any]]],
        jobs: Jobs,
        events: Events,
        audit: Audit,
        fault: Callable[..., None],
    ) -> None:
        self._generation = generation
        self._snapshot = snapshot
        self._reload = reload
        self._jobs = _Recorded(jobs, audit)
        self._events = _RecordedEvents(events, audit)
        self._audit = audit
        self._fault = fault

    def app(self, hosts: frozenset[str]) -> web.Application:
        """Make the application of the door."""
        return admin_app(
            self._snapshot,
            lambda: as_data(self._generation().config),
            self._reload,
            self._force_circuit,
            self._logged_in,
            jobs=self._jobs,
            events=self._events,
            hosts=hosts,
            on_fault=lambda error: self._fault("admin", error),
        )

    def _force_circuit(self, name: str, state: str) -> list[dict[str, Any]]:
        circuits = self._generation().force_circuit(name, state)
        if circuits:
            self._audit.note("circuit_override", service=name, state=state)
        return circuits

    def _logged_in(self, name: str, version: str) -> None:
        secret = self._generation().logged_in(name)
        self._audit.note("login", service=name, secret=str(secret), version=version)
