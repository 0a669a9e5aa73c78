"""Metrics: counted plainly, bounded, and readable by Prometheus."""

import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.outcome import Outcome
from sidecar.telemetry.metrics import SECONDS, Metrics
from sidecar.telemetry.table import TABLE


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read the exposition back: value by name and labels."""
    families = text_string_to_metric_families(metrics.exposition()[0].decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def series(metrics: Metrics, name: str) -> list[dict[str, str]]:
    """Give the labels of all series of one name."""
    return [dict(labels) for found, labels in samples(metrics) if found == name]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    """Read one value back."""
    return samples(metrics)[name, frozenset(labels.items())]


def test_a_call_shows_in_the_counter_and_the_histogram_of_its_route() -> None:
    """What is counted is what a scrape reads, with the labels of the contract."""
    metrics = Metrics()
    crm = metrics.for_service("crm", "search")
    for seconds in (0.002, 0.3):
        crm.count_call("GET", 200, Outcome.SUCCESS, "upstream", seconds)
    labels = {"service": "crm", "route": "search"}
    call = {"method": "GET", "status": "200", "outcome": "success", "source": "upstream"}
    assert value(metrics, "sidecar_calls_total", **labels, **call) == 2
    assert value(metrics, "sidecar_call_seconds_count", **labels) == 2
    assert value(metrics, "sidecar_call_seconds_bucket", **labels, le="0.0025") == 1
    assert math.isclose(value(metrics, "sidecar_call_seconds_sum", **labels), 0.302)


@pytest.mark.parametrize("bound", SECONDS)
def test_a_length_on_a_bound_falls_below_it(bound: float) -> None:
    """The text format's buckets are `le`: less or equal."""
    metrics = Metrics()
    metrics.for_service("crm").count_attempt("2xx", bound)
    assert value(metrics, "sidecar_upstream_seconds_bucket", service="crm", le=str(bound)) == 1


def test_two_generations_count_into_one_series() -> None:
    """A reload must not make a counter fall."""
    metrics = Metrics()
    for _ in range(2):
        metrics.for_service("crm").count_attempt("2xx", 0.1)
    assert value(metrics, "sidecar_attempts_total", service="crm", result="2xx") == 2


def test_an_unknown_method_or_status_is_counted_as_other() -> None:
    """The app chooses methods and the vendor statuses: neither may choose labels."""
    metrics = Metrics()
    crm = metrics.for_service("crm")
    for number in range(50):
        crm.count_call(f"X{number}", 200, Outcome.SUCCESS, "upstream", 0.1)
        crm.count_call("GET", 900 + number, Outcome.SUCCESS, "upstream", 0.1)
    labels = series(metrics, "sidecar_calls_total")
    assert {(found["method"], found["status"]) for found in labels} == {("other", "200"), ("GET", "other")}
    assert not crm._calls, "what is folded is not remembered, or memory would grow with it"


def test_a_full_metric_counts_the_rest_under_other() -> None:
    """Series are bounded; nothing is lost, and nothing is remembered beyond the bound."""
    metrics = Metrics(series_max=3)
    services = [metrics.for_service(f"s{number}") for number in range(20)]
    for service in services:
        service.count_attempt("2xx", 0.1)
        service.count_attempt("5xx", 0.1)
    labels = series(metrics, "sidecar_attempts_total")
    assert len(labels) == 4
    assert value(metrics, "sidecar_attempts_total", service="other", result="other") == 37
    assert not services[-1]._attempts


def test_a_gauge_leaves_with_its_owner_and_two_owners_add_up() -> None:
    """While the old generation drains both have calls; after that only the new one shows."""
    metrics = Metrics()
    old, new = object(), object()
    metrics.watch("sidecar_calls_in_flight", ("crm",), lambda: 2, old)
    metrics.watch("sidecar_calls_in_flight", ("crm",), lambda: 3, new)
    assert value(metrics, "sidecar_calls_in_flight", service="crm") == 5
    metrics.unwatch(old)
    assert value(metrics, "sidecar_calls_in_flight", service="crm") == 3
    metrics.unwatch(new)
    assert not series(metrics, "sidecar_calls_in_flight")


def test_every_metric_of_the_table_has_help_and_a_type() -> None:
    """An operator reads HELP first; promtool asks for it, too."""
    text = Metrics().exposition()[0].decode()
    for row in TABLE:
        assert f"# HELP {row.name} " in text
        assert f"# TYPE {row.name} {row.kind}\n" in text
        assert row.name.endswith("_total") == (row.kind == "counter")


def test_labels_cannot_break_the_text_format() -> None:
    """A quote or a newline in a label value is escaped."""
    metrics = Metrics()
    metrics.for_service('a"b\n', "").count_attempt("2xx", 0.1)
    assert value(metrics, "sidecar_attempts_total", service='a"b\n', result="2xx") == 1
