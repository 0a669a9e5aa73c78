"""Table: every metric there is."""

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

Labels = tuple[str, ...]


class Row(NamedTuple):
    """One metric: what it is called, what it tells, and for gauges how two generations with one series add up."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    help: str
    merge: Callable[[Iterable[float]], float] = sum


TABLE = (
    Row(
        "sidecar_calls_total", "counter", ("service", "route", "method", "status", "outcome", "source"),
        "Calls of the app that ended; status 0 when the app hung up before there was one.",
    ),
    Row("sidecar_call_seconds", "histogram", ("service", "route"), "From the call's head to its last byte."),
    Row(
        "sidecar_errors_total", "counter", ("service", "code"),
        "Answers that the sidecar made itself, or could not bring to their end, by error code.",
    ),
    Row("sidecar_attempts_total", "counter", ("service", "result"), "Tries of calls, by status class or error code."),
    Row("sidecar_upstream_seconds", "histogram", ("service",), "One attempt, to its answer's head or its failure."),
    Row("sidecar_calls_in_flight", "gauge", ("service",), "Calls that began and have not ended."),
    Row("sidecar_pool_connections", "gauge", ("service", "state"), "Connections to the vendor, idle and busy."),
    Row("sidecar_pool_waiting", "gauge", ("service",), "Attempts that wait for a connection."),
    Row("sidecar_admission_used_ratio", "gauge", (), "Share of admission.calls_max that is under way.", max),
    Row(
        "sidecar_circuit_state", "gauge", ("service",), "0 closed, 1 half-open, 2 open; of several, the worst.", max
    ),
    Row("sidecar_circuit_transitions_total", "counter", ("service", "to"), "Changes of a circuit's state."),
    Row(
        "sidecar_rate_limit_used_ratio", "gauge", ("service", "window"),
        "Share of a rate limit that is used, own and announced; 1 is the limit.", max,
    ),
    Row("sidecar_rate_limit_waits_seconds", "histogram", ("service",), "How long attempts waited for a permit."),
    Row(
        "sidecar_permit_leases_total", "counter", ("service", "result"),
        "Questions to the store for permits of a shared limit: granted, none, returned, failed.",
    ),
    Row("sidecar_throttled_total", "counter", ("service",), "Answers by which the vendor said: slow down."),
    Row("sidecar_hints_ignored_total", "counter", ("service",), "Announcements of the vendor's too absurd to follow."),
    Row(
        "sidecar_deprecation_at", "gauge", ("service", "route"),
        "Unix time from which the vendor wants this not to be used; 0 where it does not say. Heard within a day.", min,
    ),
    Row(
        "sidecar_deprecation_sunset_at", "gauge", ("service", "route"),
        "Unix time from which the vendor will not answer this any more, the soonest. Heard within a day.", min,
    ),
    Row("sidecar_retries_total", "counter", ("service", "result"), "Wishes to try again: started, or why not."),
    Row("sidecar_retry_budget_left", "gauge", ("service",), "Extra attempts that are allowed now.", min),
    Row("sidecar_hedges_total", "counter", ("service", "result"), "Second attempts beside a slow first: started, won."),
    Row("sidecar_bulkhead_in_use", "gauge", ("service",), "Slots taken, each until the last byte.", max),
    Row("sidecar_bulkhead_slots", "gauge", ("service",), "Slots there are; fewer than configured when adaptive.", max),
    Row("sidecar_bulkhead_waiting", "gauge", ("service",), "Attempts that wait for a slot.", max),
    Row(
        "sidecar_idempotency_total", "counter", ("service", "result"),
        "Calls with a key of the app's, where answers are repeated: what became of them.",
    ),
    Row("sidecar_coalesced_total", "counter", ("service",), "Calls that shared the answer of an equal one."),
    Row("sidecar_batch_items_total", "counter", ("service", "result"), "Items of batches: sent_again, or failed."),
    Row("sidecar_gathered_total", "counter", ("service",), "Calls answered from a call of another for many ids."),
    Row("sidecar_token_renewals_total", "counter", ("service", "result"),
        "Tokens asked for: success or failure; shared, when another pod had it.",
    ),
    Row(
        "sidecar_token_expires_at", "gauge", ("service",),
        "Unix time at which the token in use ends; infinite where nobody said. None without a token.", min,
    ),
    Row(
        "sidecar_grant_state", "gauge", ("service",),
        "Of a refresh token: 0 it is stored, 1 the newest is only in memory, 2 it is lost and wants a login.", max,
    ),
    Row(
        "sidecar_secret_age_seconds", "gauge", ("secret",),
        "Since the value changed, as far as this process saw: at most since its start. None until it was read.", min,
    ),
    Row(
        "sidecar_secret_unconfirmed_seconds", "gauge", ("secret",),
        "Since the store last confirmed the value, while it cannot be read; 0 when all is well.", max,
    ),
    Row("sidecar_secret_usable", "gauge", ("secret",), "1 while there is a value to work with, 0 while not.", min),
    Row("sidecar_queue_jobs", "gauge", ("service", "state"), "Jobs, by what they do now.", max),
    Row("sidecar_queue_oldest_seconds", "gauge", ("service",), "Since the oldest job not done was accepted.", max),
    Row("sidecar_queue_used_ratio", "gauge", ("service",), "Share of length_max or bytes_max that is used.", max),
    Row(
        "sidecar_events_total", "counter", ("webhook", "result"), "Requests to a webhook, by what became of them.",
    ),
    Row("sidecar_deliveries_total", "counter", ("webhook", "result"), "Tries to hand an event to the app."),
    Row("sidecar_webhook_events", "gauge", ("webhook", "state"), "Events, by what they do now.", max),
    Row("sidecar_webhook_oldest_seconds", "gauge", ("webhook",), "Since the oldest event not done was accepted.", max),
    Row("sidecar_webhook_used_ratio", "gauge", ("webhook",), "Share of length_max or bytes_max that is used.", max),
    Row("sidecar_store_up", "gauge", (), "1 while the store of [store] answers, 0 while it does not.", min),
    Row("sidecar_store_used_ratio", "gauge", (), "Share of bytes_max that the store's file uses.", max),
    Row("sidecar_config_generation", "gauge", (), "Number of the loaded configuration, from 1.", max),
    Row("sidecar_config_reload_ok", "gauge", (), "1 when the last configuration read was loaded, 0 when refused.", min),
    Row("sidecar_config_warnings", "gauge", (), "Things that are questionable in the loaded configuration.", max),
    Row(
        "sidecar_injections_total", "counter", ("config", "result"),
        "Of the injector: pods that it was asked about, by what became of them.",
    ),
    Row(
        "sidecar_injector_reload_ok", "gauge", ("source",),
        "Of the injector: 1 when what was read last of certificate or configs is in use, 0 when refused.", min,
    ),
    Row(
        "sidecar_injector_certificate_expires_at", "gauge", (),
        "Of the injector: Unix time at which the certificate in use ends.", min,
    ),
    Row("sidecar_log_lines_dropped_total", "counter", (), "Log lines given up, since stdout was not read."),
    Row("sidecar_audit_records_lost_total", "counter", (), "Audit records given up, since nothing took them."),
    Row("sidecar_build_info", "gauge", ("version", "python"), "Always 1; the labels say what runs.", max),
)  # fmt: skip
