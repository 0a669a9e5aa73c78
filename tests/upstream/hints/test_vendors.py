"""Every dialect of the vendors that have a preset, with the fields that they really send."""

import json
from typing import Any

import pytest

from sidecar.core.advice import Advice, Told
from tests.upstream.hints.vendors import HINTS, interpreter, read

# Vendor and case, status, fields, and what is told. The answers came at 14:00:00.25.
TOLD: list[tuple[str, int, dict[str, str], list[dict[str, Any]]]] = [
    (
        "github: epoch seconds and a resource",
        200,
        {
            "X-RateLimit-Limit": "5000",
            "X-RateLimit-Remaining": "4987",
            "X-RateLimit-Used": "13",
            "X-RateLimit-Reset": "1795357200",
            "X-RateLimit-Resource": "core",
        },
        [{"name": "x-ratelimit", "resource": "core", "limit": 5000, "remaining": 4987, "reset_in": 1199.75}],
    ),
    (
        "sendgrid: epoch seconds",
        200,
        {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "599", "X-RateLimit-Reset": "1795356060"},
        [{"name": "x-ratelimit", "limit": 600, "remaining": 599, "reset_in": 59.75}],
    ),
    (
        "intercom: epoch seconds, in windows of ten",
        200,
        {"X-RateLimit-Limit": "167", "X-RateLimit-Remaining": "166", "X-RateLimit-Reset": "1795356010"},
        [{"name": "x-ratelimit", "limit": 167, "remaining": 166, "reset_in": 9.75}],
    ),
    (
        "okta: X-Rate-Limit",
        200,
        {"X-Rate-Limit-Limit": "600", "X-Rate-Limit-Remaining": "598", "X-Rate-Limit-Reset": "1795356030"},
        [{"name": "x-rate-limit", "limit": 600, "remaining": 598, "reset_in": 29.75}],
    ),
    (
        "twitch: Ratelimit without X",
        200,
        {"Ratelimit-Limit": "800", "Ratelimit-Remaining": "799", "Ratelimit-Reset": "1795356001"},
        [{"name": "ratelimit", "limit": 800, "remaining": 799, "reset_in": 0.75}],
    ),
    (
        "auth0: epoch seconds",
        200,
        {"x-ratelimit-limit": "50", "x-ratelimit-remaining": "49", "x-ratelimit-reset": "1795356002"},
        [{"name": "x-ratelimit", "limit": 50, "remaining": 49, "reset_in": 1.75}],
    ),
    (
        "mailgun: epoch milliseconds",
        200,
        {"X-RateLimit-Limit": "1000", "X-RateLimit-Remaining": "999", "X-RateLimit-Reset": "1795356030500"},
        [{"name": "x-ratelimit", "limit": 1000, "remaining": 999, "reset_in": 30.25}],
    ),
    (
        "gitlab: with a name, a twin and what was observed",
        200,
        {
            "RateLimit-Limit": "2000",
            "RateLimit-Name": "throttle_authenticated_api",
            "RateLimit-Observed": "5",
            "RateLimit-Remaining": "1995",
            "RateLimit-Reset": "1795356060",
            "RateLimit-ResetTime": "Sun, 22 Nov 2026 14:01:00 GMT",
        },
        [{"name": "throttle_authenticated_api", "limit": 2000, "remaining": 1995, "reset_in": 59.75}],
    ),
    (
        "docusign: an hour and a burst",
        200,
        {
            "X-RateLimit-Limit": "3000",
            "X-RateLimit-Remaining": "2000",
            "X-RateLimit-Reset": "1795359600",
            "X-BurstLimit-Limit": "500",
            "X-BurstLimit-Remaining": "499",
        },
        [
            {"name": "x-ratelimit", "limit": 3000, "remaining": 2000, "reset_in": 3599.75},
            {"name": "burst", "limit": 500, "remaining": 499, "window": 30},
        ],
    ),
    (
        "zoom: with a category and a type",
        200,
        {
            "X-RateLimit-Category": "Heavy",
            "X-RateLimit-Type": "QPS",
            "X-RateLimit-Limit": "40",
            "X-RateLimit-Remaining": "39",
            "X-RateLimit-Reset": "1795356001",
        },
        [{"name": "QPS", "resource": "Heavy", "limit": 40, "remaining": 39, "reset_in": 0.75}],
    ),
    (
        "klaviyo: seconds to go",
        200,
        {"RateLimit-Limit": "150", "RateLimit-Remaining": "149", "RateLimit-Reset": "42"},
        [{"name": "ratelimit", "limit": 150, "remaining": 149, "reset_in": 42}],
    ),
    (
        "klaviyo: the policies of an early draft in the limit",
        200,
        {"RateLimit-Limit": "10, 10;w=1, 150;w=60", "RateLimit-Remaining": "9", "RateLimit-Reset": "1"},
        [{"name": "ratelimit", "limit": 10, "remaining": 9, "reset_in": 1, "window": 1}],
    ),
    (
        "pagerduty: seconds to go",
        200,
        {"ratelimit-limit": "960", "ratelimit-remaining": "959", "ratelimit-reset": "22"},
        [{"name": "ratelimit", "limit": 960, "remaining": 959, "reset_in": 22}],
    ),
    (
        "calendly: seconds to go",
        200,
        {"X-RateLimit-Limit": "500", "X-RateLimit-Remaining": "499", "X-RateLimit-Reset": "60"},
        [{"name": "x-ratelimit", "limit": 500, "remaining": 499, "reset_in": 60}],
    ),
    (
        "datadog: with a period and a name",
        200,
        {
            "X-RateLimit-Limit": "300",
            "X-RateLimit-Name": "logs_public_search_api",
            "X-RateLimit-Period": "3600",
            "X-RateLimit-Remaining": "299",
            "X-RateLimit-Reset": "1200",
        },
        [
            {
                "name": "endpoint",
                "resource": "logs_public_search_api",
                "limit": 300,
                "remaining": 299,
                "reset_in": 1200,
                "window": 3600,
            }
        ],
    ),
    (
        "zendesk: the account, the draft's three, and an endpoint",
        200,
        {
            "X-Rate-Limit": "700",
            "X-Rate-Limit-Remaining": "699",
            "ratelimit-limit": "700",
            "ratelimit-remaining": "699",
            "ratelimit-reset": "41",
            "Zendesk-RateLimit-tickets-index": "total=100; remaining=99; resets=41",
        },
        [
            {"name": "account", "limit": 700, "remaining": 699, "reset_in": 41, "window": 60},
            {"name": "ratelimit", "limit": 700, "remaining": 699, "reset_in": 41},
            {"name": "tickets-index", "limit": 100, "remaining": 99, "reset_in": 41},
        ],
    ),
    (
        "linear: epoch milliseconds per dimension",
        200,
        {
            "X-RateLimit-Requests-Limit": "5000",
            "X-RateLimit-Requests-Remaining": "4999",
            "X-RateLimit-Requests-Reset": "1795359600000",
            "X-RateLimit-Complexity-Limit": "250000",
            "X-RateLimit-Complexity-Remaining": "249990",
            "X-RateLimit-Complexity-Reset": "1795359600250",
            "X-RateLimit-Endpoint-Requests-Limit": "100",
            "X-RateLimit-Endpoint-Requests-Remaining": "98",
            "X-RateLimit-Endpoint-Requests-Reset": "1795356060000",
            "X-RateLimit-Endpoint-Name": "issueCreate",
        },
        [
            {"name": "requests", "limit": 5000, "remaining": 4999, "reset_in": 3599.75},
            {"name": "complexity", "limit": 250000, "remaining": 249990, "reset_in": 3600},
            {"name": "endpoint", "resource": "issueCreate", "limit": 100, "remaining": 98, "reset_in": 59.75},
        ],
    ),
    (
        "openai: Go durations per dimension, until full",
        200,
        {
            "x-ratelimit-limit-requests": "10000",
            "x-ratelimit-limit-tokens": "2000000",
            "x-ratelimit-remaining-requests": "9999",
            "x-ratelimit-remaining-tokens": "1800000",
            "x-ratelimit-reset-requests": "12ms",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        [
            {"name": "requests", "kind": "bucket", "limit": 10000, "remaining": 9999, "reset_in": 0.012},
            {"name": "tokens", "kind": "bucket", "limit": 2e6, "remaining": 1.8e6, "reset_in": 360},
        ],
    ),
    (
        "anthropic: RFC 3339 per dimension",
        200,
        {
            "anthropic-ratelimit-requests-limit": "4000",
            "anthropic-ratelimit-requests-remaining": "3999",
            "anthropic-ratelimit-requests-reset": "2026-11-22T14:00:01Z",
            "anthropic-ratelimit-input-tokens-limit": "400000",
            "anthropic-ratelimit-input-tokens-remaining": "399000",
            "anthropic-ratelimit-input-tokens-reset": "2026-11-22T15:00:00+01:00",
        },
        [
            {"name": "requests", "kind": "bucket", "limit": 4000, "remaining": 3999, "reset_in": 0.75},
            {"name": "input-tokens", "kind": "bucket", "limit": 4e5, "remaining": 399000, "reset_in": 0},
        ],
    ),
    (
        "atlassian: a date without seconds",
        429,
        {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2026-11-22T14:05Z"},
        [{"name": "x-ratelimit", "limit": 100, "remaining": 0, "reset_in": 299.75}],
    ),
    (
        "atlassian: points, as the current draft writes them",
        200,
        {
            "Beta-RateLimit-Policy": '"global-app-quota";q=65000;w=3600',
            "Beta-RateLimit": '"global-app-quota";r=11000;t=600',
        },
        [{"name": "global-app-quota", "limit": 65000, "remaining": 11000, "reset_in": 600, "window": 3600}],
    ),
    (
        "atlassian: far from the limit, the rest is not told",
        200,
        {
            "Beta-RateLimit-Policy": '"global-app-quota";q=65000;w=3600',
            "Beta-RateLimit": '"global-app-quota";t=3200',
        },
        [],
    ),
    (
        "discord: a fractional epoch, which a shorter way stands beside, and a bucket",
        200,
        {
            "X-RateLimit-Limit": "5",
            "X-RateLimit-Remaining": "4",
            "X-RateLimit-Reset": "1795356001.650",
            "X-RateLimit-Reset-After": "1.400",
            "X-RateLimit-Bucket": "abcd1234",
        },
        [{"name": "route", "resource": "abcd1234", "limit": 5, "remaining": 4, "reset_in": 1.4}],
    ),
    (
        "cloudflare: structured fields",
        200,
        {"Ratelimit": '"default";r=50;t=30', "Ratelimit-Policy": '"default";q=1200;w=300'},
        [{"name": "default", "limit": 1200, "remaining": 50, "reset_in": 30, "window": 300}],
    ),
    (
        "cloudflare: the older headers, with a date",
        200,
        {
            "x-ratelimit-limit": "1200",
            "x-ratelimit-remaining": "1199",
            "x-ratelimit-reset": "Sun, 22 Nov 2026 14:05:00 GMT",
        },
        [{"name": "x-ratelimit", "limit": 1200, "remaining": 1199, "reset_in": 299.75}],
    ),
    (
        "shopify: used and whole of a leaky bucket",
        200,
        {"X-Shopify-Shop-Api-Call-Limit": "32/40"},
        [{"name": "rest", "kind": "bucket", "limit": 40, "remaining": 8, "reset_in": 16, "window": 20}],
    ),
    (
        "salesforce: used and whole, among others",
        200,
        {"Sforce-Limit-Info": "api-usage=18000/100000, per-app-api-usage=17/250(appName=sample-app)"},
        [
            {"name": "day", "kind": "bucket", "limit": 1e5, "remaining": 82000, "reset_in": 15552, "window": 86400},
            {"name": "app-day", "kind": "bucket", "limit": 250, "remaining": 233, "reset_in": 5875.2, "window": 86400},
        ],
    ),
    (
        "hubspot: what is left of a window of so many milliseconds, and of the day",
        200,
        {
            "X-HubSpot-RateLimit-Daily": "250000",
            "X-HubSpot-RateLimit-Daily-Remaining": "249000",
            "X-HubSpot-RateLimit-Interval-Milliseconds": "10000",
            "X-HubSpot-RateLimit-Max": "100",
            "X-HubSpot-RateLimit-Remaining": "98",
        },
        [
            {"name": "day", "limit": 250000, "remaining": 249000, "window": 86400},
            {"name": "interval", "limit": 100, "remaining": 98, "window": 10},
        ],
    ),
    (
        "xero: only what is left, of three windows",
        200,
        {"X-DayLimit-Remaining": "4990", "X-MinLimit-Remaining": "59", "X-AppMinLimit-Remaining": "9999"},
        [
            {"name": "day", "limit": 5000, "remaining": 4990, "window": 86400},
            {"name": "minute", "limit": 60, "remaining": 59, "window": 60},
            {"name": "app-minute", "limit": 10000, "remaining": 9999, "window": 60},
        ],
    ),
    (
        "twilio: how many are under way",
        200,
        {"Twilio-Concurrent-Requests": "7", "Twilio-Request-Duration": "0.081"},
        [{"name": "concurrent", "kind": "gauge", "load": 7}],
    ),
    (
        "microsoft_graph: the draft's three, above 80 %",
        200,
        {"RateLimit-Limit": "1200", "RateLimit-Remaining": "120", "RateLimit-Reset": "35"},
        [{"name": "ratelimit", "limit": 1200, "remaining": 120, "reset_in": 35}],
    ),
]


def told_as_dict(told: Told) -> dict[str, Any]:
    """What was told, without what it does not say."""
    names = ("name", "kind", "resource", "limit", "remaining", "reset_in", "window", "load")
    values = {name: getattr(told, name) for name in names}
    if values["kind"] == "window":
        del values["kind"]
    return {name: value for name, value in values.items() if value not in (None, "")}


@pytest.mark.parametrize(("case", "status", "fields", "expected"), TOLD, ids=[case[0] for case in TOLD])
def test_what_a_vendor_announces_is_read(
    case: str, status: int, fields: dict[str, str], expected: list[dict[str, Any]]
) -> None:
    """Each vendor's way of saying so ends in the same few numbers, and nothing of it is doubted."""
    advice = read(interpreter(case.partition(":")[0]), status, fields)
    assert (advice.doubts if advice else []) == []
    told = [told_as_dict(one) for one in advice.told] if advice else []
    assert len(told) == len(expected)
    for one, wanted in zip(told, expected, strict=True):
        assert one == pytest.approx(wanted)


# Vendor and case, status, fields, JSON body; then (is_throttled, is_final, retry_after).
REFUSED: list[tuple[str, int, dict[str, str], object, tuple[bool, bool, float | None]]] = [
    ("github: nothing left", 403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795356060"}, {},
     (True, False, 59.75)),
    ("github: a secondary limit with a wait", 403, {"Retry-After": "30", "X-RateLimit-Remaining": "4000"},
     {"message": "You have exceeded a secondary rate limit."}, (True, False, 30)),
    ("github: a secondary limit without a wait", 403, {"X-RateLimit-Remaining": "4000"},
     {"message": "You have exceeded a secondary rate limit. Please wait a few minutes."}, (True, False, 60)),
    ("github: not permitted", 403, {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4000"},
     {"message": "Resource not accessible by integration"}, (False, False, None)),
    ("stripe: a reason only", 429, {"Stripe-Rate-Limited-Reason": "global-rate"},
     {"error": {"type": "rate_limit_error"}}, (True, False, None)),
    ("stripe: a lock, not a quota", 429, {}, {"error": {"code": "lock_timeout"}}, (False, False, None)),
    ("slack: Retry-After", 429, {"Retry-After": "3"}, {"ok": False, "error": "ratelimited"}, (True, False, 3)),
    ("notion: Retry-After", 429, {"Retry-After": "1"}, {"code": "rate_limited"}, (True, False, 1)),
    ("notion: overloaded", 529, {"Retry-After": "5"}, {"code": "service_overload"}, (True, False, 5)),
    ("box: Retry-After", 429, {"Retry-After": "12"}, {"code": "rate_limit_exceeded"}, (True, False, 12)),
    ("asana: Retry-After", 429, {"Retry-After": "30"}, {"errors": [{"message": "wait"}]}, (True, False, 30)),
    ("dropbox: in the header", 429, {"Retry-After": "15"}, {"error": {"retry_after": 300}}, (True, False, 15)),
    ("dropbox: in the body", 429, {}, {"error": {"reason": {".tag": "too_many_requests"}, "retry_after": 300}},
     (True, False, 300)),
    ("microsoft_graph: with 429", 429, {"Retry-After": "10"}, {"error": {"code": "tooManyRequests"}},
     (True, False, 10)),
    ("microsoft_graph: with 503", 503, {"Retry-After": "120"}, {}, (True, False, 120)),
    ("microsoft_graph: a plain 503", 503, {}, {}, (False, False, None)),
    ("microsoft_graph: bandwidth", 509, {}, {}, (True, False, None)),
    ("zendesk: maintenance", 503, {"Retry-After": "60"}, None, (True, False, 60)),
    ("zendesk: a ticket's own limit, as plain text", 429, {}, None, (True, False, 10)),
    ("atlassian: with 503", 503, {"Retry-After": "5"}, None, (True, False, 5)),
    ("atlassian: with a reason", 429, {"Retry-After": "7", "RateLimit-Reason": "jira-burst-based"}, {},
     (True, False, 7)),
    ("atlassian: no wait, but a reset", 429,
     {"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "2026-11-22T14:01Z"}, {},
     (True, False, 59.75)),
    ("quickbooks: a fixed wait", 429, {}, {"Fault": {"Error": [{"code": "003001"}]}}, (True, False, 60)),
    ("airtable: a fixed wait", 429, {}, {"error": {"type": "x"}}, (True, False, 30)),
    ("google: a reason among errors", 403, {}, {"error": {"errors": [{"reason": "rateLimitExceeded"}]}},
     (True, False, None)),
    ("google: the day is used up", 403, {}, {"error": {"errors": [{"reason": "dailyLimitExceeded"}]}},
     (True, True, None)),
    ("google: RetryInfo", 429, {}, {"error": {"status": "RESOURCE_EXHAUSTED", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo"},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}]}}, (True, False, 12.5)),
    ("google: a date in a sentence", 429, {}, {"error": {
        "errors": [{"reason": "userRateLimitExceeded"}],
        "message": "User-rate limit exceeded.  Retry after 2026-11-22T14:15:00.250Z"}}, (True, False, 900)),
    ("google: not permitted", 403, {}, {"error": {"errors": [{"reason": "forbidden"}]}}, (False, False, None)),
    ("aws: the type in a header", 400, {"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/x"}, {},
     (True, False, None)),
    ("aws: the type in the body", 400, {}, {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException"},
     (True, False, None)),
    ("aws: a code in the body, and milliseconds", 400, {"x-amz-retry-after": "1500"}, {"code": "RequestLimitExceeded"},
     (True, False, 1.5)),
    ("aws: a malformed request", 400, {}, {"__type": "com.amazon.coral#ValidationException"}, (False, False, None)),
    ("aws: bandwidth", 509, {}, None, (True, False, None)),
    ("salesforce: refused", 403, {"Sforce-Limit-Info": "api-usage=100/100000"},
     [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}], (True, False, None)),
    ("salesforce: not permitted", 403, {}, [{"errorCode": "INSUFFICIENT_ACCESS"}], (False, False, None)),
    ("mailchimp: too many connections, answered by the edge", 403, {"Content-Type": "text/html; charset=UTF-8"}, None,
     (True, False, None)),
    ("mailchimp: not permitted", 403, {"Content-Type": "application/problem+json"}, {"title": "Forbidden"},
     (False, False, None)),
    ("linear: 400", 400, {"X-RateLimit-Requests-Limit": "5000", "X-RateLimit-Requests-Remaining": "0",
                          "X-RateLimit-Requests-Reset": "1795356060000"},
     {"errors": [{"extensions": {"code": "RATELIMITED"}}]}, (True, False, 59.75)),
    ("docusign: the hour", 400, {"X-RateLimit-Limit": "3000", "X-RateLimit-Remaining": "0",
                                 "X-RateLimit-Reset": "1795359600"},
     {"errorCode": "HOURLY_APIINVOCATION_LIMIT_EXCEEDED"}, (True, False, 3599.75)),
    ("docusign: the burst", 400, {}, {"errorCode": "BURST_APIINVOCATION_LIMIT_EXCEEDED"}, (True, False, 30)),
    ("hubspot: 477", 477, {"Retry-After": "20"}, {}, (True, False, 20)),
    ("hubspot: ten seconds", 429, {"Retry-After": "1"}, {"policyName": "TEN_SECONDLY_ROLLING"}, (True, False, 1)),
    ("hubspot: the day", 429, {}, {"policyName": "DAILY"}, (True, True, None)),
    ("anthropic: overloaded", 529, {}, {"error": {"type": "overloaded_error"}}, (True, False, None)),
    ("openai: slow down", 429, {"retry-after-ms": "1200", "retry-after": "2"},
     {"error": {"code": "rate_limit_exceeded"}}, (True, False, 1.2)),
    ("openai: no money left", 429, {"x-should-retry": "false"}, {"error": {"type": "insufficient_quota", "code": None}},
     (False, True, None)),
    ("segment: a reset alone", 429, {"X-RateLimit-Reset": "20"}, None, (True, False, 20)),
    ("segment: under its other name", 429, {"X-Rate-Limit-Reset": "9"}, None, (True, False, 9)),
    ("square: a reset alone", 429, {"X-RateLimit-Reset": "1795356030"}, {}, (True, False, 29.75)),
    ("datadog: a reset", 429, {"X-RateLimit-Limit": "300", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "77"}, {},
     (True, False, 77)),
    ("klaviyo: Retry-After takes the place of the three", 429, {"Retry-After": "4"}, {}, (True, False, 4)),
    ("gitlab: limits that the headers do not show", 429, {"RateLimit-Limit": "2000", "RateLimit-Remaining": "1500",
     "RateLimit-Reset": "1795356060", "Retry-After": "8"}, None, (True, False, 8)),
    ("okta: too many at once, with an estimate", 429,
     {"X-Rate-Limit-Limit": "0", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "1795356005"}, {},
     (True, False, 4.75)),
    ("zoom: the day, as a date", 429, {"Retry-After": "2026-11-23T00:00:00Z", "X-RateLimit-Type": "Daily-limit"}, {},
     (True, False, 35999.75)),
    ("shopify: a decimal", 429, {"Retry-After": "2.0", "X-Shopify-Shop-Api-Call-Limit": "40/40"}, None,
     (True, False, 2)),
    ("xero: with its problem", 429, {"Retry-After": "33", "X-Rate-Limit-Problem": "minute",
                                     "X-MinLimit-Remaining": "0"}, None, (True, False, 33)),
    ("twilio: too many at once", 429, {"Twilio-Concurrent-Requests": "100"}, {"code": 20429}, (True, False, None)),
    ("discord: everywhere", 429, {"Retry-After": "65", "X-RateLimit-Global": "true", "X-RateLimit-Scope": "global"},
     {"retry_after": 64.57, "global": True}, (True, False, 65)),
    *((f"{vendor}: nothing announced", 429, {}, {}, (True, False, None)) for vendor in (
        "paypal", "postmark", "mailchimp", "adyen", "braintree", "plaid", "square", "typeform")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "status", "fields", "document", "expected"), REFUSED, ids=[case[0] for case in REFUSED]
)
def test_a_refusal_for_the_sake_of_a_limit_is_told_from_others(
    case: str, status: int, fields: dict[str, str], document: object, expected: tuple[bool, bool, float | None]
) -> None:
    """Whatever status it has; and when the vendor may be asked again is known if it can be known."""
    body = None if document is None else json.dumps(document).encode()
    advice = read(interpreter(case.partition(":")[0]), status, fields, body) or Advice()
    is_throttled, is_final, retry_after = expected
    assert (advice.is_throttled, advice.is_final) == (is_throttled, is_final)
    assert advice.retry_after == (None if retry_after is None else pytest.approx(retry_after))


@pytest.mark.parametrize(
    ("vendor", "fields", "expected"),
    [
        ("bitbucket", {"X-RateLimit-Limit": "1000", "X-RateLimit-NearLimit": "true"}, True),
        ("bitbucket", {"X-RateLimit-Limit": "1000", "X-RateLimit-NearLimit": "false"}, False),
        ("atlassian", {"X-RateLimit-NearLimit": "true"}, True),
        ("microsoft_graph", {"x-ms-throttle-limit-percentage": "0.85"}, True),
        ("microsoft_graph", {"x-ms-throttle-limit-percentage": "1.8"}, True),
        ("microsoft_graph", {"x-ms-throttle-limit-percentage": "0.5"}, False),
    ],
)
def test_a_vendor_that_says_so_is_near_its_limit(vendor: str, fields: dict[str, str], *, expected: bool) -> None:
    """As a flag, or as the share that is used."""
    advice = read(interpreter(vendor), 200, fields) or Advice()
    assert advice.is_near is expected
    assert advice.doubts == []


@pytest.mark.parametrize(
    ("vendor", "fields", "expected"),
    [
        ("openai", {"x-should-retry": "true"}, True),
        ("anthropic", {"x-should-retry": "false"}, False),
        ("stripe", {"Stripe-Should-Retry": "true"}, True),
        ("stripe", {"Stripe-Should-Retry": "false"}, False),
        ("adyen", {"transient-error": "true"}, True),
        ("cloudflare", {"x-should-retry": "False"}, False),
    ],
)
def test_the_vendors_own_word_on_trying_again_is_heard(vendor: str, fields: dict[str, str], *, expected: bool) -> None:
    """With any status."""
    for status in (409, 422, 429, 500):
        advice = read(interpreter(vendor), status, fields)
        assert advice is not None
        assert advice.should_retry is expected


def throttle_status(available: float, *, is_refused: bool) -> bytes:
    """An answer of Shopify's GraphQL."""
    status = {"maximumAvailable": 2000.0, "currentlyAvailable": available, "restoreRate": 100.0}
    cost = {"requestedQueryCost": 752, "actualQueryCost": None, "throttleStatus": status}
    errors = [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}] if is_refused else []
    return json.dumps({"errors": errors, "extensions": {"cost": cost}}).encode()


def test_shopifys_graphql_tells_its_bucket_in_the_body() -> None:
    """Size, rest and refill, with every answer."""
    advice = read(interpreter("shopify"), 200, {}, throttle_status(1500, is_refused=False))
    assert advice is not None
    assert not advice.is_throttled
    (told,) = advice.told
    assert (told.name, told.kind, told.limit, told.remaining, told.reset_in) == ("graphql", "bucket", 2000, 1500, 5)


def test_shopifys_graphql_refuses_with_200() -> None:
    """And the wait is what the call needs, less what is there, at the pace of the refill."""
    advice = read(interpreter("shopify"), 200, {}, throttle_status(252, is_refused=True))
    assert advice is not None
    assert advice.is_throttled
    assert advice.retry_after == 5


def test_every_hint_of_a_vendor_is_compiled() -> None:
    """The tables here are what the presets hold."""
    for vendor in HINTS:
        assert interpreter(vendor).names
