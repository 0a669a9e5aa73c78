"""What each vendor needs beyond the names that are known everywhere, as a preset would have it under `hints`."""

import tomllib

from sidecar.config.reader import Reader
from sidecar.core.advice import Advice
from sidecar.core.body import Headers
from sidecar.upstream.hints.config import HintsConfig
from sidecar.upstream.hints.interpreter import Interpreter

WALL = 1_795_356_000.25  # 2026-11-22T14:00:00.25Z, by our clock.
DATE = "Sun, 22 Nov 2026 14:00:00 GMT"  # The same moment, as the vendor tells it.

HINTS = {
    "stripe": """
should_retry = ["Stripe-Should-Retry"]
# A 429 that is a lock on an object, not a quota.
signals = [{ statuses = [429], body = "error.code", values = ["lock_timeout"], throttled = false }]
""",
    "github": """
# The three headers and X-RateLimit-Resource are known everywhere.
signals = [
    { statuses = [403, 429], body = "contains(to_string(message), 'secondary rate limit')", wait = "60s" },
]
""",
    "shopify": """
# 40, 80 or 400 calls, by plan, and always 20 s from empty to full.
dialects = [{ name = "rest", kind = "bucket", ratio = "X-Shopify-Shop-Api-Call-Limit", window = "20s" }]
# GraphQL refuses with 200. So each answer of JSON waits until 64 KiB of it, or all, is there.
signals = [{ statuses = [200], body = "errors[?extensions.code=='THROTTLED']" }]

[[allowances]]
name = "graphql"
statuses = [200]
limit = "extensions.cost.throttleStatus.maximumAvailable"
remaining = "extensions.cost.throttleStatus.currentlyAvailable"
refill = "extensions.cost.throttleStatus.restoreRate"
needed = "extensions.cost.requestedQueryCost"
""",
    "twilio": """
dialects = [{ name = "concurrent", load = "Twilio-Concurrent-Requests" }]
""",
    "hubspot": """
signals = [
    { statuses = [477] }, # An account that is being moved; with Retry-After.
    { statuses = [429], body = "policyName", values = ["DAILY"], final = true },
]

[[dialects]]
name = "interval"
remaining = "X-HubSpot-RateLimit-Remaining"
limit = "X-HubSpot-RateLimit-Max"
window_header = "X-HubSpot-RateLimit-Interval-Milliseconds"
window_unit = "ms"

[[dialects]]
name = "day"
remaining = "X-HubSpot-RateLimit-Daily-Remaining"
limit = "X-HubSpot-RateLimit-Daily"
window = "24h"
""",
    "salesforce": """
# Over the last 24 hours, and lagging: an estimate.
dialects = [
    { name = "day", kind = "bucket", ratio = "Sforce-Limit-Info", ratio_key = "api-usage", window = "24h" },
    { name = "app-day", kind = "bucket", ratio = "Sforce-Limit-Info", ratio_key = "per-app-api-usage", window = "24h" },
]
signals = [{ statuses = [403], body = "[].errorCode", values = ["REQUEST_LIMIT_EXCEEDED"] }]
""",
    "openai": """
# Money is used up, which no waiting brings back.
[[signals]]
statuses = [429]
body = "[error.code, error.type][]"
values = ["insufficient_quota"]
throttled = false
final = true

[[dialects]]
dims = ["requests", "tokens"]
kind = "bucket"
remaining = "x-ratelimit-remaining-{dim}"
limit = "x-ratelimit-limit-{dim}"
reset = "x-ratelimit-reset-{dim}"
""",
    "anthropic": """
signals = [{ statuses = [529] }]

[[dialects]]
dims = ["requests", "tokens", "input-tokens", "output-tokens"]
kind = "bucket"
remaining = "anthropic-ratelimit-{dim}-remaining"
limit = "anthropic-ratelimit-{dim}-limit"
reset = "anthropic-ratelimit-{dim}-reset"
""",
    "google": """
[[signals]]
statuses = [403, 429]
body = "error.errors[].reason"
values = ["dailyLimitExceeded", "quotaExceeded"]
final = true

[[signals]]
statuses = [403, 429, 503]
body = "[error.status, error.errors[].reason][]"
values = ["RESOURCE_EXHAUSTED", "rateLimitExceeded", "userRateLimitExceeded"]
wait_body = "(error.details[?\\"@type\\"=='type.googleapis.com/google.rpc.RetryInfo'].retryDelay)[0] || error.message"
""",
    "microsoft_graph": """
dialects = [{ name = "throttle", level = "x-ms-throttle-limit-percentage" }]
signals = [{ statuses = [509] }]
""",
    "aws": """
retry_after = [{ name = "x-amz-retry-after", unit = "ms" }]

[[signals]]
statuses = [400, 403, 429, 503]
header = "x-amzn-errortype"
values = [
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "TooManyRequestsException",
    "ProvisionedThroughputExceededException", "TransactionInProgressException", "RequestLimitExceeded",
    "BandwidthLimitExceeded", "LimitExceededException", "RequestThrottled", "SlowDown", "PriorRequestNotComplete",
    "EC2ThrottledException",
]

[[signals]]
statuses = [400, 403, 429, 503]
body = "[__type, code, Code, Error.Code][]"
values = [
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "TooManyRequestsException",
    "ProvisionedThroughputExceededException", "TransactionInProgressException", "RequestLimitExceeded",
    "BandwidthLimitExceeded", "LimitExceededException", "RequestThrottled", "SlowDown", "PriorRequestNotComplete",
    "EC2ThrottledException",
]

[[signals]]
statuses = [509]
""",
    "adyen": """
should_retry = ["transient-error"]
""",
    "zendesk": """
signals = [{ statuses = [429], wait = "10s" }]

[[dialects]]
name = "account"
remaining = "X-Rate-Limit-Remaining"
limit = "X-Rate-Limit"
reset = "RateLimit-Reset"
window = "60s"

[[dialects]]
dims = [
    "tickets-index", "tickets-index-pagination", "tickets-index-deep-pagination", "search-index",
    "incremental-exports", "incremental-exports-cursor", "create-update-user",
]
state = "Zendesk-RateLimit-{dim}"
""",
    "atlassian": """
dialects = [{ name = "points", state = "Beta-RateLimit", policy = "Beta-RateLimit-Policy" }]
""",
    "notion": """
signals = [{ statuses = [529] }]
""",
    "linear": """
signals = [{ statuses = [400], body = "errors[].extensions.code", values = ["RATELIMITED"] }]

[[dialects]]
dims = ["requests", "complexity"]
remaining = "X-RateLimit-{dim}-Remaining"
limit = "X-RateLimit-{dim}-Limit"
reset = "X-RateLimit-{dim}-Reset"

[[dialects]]
name = "endpoint"
remaining = "X-RateLimit-Endpoint-Requests-Remaining"
limit = "X-RateLimit-Endpoint-Requests-Limit"
reset = "X-RateLimit-Endpoint-Requests-Reset"
resource = "X-RateLimit-Endpoint-Name"
""",
    "discord": """
resource_segments = 3 # Such as /channels/<id>/messages: a bucket is per route and channel, guild or webhook.

[[dialects]]
name = "route"
remaining = "X-RateLimit-Remaining"
limit = "X-RateLimit-Limit"
reset = "X-RateLimit-Reset-After"
resource = "X-RateLimit-Bucket"
""",
    "xero": """
dialects = [
    { name = "minute", remaining = "X-MinLimit-Remaining", limit_is = 60, window = "60s" },
    { name = "day", remaining = "X-DayLimit-Remaining", limit_is = 5000, window = "24h" },
    { name = "app-minute", remaining = "X-AppMinLimit-Remaining", limit_is = 10000, window = "60s" },
]
""",
    "quickbooks": """
signals = [{ statuses = [429], wait = "60s" }]
""",
    "zoom": """
[[dialects]]
name = "account"
remaining = "X-RateLimit-Remaining"
limit = "X-RateLimit-Limit"
reset = "X-RateLimit-Reset"
resource = "X-RateLimit-Category"
name_header = "X-RateLimit-Type"
""",
    "dropbox": """
signals = [{ statuses = [429], wait_body = "error.retry_after" }]
""",
    "gitlab": """
[[dialects]]
name = "requests"
remaining = "RateLimit-Remaining"
limit = "RateLimit-Limit"
reset = "RateLimit-Reset"
name_header = "RateLimit-Name"
""",
    "airtable": """
signals = [{ statuses = [429], wait = "30s" }]
""",
    "docusign": """
dialects = [{ name = "burst", remaining = "X-BurstLimit-Remaining", limit = "X-BurstLimit-Limit", window = "30s" }]
signals = [
    { statuses = [400], body = "errorCode", values = ["HOURLY_APIINVOCATION_LIMIT_EXCEEDED"] },
    { statuses = [400], body = "errorCode", values = ["BURST_APIINVOCATION_LIMIT_EXCEEDED"], wait = "30s" },
]
""",
    "datadog": """
[[dialects]]
name = "endpoint"
remaining = "X-RateLimit-Remaining"
limit = "X-RateLimit-Limit"
reset = "X-RateLimit-Reset"
window_header = "X-RateLimit-Period"
resource = "X-RateLimit-Name"
""",
    "mailchimp": """
# Over its cap on connections it may answer without JSON; its own 403 is application/problem+json.
signals = [{ statuses = [403], header = "Content-Type", values = ["text/html", "text/plain"] }]
""",
}


def config_of(text: str) -> HintsConfig:
    """Read a `hints` table as the config's reader would; it has no problems."""
    reader = Reader()
    config = reader.section(HintsConfig, tomllib.loads(text), "hints")
    assert reader.problems == []
    assert isinstance(config, HintsConfig)
    return config


def interpreter(vendor: str) -> Interpreter:
    """The interpreter for a vendor; for one without hints of its own, with what is known everywhere."""
    return Interpreter(config_of(HINTS.get(vendor, "")))


def read(
    reader: Interpreter, status: int, fields: dict[str, str], body: bytes | None = None, wall: float = WALL
) -> Advice | None:
    """Have an answer read as the transport would hand it over: notable fields apart, under lower-case names."""
    kind = {} if body is None else {"Content-Type": "application/json"}
    headers: Headers = [
        (name.encode(), value.encode("latin-1")) for name, value in ({"Date": DATE} | kind | fields).items()
    ]
    notable = [(name.lower(), value) for name, value in headers if name.lower() in reader.names]
    return reader.read(status, notable or None, headers, body if reader.needs_body(status, headers) else None, wall)
