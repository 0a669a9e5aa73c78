"""Metrics: counted on the way, written out when somebody scrapes; nothing done per call that can be done at load.

prometheus_client writes them out; what is counted on the way are plain objects of our own, since its bound children
cost a lock and a method call each. The children of a service are found at load, so that a call costs one dict look-up.
"""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import generate_latest as render
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from sidecar import __version__
from sidecar.core.outcome import Outcome
from sidecar.telemetry.table import TABLE, Labels, Row

SERIES_MAX = 2000  # Per metric. Full: counted under the label values "other", never grown.
OTHER = "other"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
STATUSES = range(100, 600)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0)

C = TypeVar("C")


class Counter:
    """A number that only grows; the hot path writes `child.value += 1`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def count(self) -> None:
        """Count one."""
        self.value += 1


class Gauge:
    """A number that is set."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Histogram:
    """How often a length fell into which bucket; seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one length."""
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds


class Children(Generic[C]):
    """All series of one metric, by label values; bounded."""

    def __init__(self, row: Row, make: Callable[[], C], series_max: int) -> None:
        self.row = row
        self._make = make
        self._series_max = series_max
        self._children: dict[Labels, C] = {}
        self._other = make()

    def child(self, labels: Labels) -> C:
        """Give the child of these label values; when all series are taken, the one for the rest."""
        assert len(labels) == len(self.row.labels)
        found = self._children.get(labels)
        if found is not None:
            return found
        if len(self._children) >= self._series_max:
            return self.other()
        return self._children.setdefault(labels, self._make())

    def other(self) -> C:
        """Give the child that counts what has no series of its own."""
        return self._children.setdefault((OTHER,) * len(self.row.labels), self._other)

    def is_full(self) -> bool:
        """Whether the next unknown label values share the last series."""
        return len(self._children) >= self._series_max

    def series(self) -> list[tuple[Labels, C]]:
        """Copy the series in one step, as a scrape reads in a thread of its own."""
        return list(self._children.items())


class ServiceMetrics:
    """What the calls of one route of one service count; made at load."""

    __slots__ = ("_attempts", "_calls", "_labels", "_metrics", "_seconds", "_upstream")

    def __init__(self, metrics: "Metrics", service: str, route: str) -> None:
        self._metrics = metrics
        self._labels = (service, route)
        self._calls: dict[tuple[str, int, Outcome, str], Counter] = {}
        self._attempts: dict[str, Counter] = {}
        self._seconds = metrics.histogram("sidecar_call_seconds", service, route)
        self._upstream = metrics.histogram("sidecar_upstream_seconds", service)
        # There from the start, as 0: it is rare, and what begins at 1 has not grown for who looks at rates.
        metrics.counter("sidecar_errors_total", service, "internal")

    def count_call(self, method: str, status: int, outcome: Outcome, source: str, seconds: float) -> None:
        """Count a call that ended; `seconds` from its head to its last byte."""
        try:
            self._calls[method, status, outcome, source].value += 1
        except KeyError:
            self._first(method, status, outcome, source).value += 1
        histogram = self._seconds
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.sum += seconds

    def count_attempt(self, result: str, seconds: float) -> None:
        """Count an attempt that ended; `result` is a word of ours (2xx, 5xx, an error code), never the vendor's."""
        counter = self._attempts.get(result)
        if counter is None:
            attempts = self._metrics.counters["sidecar_attempts_total"]
            counter = attempts.child((self._labels[0], result))
            if not attempts.is_full():
                self._attempts[result] = counter
        counter.value += 1
        histogram = self._upstream
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.sum += seconds

    def count_error(self, code: str) -> None:
        """Count an answer that the sidecar made itself, or that it could not bring to its end."""
        self._metrics.counter("sidecar_errors_total", self._labels[0], code).count()

    def _first(self, method: str, status: int, outcome: Outcome, source: str) -> Counter:
        """Find the counter; remember it only under labels that are known and few."""
        calls = self._metrics.counters["sidecar_calls_total"]
        is_known = (method in METHODS) and (status in STATUSES or status == 0)
        words = (method if method in METHODS else OTHER, str(status) if is_known or status in STATUSES else OTHER)
        counter = calls.child((*self._labels, *words, outcome.value, source))
        if is_known and not calls.is_full():
            self._calls[method, status, outcome, source] = counter
        return counter


class Watch(NamedTuple):
    """A gauge that is read when somebody scrapes."""

    owner: object
    name: str
    labels: Labels
    read: Callable[[], float]


class Source(NamedTuple):
    """A gauge whose series come and go: all of them are read when somebody scrapes."""

    owner: object
    name: str
    read: Callable[[], Iterable[tuple[Labels, float]]]


