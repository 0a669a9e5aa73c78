"""Cases: for every alert what makes it fire, when, with which words; and what is just not enough."""

from typing import NamedTuple

Series = dict[str, str]  # Series to values, in promtool's notation; pod `a`, where none is named.

CALLS = 'sidecar_calls_total{service="crm",route="",method="GET",status="%s",outcome="%s",source="%s"}'
GOOD, BAD = CALLS % (200, "success", "upstream"), CALLS % (500, "failure", "upstream")
REFUSED = CALLS % (503, "rejected", "sidecar")
ERRORS = 'sidecar_errors_total{service="crm",code="%s"}'
LATE = ERRORS % "deadline_exceeded"
RENEWED = 'sidecar_token_renewals_total{service="crm",result="%s"}'
FAILED = RENEWED % "failure"
TAKEN = 'sidecar_deliveries_total{webhook="orders",result="%s"}'
CAME = 'sidecar_events_total{webhook="orders",result="%s"}'
BUILD = 'sidecar_build_info{version="1",python="3"}'
JOBS = 'sidecar_queue_jobs{service="crm",state="%s"}'
EVENTS = 'sidecar_webhook_events{webhook="orders",state="%s"}'

ASKED = 'sidecar_injections_total{config="%s",result="%s"}'

ONCE_A_MINUTE = "0+1x120"


class Case(NamedTuple):
    """One alert. `true_at` is the first minute at which its expression is true; it fires after its `for`."""

    alert: str
    fires: Series
    true_at: int
    labels: dict[str, str]
    summary: str
    quiet: Series


def crm(**labels: str) -> dict[str, str]:
    """Give labels with those of a service."""
    return {"service": "crm", **labels}


def orders() -> dict[str, str]:
    """Give the label of a webhook."""
    return {"webhook": "orders"}


def gauge(value: float) -> str:
    """Write a value that stays."""
    return f"{value}x120"


def each_minute(count: float) -> str:
    """Write a counter that grows by so much every minute."""
    return f"0+{count}x120"


