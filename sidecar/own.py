"""Own: what the sidecar itself answers on the app's doors, under /_sidecar/."""

from collections.abc import Callable
from functools import partial

from sidecar.config.model import Config
from sidecar.core.clock import Clock
from sidecar.core.ids import Ids
from sidecar.core.tasks import Tasks
from sidecar.downstream.exchange import Exchange
from sidecar.downstream.inner import admit
from sidecar.layers.running import Service
from sidecar.queue.batch.batch import PREFIX, Batches, Means
from sidecar.queue.batch.later import LaterMeans
from sidecar.queue.queue import Queue
from sidecar.queue.resource import PREFIX as JOBS
from sidecar.queue.resource import JobResource
from sidecar.store.base import Store
from sidecar.webhooks.fetching import Fetching
from sidecar.webhooks.resource import PREFIX as EVENTS
from sidecar.webhooks.resource import EventResource
from sidecar.webhooks.webhooks import Webhooks


class Own:
    """The sidecar's own resources; each is a handler by the start of its path."""

    def __init__(
        self,
        exchange: Exchange,
        clock: Clock,
        jitter: Callable[[], float],
        ids: Ids,
        tasks: Tasks,
        fault: Callable[..., None],
        queue: Queue,
        store: Callable[[], Store],
        webhooks: Webhooks,
    ) -> None:
        def find_service(name: bytes) -> Service:  # Whichever generation is the current one.
            return exchange.router.wanted(name)

        later = LaterMeans(store, queue.register, ids, tasks, clock, queue.wake)
        self._batches = Batches(Means(clock, jitter, tasks, fault, find_service, partial(admit, ids), later))
        fetching = Fetching(webhooks, clock, jitter, ids)
        exchange.own = {
            PREFIX: self._batches.handle,
            JOBS: JobResource(queue, store, tasks, fault).handle,
            EVENTS: EventResource(fetching).handle,
        }

    def use(self, config: Config) -> None:
        """Take over the bounds of a new generation."""
        pod = config.sidecar
        self._batches.use(config.batch, pod.load_balancer_timeout - pod.timeout_margin)