class Metrics(Collector):
    """The registry of the process: children by name, gauges that are read, and the exposition."""

    def __init__(self, series_max: int = SERIES_MAX) -> None:
        rows = {row.name: row for row in TABLE}
        self.rows = rows
        self.counters = {n: Children(r, Counter, series_max) for n, r in rows.items() if r.kind == "counter"}
        self.gauges = {n: Children(r, Gauge, series_max) for n, r in rows.items() if r.kind == "gauge"}
        self.histograms = {n: Children(r, Histogram, series_max) for n, r in rows.items() if r.kind == "histogram"}
        self._series_max = series_max
        self._watches: list[Watch] = []
        self._sources: list[Source] = []
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        self.counter("sidecar_log_lines_dropped_total")  # Without labels: there from the start, as 0.
        self.gauge("sidecar_build_info", __version__, platform.python_version()).value = 1

    def counter(self, name: str, *labels: str) -> Counter:
        """Give a counter of the table."""
        return self.counters[name].child(labels)

    def gauge(self, name: str, *labels: str) -> Gauge:
        """Give a gauge that is set, and stays."""
        return self.gauges[name].child(labels)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Give a histogram of the table."""
        return self.histograms[name].child(labels)

    def for_service(self, service: str, route: str = "") -> ServiceMetrics:
        """Prepare what calls of this route count; two generations count into the same series."""
        return ServiceMetrics(self, service, route)

    def watch(self, name: str, labels: Labels, read: Callable[[], float], owner: object) -> None:
        """Show a gauge for as long as `owner` lives; `read` only looks at a number, in the scraping thread."""
        assert len(labels) == len(self.gauges[name].row.labels)
        self._watches.append(Watch(owner, name, labels, read))

    def watch_series(self, name: str, read: Callable[[], Iterable[tuple[Labels, float]]], owner: object) -> None:
        """Show whatever series `read` gives, for as long as `owner` lives; it looks only, in the scraping thread."""
        self._sources.append(Source(owner, name, read))

    def unwatch(self, owner: object) -> None:
        """Take down all gauges of an owner that goes away."""
        self._sources = [source for source in self._sources if source.owner is not owner]
        self._watches = [watch for watch in self._watches if watch.owner is not owner]

    def exposition(self) -> tuple[bytes, str]:
        """Write everything in the Prometheus text format; gives the body and its content type."""
        return render(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterator[Family]:
        """Give all families to prometheus_client."""
        watched = self._watched()
        for row in self.rows.values():
            if row.kind == "counter":
                yield self._counter_family(row)
            elif row.kind == "histogram":
                yield self._histogram_family(row)
            else:
                yield self._gauge_family(row, watched)

    def _watched(self) -> dict[str, dict[Labels, list[float]]]:
        """Read all watched gauges: by name, by labels, one value per owner."""
        found: dict[str, dict[Labels, list[float]]] = {name: {} for name in self.gauges}
        readings = [(watch.name, watch.labels, watch.read()) for watch in self._watches]
        readings += [(source.name, *reading) for source in self._sources for reading in source.read()]
        for name, labels, value in readings:
            series = found[name]
            is_full = len(series) >= self._series_max and labels not in series
            series.setdefault((OTHER,) * len(labels) if is_full else labels, []).append(value)
        return found

    def _counter_family(self, row: Row) -> Family:
        family = CounterMetricFamily(row.name, row.help, labels=row.labels)
        for labels, child in self.counters[row.name].series():
            family.add_metric(labels, child.value)
        return family

    def _gauge_family(self, row: Row, watched: dict[str, dict[Labels, list[float]]]) -> Family:
        family = GaugeMetricFamily(row.name, row.help, labels=row.labels)
        values = {labels: [child.value] for labels, child in self.gauges[row.name].series()} | watched[row.name]
        for labels, several in values.items():
            family.add_metric(labels, row.merge(several))
        return family

    def _histogram_family(self, row: Row) -> Family:
        family = HistogramMetricFamily(row.name, row.help, labels=row.labels)
        for labels, child in self.histograms[row.name].series():
            family.add_metric(labels, buckets(child.counts), child.sum)
        return family


def buckets(counts: list[int]) -> list[tuple[str, float]]:
    """Add up the counts, as the text format wants: each bucket holds all smaller ones."""
    total = 0
    rows: list[tuple[str, float]] = []
    for bound, count in zip((*(str(second) for second in SECONDS), "+Inf"), list(counts), strict=True):
        total += count
        rows.append((bound, total))
    return rows