CASES = [
    Case(
        "SidecarMostCallsFail",
        {GOOD: each_minute(40), BAD: each_minute(30), REFUSED: each_minute(30)},
        1,
        crm(),
        "60% of the calls to crm get no good answer",
        {
            GOOD: each_minute(50),
            BAD: each_minute(30),
            REFUSED: each_minute(20),
            CALLS % (0, "cancelled", ""): each_minute(900),
        },
    ),
    Case(
        "SidecarCallsFailing",
        {GOOD: each_minute(94), BAD: each_minute(6)},
        2,
        crm(),
        "6% of the calls to crm fail",
        {
            GOOD: each_minute(95),
            BAD: each_minute(5),
            CALLS.replace("crm", "quiet") % (500, "failure", ""): each_minute(1.9),
        },
    ),
    Case(
        "SidecarCallsRefused",
        {GOOD: each_minute(90), REFUSED: each_minute(10)},
        1,
        crm(),
        "10% of the calls to crm are refused by the sidecar",
        {GOOD: each_minute(95), REFUSED: each_minute(5)},
    ),
    Case(
        "SidecarCircuitOpen",
        # Half-open is not closed either; pod c is well.
        {
            'sidecar_circuit_state{service="crm"}': "2 1x120",
            'sidecar_circuit_state{service="crm",pod="b"}': gauge(2),
            'sidecar_circuit_state{service="crm",pod="c"}': gauge(0),
        },
        0,
        crm(),
        "the circuit to crm is not closed in 2 pods",
        {'sidecar_circuit_state{service="crm"}': "2 0 1 0 2 0x120"},
    ),
    Case(
        "SidecarDeadlineExceeded",
        {GOOD: each_minute(96), LATE: each_minute(4), CALLS % (504, "failure", "sidecar"): each_minute(4)},
        3,
        crm(),
        "4% of the calls to crm run out of time",
        {GOOD: each_minute(98), LATE: each_minute(2), CALLS % (504, "failure", "sidecar"): each_minute(2)},
    ),
    Case(
        "SidecarRetriesExhausted",
        {'sidecar_retries_total{service="crm",result="budget"}': each_minute(12)},
        3,
        crm(),
        "0.2 failures a second of crm are not tried again",
        {
            'sidecar_retries_total{service="crm",result="budget"}': each_minute(6),
            'sidecar_retries_total{service="crm",result="started"}': each_minute(600),
        },
    ),
    Case(
        "SidecarInternalError",
        {ERRORS % "internal": "0x4 1x120"},
        5,
        crm(),
        "1 calls to crm met a fault of the sidecar",
        {ERRORS % "internal": gauge(7), ERRORS % "shed": each_minute(1)},
    ),
    Case(
        "SidecarRateLimitNear",
        {
            'sidecar_rate_limit_used_ratio{service="crm",window="90/s"}': gauge(0.85),
            'sidecar_rate_limit_used_ratio{service="crm",window="90/s",pod="b"}': gauge(0.9),
        },
        0,
        crm(window="90/s"),
        "90% of the limit 90/s of crm are used",
        {
            'sidecar_rate_limit_used_ratio{service="crm",window="90/s"}': gauge(0.8),
            'sidecar_rate_limit_used_ratio{service="crm",window="1000/d"}': "0.9 0.9 0.9 0.9 0.1x120",
        },
    ),
    Case(
        "SidecarThrottled",
        {'sidecar_throttled_total{service="crm"}': each_minute(12)},
        6,
        crm(),
        "crm says slow down 0.2 times a second",
        {'sidecar_throttled_total{service="crm"}': each_minute(6)},
    ),
    Case(
        "SidecarSunsetNear",
        {
            'sidecar_deprecation_sunset_at{service="crm",route="search"}': gauge(864600),
            'sidecar_deprecation_sunset_at{service="crm",route="search",pod="b"}': gauge(9e9),
        },
        0,
        crm(route="search"),
        "what crm is called for ends in 10d 0h 0m 0s",
        {'sidecar_deprecation_sunset_at{service="crm",route="search"}': gauge(30 * 86400 + 7200)},
    ),
    Case(
        "SidecarDeprecated",
        {'sidecar_deprecation_at{service="crm",route=""}': gauge(0)},
        0,
        crm(),
        "the vendor wants something of crm not to be used any more",
        {
            'sidecar_deprecation_at{service="crm",route=""}': gauge(0),  # Its end has an alert of its own.
            'sidecar_deprecation_sunset_at{service="crm",route=""}': gauge(9e9),
            'sidecar_deprecation_at{service="crm",route="next"}': gauge(9e9),
        },
    ),
    Case(
        "SidecarBulkheadFull",
        {
            'sidecar_bulkhead_waiting{service="crm"}': gauge(3),
            'sidecar_bulkhead_waiting{service="crm",pod="b"}': gauge(1),
        },
        0,
        crm(),
        "3 attempts wait for a slot to crm in one pod",
        {'sidecar_bulkhead_waiting{service="crm"}': "0 0 0 0 4 0 0 0 0 4 0x100"},
    ),
    Case(
        "SidecarPoolFull",
        {'sidecar_pool_waiting{service="crm"}': gauge(2)},
        0,
        crm(),
        "2 attempts wait for a connection to crm in one pod",
        {'sidecar_pool_waiting{service="crm"}': "0 0 0 0 4 0 0 0 0 4 0x100"},
    ),
    Case(
        "SidecarAdmissionNearFull",
        {"sidecar_admission_used_ratio": gauge(0.9), 'sidecar_admission_used_ratio{pod="b"}': gauge(0.1)},
        0,
        {},
        "90% of the calls that a pod of shop/app takes at once are under way",
        {"sidecar_admission_used_ratio": gauge(0.8)},
    ),
    Case(
        "SidecarShedding",
        {ERRORS % "shed": each_minute(2), ERRORS % "bulkhead_full": each_minute(2)},
        3,
        crm(),
        "20 calls to crm were shed in five minutes",
        {ERRORS % "shed": each_minute(1.9), ERRORS % "rate_limited": each_minute(100)},
    ),
    Case(
        "SidecarFilesNearlyUsedUp",
        {BUILD: gauge(1), "process_open_fds": gauge(900), "process_max_fds": gauge(1000)},
        0,
        {},
        "90% of the files that a sidecar of shop/app may open are open",
        {
            BUILD: gauge(1),
            "process_open_fds": gauge(800),
            "process_max_fds": gauge(1000),
            'process_open_fds{pod="other"}': gauge(990),
            'process_max_fds{pod="other"}': gauge(1000),
        },
    ),
    Case(
        "SidecarQueueOld",
        {'sidecar_queue_oldest_seconds{service="crm"}': "0+60x120"},
        16,
        crm(),
        "the oldest job for crm waits for 21m 0s",
        {'sidecar_queue_oldest_seconds{service="crm"}': gauge(900)},
    ),
    Case(
        "SidecarDeadLetters",
        {JOBS % "dead": gauge(3), JOBS.replace("crm", 'crm",pod="b') % "dead": gauge(3)},
        0,
        crm(),
        "3 jobs for crm were given up",
        {JOBS % "dead": gauge(0), JOBS % "waiting": gauge(50), JOBS % "failed": gauge(4)},
    ),
    Case(
        "SidecarQueueNearFull",
        {'sidecar_queue_used_ratio{service="crm"}': gauge(0.95)},
        0,
        crm(),
        "95% of the room for jobs of crm are used",
        {'sidecar_queue_used_ratio{service="crm"}': gauge(0.8)},
    ),
    Case(
        "SidecarTokenRenewalFailing",
        {
            FAILED: ONCE_A_MINUTE,
            RENEWED % "success": gauge(4),
            RENEWED.replace("crm", 'crm",pod="b') % "success": ONCE_A_MINUTE,
        },
        3,
        crm(),
        "the token for crm cannot be renewed: 5 failures in 15 minutes",
        # Two blips, another that ended with a success, and one of which another pod had the token.
        {
            FAILED: "0 1 2x120",
            FAILED.replace("crm", "erp"): ONCE_A_MINUTE,
            (RENEWED % "success").replace("crm", "erp"): "0+1x120",
            FAILED.replace("crm", "hr"): ONCE_A_MINUTE,
            (RENEWED % "shared").replace("crm", "hr"): "0+1x120",
        },
    ),
    Case(
        "SidecarTokenEnding",
        {'sidecar_token_expires_at{service="crm"}': gauge(1200), FAILED: ONCE_A_MINUTE},
        16,
        crm(),
        "the token for crm ends in 3m 0s, and renewing it fails",
        {
            'sidecar_token_expires_at{service="crm"}': gauge(60),  # It ended, and nobody has asked for another.
            'sidecar_token_expires_at{service="erp"}': gauge(9e9),
            FAILED.replace("crm", "erp"): ONCE_A_MINUTE,
            'sidecar_token_expires_at{service="hr"}': gauge(60),
            FAILED.replace("crm", "hr"): ONCE_A_MINUTE,
            (RENEWED % "success").replace("crm", "hr"): ONCE_A_MINUTE,
        },
    ),
    Case(
        "SidecarGrantLost",
        {'sidecar_grant_state{service="crm"}': gauge(2), 'sidecar_grant_state{service="crm",pod="b"}': gauge(0)},
        0,
        crm(),
        "the refresh token for crm is lost",
        {'sidecar_grant_state{service="crm"}': gauge(1)},
    ),
    Case(
        "SidecarGrantNotStored",
        {'sidecar_grant_state{service="crm"}': gauge(1), 'sidecar_grant_state{service="crm",pod="b"}': gauge(0)},
        0,
        crm(),
        "the newest refresh token for crm is only in the memory of a pod",
        {'sidecar_grant_state{service="crm"}': gauge(2)},
    ),
    Case(
        "SidecarSecretStale",
        {'sidecar_secret_unconfirmed_seconds{secret="vault:crm#key"}': "0+60x120"},
        16,
        {"secret": "vault:crm#key"},
        "the secret vault:crm#key could not be read for 18m 0s",
        {'sidecar_secret_unconfirmed_seconds{secret="vault:crm#key"}': "0+60x15 0x100"},
    ),
    Case(
        "SidecarSecretMissing",
        {
            'sidecar_secret_usable{secret="vault:crm#key"}': gauge(0),
            'sidecar_secret_usable{secret="vault:crm#key",pod="b"}': gauge(1),
        },
        0,
        {"secret": "vault:crm#key"},
        "1 pods have no value for the secret vault:crm#key",
        {'sidecar_secret_usable{secret="vault:crm#key"}': "0 0 1x120"},
    ),
    Case(
        "SidecarEventsFailing",
        {TAKEN % "delivered": each_minute(8), TAKEN % "5xx": each_minute(1), TAKEN % "not_reached": each_minute(1)},
        3,
        orders(),
        "20% of the deliveries of orders fail",
        {
            TAKEN % "delivered": each_minute(90),
            TAKEN % "5xx": each_minute(10),
            (TAKEN % "5xx").replace("orders", "rare"): each_minute(0.4),
        },
    ),
    Case(
        "SidecarEventsOld",
        {'sidecar_webhook_oldest_seconds{webhook="orders"}': "0+60x120"},
        16,
        orders(),
        "the oldest event of orders waits for 21m 0s",
        {'sidecar_webhook_oldest_seconds{webhook="orders"}': gauge(900)},
    ),
    Case(
        "SidecarEventsDead",
        {EVENTS % "dead": gauge(2)},
        0,
        orders(),
        "2 events of orders were given up",
        {EVENTS % "dead": gauge(0), EVENTS % "waiting": gauge(9)},
    ),
    Case(
        "SidecarEventsRefused",
        {CAME % "refused": each_minute(3), CAME % "accepted": each_minute(1)},
        2,
        orders(),
        "75% of the requests to orders are refused",
        {
            CAME % "refused": each_minute(50),
            CAME % "accepted": each_minute(50),
            (CAME % "refused").replace("orders", "rare"): each_minute(0.3),
        },
    ),
    Case(
        "SidecarEventsNotAccepted",
        {CAME % "unavailable": each_minute(1), CAME % "full": each_minute(1)},
        2,
        orders(),
        "8 events of orders could not be kept in ten minutes",
        {CAME % "full": "0 1 2x120", CAME % "refused": each_minute(9)},
    ),
    Case(
        "SidecarEventsNearFull",
        {'sidecar_webhook_used_ratio{webhook="orders"}': gauge(0.81)},
        0,
        orders(),
        "81% of the room for events of orders are used",
        {'sidecar_webhook_used_ratio{webhook="orders"}': gauge(0.8)},
    ),
    Case(
        "SidecarStoreDown",
        {"sidecar_store_up": gauge(0), 'sidecar_store_up{pod="b"}': gauge(0), 'sidecar_store_up{pod="c"}': gauge(1)},
        0,
        {},
        "the store does not answer 2 pods of shop/app",
        {"sidecar_store_up": "0 0 1x120"},
    ),
    Case(
        "SidecarStoreNearFull",
        {"sidecar_store_used_ratio": gauge(0.9)},
        0,
        {},
        "90% of the bytes that a store of shop/app may use are used",
        {"sidecar_store_used_ratio": gauge(0.8)},
    ),
    Case(
        "SidecarAnswersNotKept",
        {'sidecar_idempotency_total{service="crm",result="store_failed"}': each_minute(10)},
        1,
        crm(),
        "60 calls to crm with a key went on without a record",
        {
            'sidecar_idempotency_total{service="crm",result="store_failed"}': gauge(5),
            'sidecar_idempotency_total{service="crm",result="kept"}': each_minute(5),
        },
    ),
    Case(
        "SidecarReloadFailed",
        {"sidecar_config_reload_ok": gauge(0), 'sidecar_config_reload_ok{pod="b"}': gauge(1)},
        0,
        {},
        "the configuration of shop/app is refused in 1 pods",
        {"sidecar_config_reload_ok": "0 0 1x120"},
    ),
    Case(
        "SidecarConfigWarning",
        {"sidecar_config_warnings": gauge(2)},
        0,
        {},
        "the configuration of shop/app has 2 warnings",
        {"sidecar_config_warnings": gauge(0)},
    ),
    Case(
        "SidecarRestarts",
        {BUILD: gauge(1), "process_start_time_seconds": "1 2 3 4x120"},
        3,
        {},
        "a sidecar of shop/app started anew 3 times in half an hour",
        {
            BUILD: gauge(1),
            "process_start_time_seconds": "1 2 3x120",
            'process_start_time_seconds{pod="other"}': "1 2 3 4 5 6x120",
        },
    ),
    Case(
        "SidecarNotScraped",
        {BUILD: "1x3 stale", "up": "1x3 0x120"},
        4,
        {},
        "1 sidecars of shop/app do not answer Prometheus",
        # One is back in time; one was deleted; one never was a sidecar.
        {
            BUILD: gauge(1),
            "up": "1x3 0x3 1x120",
            BUILD.replace("version", 'pod="b",version'): "1x3 stale",
            'up{pod="b"}': "1x3 stale",
            'up{pod="other"}': gauge(0),
        },
    ),
    Case(
        "SidecarLogLinesLost",
        {"sidecar_log_lines_dropped_total": each_minute(100)},
        1,
        {},
        "600 log lines of shop/app were lost in ten minutes",
        {"sidecar_log_lines_dropped_total": gauge(7)},
    ),
    Case(
        "SidecarAuditRecordsLost",
        {"sidecar_audit_records_lost_total": "0x4 1x120"},
        5,
        {},
        "1 audit records of shop/app were lost in ten minutes",
        {"sidecar_audit_records_lost_total": gauge(7)},
    ),
    Case(
        "SidecarNotInjected",
        {
            ASKED % ("shop", "clash"): "1 2x120",
            ASKED.replace("config", 'pod="b",config') % ("shop", "clash"): "_x1 2x120",
        },
        0,
        {"config": "shop", "result": "clash"},
        "1 pods asked for a sidecar and got none: clash",
        {
            ASKED % ("shop", "injected"): ONCE_A_MINUTE,
            ASKED % ("", "not_asked"): ONCE_A_MINUTE,
            ASKED % ("shop", "already"): ONCE_A_MINUTE,
        },
    ),
    Case(
        "SidecarInjectorReloadFailed",
        {
            'sidecar_injector_reload_ok{source="configs"}': gauge(0),
            'sidecar_injector_reload_ok{source="configs",pod="b"}': gauge(1),
        },
        0,
        {"source": "configs"},
        "the configs of shop/app is refused in 1 pods",
        {'sidecar_injector_reload_ok{source="certificate"}': "0 0 1x120"},
    ),
    Case(
        "SidecarInjectorCertificateEnding",
        {
            "sidecar_injector_certificate_expires_at": gauge(86400 + 600),
            'sidecar_injector_certificate_expires_at{pod="b"}': gauge(9e9),
        },
        0,
        {},
        "the certificate of shop/app ends in 1d 0h 0m 0s",
        {"sidecar_injector_certificate_expires_at": gauge(3 * 86400 + 7200)},
    ),
]
