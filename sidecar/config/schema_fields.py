"""Schema fields: what a field may hold beyond its type, as JSON Schema.

These are the rules of one value that sections have in `problems()` and config/rules has of them; patterns and bounds
are taken from there where they have a name. What rests on two values is `sidecar check`'s alone.

Beside JSON Schema's own keywords there are `items`, laid over what a list's type says of its items, `values`, the same
for a table of names and values, and `names`, the form of these names.
"""

from typing import Any

from sidecar.auth.login import config as login
from sidecar.auth.oauth import config as oauth
from sidecar.auth.schemes import ApiKey, Basic, Bearer
from sidecar.auth.secrets.aws import config as aws
from sidecar.auth.secrets.gcp import config as gcp
from sidecar.auth.secrets.vault import config as vault
from sidecar.auth.signing import config as signing
from sidecar.config import presets
from sidecar.config.model import ENVIRONMENT, Config, SidecarSection
from sidecar.config.rules.headers import PARAMETER, TOKEN, VALUE
from sidecar.config.rules.listeners import HOST
from sidecar.config.rules.names import LABEL, STORE
from sidecar.config.rules.webhooks import NAME
from sidecar.config.schema_types import ADDRESS, ENDPOINT, LOCAL_ADDRESS, PROXY, Schema, exact, text
from sidecar.core.section import Section
from sidecar.downstream.listener import ListenConfig
from sidecar.layers import pieces
from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig
from sidecar.layers.coalesce import config as coalesce
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.gathering import config as gathering
from sidecar.layers.hedge import config as hedge
from sidecar.layers.idempotency import config as idempotency
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.service import ServiceConfig
from sidecar.layers.transform import ApiVersion, HeaderRules
from sidecar.store import config as store
from sidecar.telemetry.audit import config as audit
from sidecar.telemetry.log import LogConfig
from sidecar.upstream.hints import config as hints
from sidecar.webhooks import bearer, fetched, handshake, place, scheme
from sidecar.webhooks import config as webhooks

_SHARE = {"minimum": 0, "maximum": 1}
_SHARE_ABOVE_0 = {"exclusiveMinimum": 0, "maximum": 1}
_SOME = {"minItems": 1}
_NAMED = {"minLength": 1}
_HELD_BACK = text("[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Aa][Tt][Ii][Oo][Nn]|[Cc][Oo][Oo][Kk][Ii][Ee]")
_TOKEN, _VALUE = text(TOKEN), text(VALUE)
_HEADERS = {"names": exact(TOKEN), "values": _VALUE}

_HINTED = text(hints.HEADER)
# `{dim}` counts as one letter.
_DIM_HEADER = text(hints.HEADER.pattern.replace("[", "(?:[", 1).replace("]", r"]|\{dim\})", 1))

_OTHER_KINDS = "|".join(kind for kind in place.KINDS if kind != "header")
_PLACE = text(rf"header:{place.HEADER_NAME.pattern}|(?:{_OTHER_KINDS}):[^\x00]+")
_LETTER = place.HEADER_NAME.pattern.partition("{")[0]
_SIGNATURE = text(rf"header:(?:{_LETTER}|\{{n\}}){{1,128}}|(?:{_OTHER_KINDS}):[^\x00]+")
_PLACE_OR_TEMPLATE = text(rf"{_PLACE['pattern'][1:-1]}|[^\x00]*\{{[^\x00]*")

_DIALECT = (*hints.SOURCES, "limit", "reset", "window_header", "policy", "resource", "name_header")

FIELDS: dict[tuple[type[Section], str], dict[str, Any]] = {
    (Config, "secrets"): {"names": exact(STORE)},
    (Config, "services"): {"names": exact(LABEL)},
    (Config, "webhooks"): {"names": exact(NAME)},
    (SidecarSection, "environment"): text(ENVIRONMENT),
    (ListenConfig, "egress"): {"items": ADDRESS, **_SOME},
    (ListenConfig, "admin"): LOCAL_ADDRESS,
    (ListenConfig, "telemetry"): ADDRESS,
    (ListenConfig, "webhooks"): ADDRESS,
    (ListenConfig, "hosts"): {"items": text(HOST)},
    (audit.AuditConfig, "file"): text(r"[^\x00]*[^\x00-\x20][^\x00]*"),
    (audit.AuditConfig, "files_max"): {"minimum": 1, "maximum": audit.FILES_LIMIT},
    (LogConfig, "success"): _SHARE,
    (store.StoreConfig, "master"): text(store.MASTER),
    (store.StoreConfig, "prefix"): text(store.PREFIX),
    # Secrets.
    (vault.VaultStoreConfig, "mount"): text(vault.PATH),
    (vault.VaultStoreConfig, "namespace"): text(vault.PATH),
    **{(kind, "mount"): text(vault.PATH) for kind in (vault.Kubernetes, vault.AppRole, vault.Jwt)},
    (aws.AwsStoreConfig, "region"): text(aws.REGION),
    (aws.AwsStoreConfig, "role_arn"): text(aws.ROLE),
    (aws.AwsStoreConfig, "endpoint_url"): ENDPOINT,
    (gcp.GcpStoreConfig, "endpoint"): ENDPOINT,
    (gcp.GcpStoreConfig, "project"): text(gcp.PROJECT),
    # Services.
    (ServiceConfig, "provider"): text(presets.NAME),
    (ServiceConfig, "listen"): {"items": ADDRESS},
    (ServiceConfig, "upstream_proxy"): PROXY,
    (ServiceConfig, "forward"): {"items": _HELD_BACK},
    (HeaderRules, "set"): _HEADERS,
    (HeaderRules, "add"): _HEADERS,
    (HeaderRules, "remove"): {"items": _TOKEN},
    (ApiVersion, "value"): _VALUE,
    (ApiVersion, "header"): _TOKEN,
    (ApiVersion, "query"): text(PARAMETER),
    (RetryConfig, "budget"): _SHARE,
    (CircuitBreakerConfig, "failure_rate"): _SHARE_ABOVE_0,
    (CircuitBreakerConfig, "slow_rate"): _SHARE_ABOVE_0,
    (hedge.HedgeConfig, "quantile"): {"minimum": 0.5, "exclusiveMaximum": 1},
    (hedge.HedgeConfig, "samples_min"): {"minimum": 1, "maximum": hedge.SAMPLES_MAX},
    (coalesce.CoalesceConfig, "headers"): {"items": text(coalesce.TOKEN)},
    (coalesce.CoalesceConfig, "waiting_max"): {"minimum": 1},
    (gathering.GatherConfig, "request"): text(gathering.REQUEST),
    (gathering.GatherConfig, "item"): text(r"[^\x00]*\{(?:id|number)\}[^\x00]*"),
    (gathering.GatherConfig, "separator"): text(gathering.SEPARATOR),
    (gathering.GatherConfig, "answer_items"): text(pieces.PATH),
    (gathering.GatherConfig, "wrap"): _NAMED,
    (gathering.GatherConfig, "headers"): {"items": text(coalesce.TOKEN)},
    (BatchConfig, "request_items"): text(pieces.PATH),
    (BatchConfig, "answer_items"): text(pieces.PATH),
    (idempotency.IdempotencyConfig, "header"): text(idempotency.TOKEN),
    (idempotency.IdempotencyConfig, "field"): _NAMED,
    (idempotency.IdempotencyConfig, "query"): text(idempotency.PLAIN),
    (idempotency.IdempotencyConfig, "key_max"): {"minimum": idempotency.MADE_MIN},
    (idempotency.IdempotencyConfig, "methods"): {"items": text(idempotency.METHOD), **_SOME},
    (QueueConfig, "schedule"): _SOME,
    (hints.HintsConfig, "pace_below"): _SHARE,
    (hints.HintsConfig, "near"): _SHARE,
    (hints.HintsConfig, "resource_segments"): {"minimum": 0, "maximum": 8},
    (hints.HintsConfig, "should_retry"): {"items": _HINTED},
    **{(hints.Dialect, field): _DIM_HEADER for field in _DIALECT},
    (hints.Dialect, "dims"): {"maxItems": hints.DIMS_MAX},
    (hints.Dialect, "limit_is"): {"exclusiveMinimum": 0},
    (hints.Signal, "statuses"): _SOME,
    (hints.Signal, "header"): _HINTED,
    (hints.Allowance, "statuses"): _SOME,
    (hints.RetryHeader, "name"): _HINTED,
    # `auth`.
    (Bearer, "header"): _TOKEN,
    (Bearer, "prefix"): _VALUE,
    (ApiKey, "name"): text(f"{TOKEN.pattern}|{PARAMETER.pattern}"),  # By its place, one of them.
    (ApiKey, "prefix"): _VALUE,
    (Basic, "username"): text(r"[^:\x00-\x1f\x7f]*"),
    (oauth.TokenRequest, "params"): {"properties": dict.fromkeys(sorted(oauth.SECRET_PARAMS), False)},
    (oauth.TokenRequest, "headers"): {"names": exact(oauth.HEADER), "values": text(oauth.VISIBLE)},
    (login.LoginConfig, "redirect_port"): {"minimum": 0, "maximum": login.PORT_MAX},
    (login.LoginConfig, "redirect_path"): text(login.PATH),
    (login.LoginConfig, "params"): {"properties": dict.fromkeys(sorted(login.OURS), False)},
    (signing.Hmac, "value"): text(r"[ -~]*\{signature\}[ -~]*"),
    (signing.Hmac, "header"): text(signing.FIELD_NAME),
    (signing.Hmac, "headers"): {"names": exact(signing.FIELD_NAME), "values": text("[ -~]*")},
    (signing.Hmac, "key_id"): text("[ -~]*"),
    (signing.AwsSigv4, "region"): text(signing.REGION),
    (signing.AwsSigv4, "service"): text(signing.REGION),
    (signing.GithubApp, "app_id"): text(signing.FIELD_NAME),
    (signing.GithubApp, "installation_id"): text(signing.NUMBER),
    (signing.GithubApp, "permissions"): {"values": {"enum": list(signing.PERMISSIONS)}},
    # Webhooks.
    (webhooks.WebhookConfig, "provider"): text(presets.NAME),
    (webhooks.WebhookConfig, "url"): text(webhooks.URL),
    (webhooks.WebhookConfig, "types"): {"items": text(r"[^\x00-\x1f\x7f]+")},
    (webhooks.WebhookConfig, "deliver_batch"): {"maximum": webhooks.BATCH_MAX},
    (webhooks.WebhookConfig, "schedule"): _SOME,
    (scheme.Scheme, "signature"): {"items": _SIGNATURE, **_SOME},
    **{(scheme.Scheme, field): _PLACE for field in ("body_hash", "each", "timestamp")},
    (scheme.Scheme, "id"): _PLACE_OR_TEMPLATE,
    (scheme.Scheme, "type"): _PLACE_OR_TEMPLATE,
    (scheme.Variant, "body_hash"): _PLACE,
    (scheme.Scheme, "requires"): {"names": _PLACE["pattern"]},
    (handshake.HandshakeConfig, "when"): {"names": _PLACE["pattern"]},
    (handshake.HandshakeConfig, "status"): {"minimum": 200, "maximum": 299},
    (handshake.HandshakeConfig, "headers"): {"names": exact(place.HEADER_NAME)},
    (handshake.HandshakeConfig, "secret"): _PLACE,
    (fetched.FetchedConfig, "url"): text(rf"https:[^\x00]*|{_PLACE['pattern'][1:-1]}"),
    (fetched.FetchedConfig, "hosts"): {"items": text(fetched.HOST), **_SOME},
    (bearer.JwtConfig, "algorithms"): {"items": {"enum": sorted(bearer.ALGORITHMS)}, **_SOME},
}

# Keys that have a default which is refused.
REQUIRED: dict[type[Section], tuple[str, ...]] = {hints.Signal: ("statuses",), hints.Allowance: ("statuses",)}


def beyond_its_type(kind: type[Section], field: str) -> Schema:
    """Give what a field may hold; one that is inherited is told where it is defined."""
    return next((FIELDS[parent, field] for parent in kind.__mro__ if (parent, field) in FIELDS), {})
