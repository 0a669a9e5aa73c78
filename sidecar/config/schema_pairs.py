"""Schema pairs: what the keys of a section mean together, as far as it shows in which of them are there.

Not where a service lies on a preset, which may have the other key.
"""

from collections.abc import Iterable

import msgspec

from sidecar.auth.login.config import LoginConfig
from sidecar.auth.oauth.config import NEEDS, TokenExchange, TokenRequest
from sidecar.auth.secrets.vault.config import VaultStoreConfig
from sidecar.auth.signing.config import AwsSigv4
from sidecar.config.schema_types import Schema
from sidecar.core.section import Section
from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.circuit_breaker.config import CircuitBreakerConfig
from sidecar.layers.defer.config import QueueConfig
from sidecar.layers.idempotency.config import IdempotencyConfig
from sidecar.layers.service import ServiceConfig
from sidecar.layers.transform import ApiVersion
from sidecar.store.config import OF, StoreConfig
from sidecar.upstream.hints.config import SOURCES, Dialect
from sidecar.webhooks.config import WebhookConfig


def _there(*keys: str) -> Schema:
    return {"required": list(keys)}


def _not_there(*keys: str) -> Schema:
    return {"properties": dict.fromkeys(keys, False)}


def _is(key: str, *values: object) -> Schema:
    return {"properties": {key: {"enum": list(values)}}, "required": [key]}


def _if(condition: Schema, then: Schema) -> Schema:
    return {"if": condition, "then": then}


def _either(one: str, other: str) -> Schema:
    """One of the two, and not both; the message asks for the first."""
    return {"if": _there(other), "then": _not_there(one), "else": _there(one)}


def _client_auth(kind: type[Section]) -> Iterable[Schema]:
    """Hold the client to what it shows; `client_auth` may be left out where it is the default."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for way, keys in NEEDS.items():
        chosen = _is("client_auth", way)
        if fields["client_auth"].default == way:
            chosen.pop("required")
        unused = [key for key in ("client_secret", "client_key") if key not in keys]
        yield _if(chosen, _there(*keys) | _not_there(*unused))


_OF_VALKEY = [key for key, default in zip(StoreConfig.__struct_fields__, StoreConfig.__struct_defaults__, strict=True)
              if OF.get(key) == ("valkey",) and default is None]  # fmt: skip
_STORED = {"required": ["store"], "properties": {"store": _is("kind", "sqlite", "valkey")}}
_NO_QUEUE = {"properties": {"queue": {"const": False}}}
_NO_QUEUES = {"properties": {**_NO_QUEUE["properties"], "routes": {"additionalProperties": _NO_QUEUE}}}

# Of the whole file: what is acknowledged is kept.
WHOLE: list[Schema] = [
    _if({"properties": {"webhooks": {"minProperties": 1}}, "required": ["webhooks"]}, _STORED),
    {"if": {"properties": {"services": {"additionalProperties": _NO_QUEUES}}}, "else": _STORED},
]

PAIRS: dict[type[Section], list[Schema]] = {
    StoreConfig: [
        _if({"anyOf": [_there(key) for key in _OF_VALKEY]}, _is("kind", "valkey")),
        _if(_is("kind", "valkey"), _there("url")),
    ],
    VaultStoreConfig: [_if(_is("engine", "dynamic"), _not_there("kv_version"))],
    ServiceConfig: [_if(_there("upstream_proxy_auth"), _there("upstream_proxy"))],
    TokenRequest: [_if(_there("dpop_key"), _is("dpop", True))],
    TokenExchange: [_either("subject_token", "subject_token_file")],
    LoginConfig: [{"if": _there("device_url"), "else": _there("authorize_url")}],
    AwsSigv4: [
        {
            "if": _there("credentials"),
            "then": _not_there("access_key", "secret_key", "session_token"),
            "else": _there("access_key", "secret_key"),
        }
    ],
    CircuitBreakerConfig: [
        _if(_there("slow_after"), _there("slow_rate")),
        _if(_there("slow_rate"), _there("slow_after")),
    ],
    ApiVersion: [{"oneOf": [_there("header"), _there("query"), _is("path", True)]}],
    IdempotencyConfig: [
        {"if": _there("replay"), "else": {"anyOf": [_there("header"), _there("field"), _there("query")]}},
        _if(_there("header"), _not_there("field", "query")),
        _if(_there("field"), _not_there("query")),
    ],
    QueueConfig: [
        _if(_there("callback"), _there("callback_secret")),
        _if(_there("callback_secret"), _there("callback")),
    ],
    BatchConfig: [_if(_there("answer_id"), _there("id"))],
    Dialect: [
        {"oneOf": [_there(source) for source in SOURCES]},
        _if(_there("ratio_key"), _there("ratio")),
        _if(_there("policy"), _there("state")),
        _if(_there("used"), {"anyOf": [_there("limit"), _there("limit_is")]}),
    ],
    WebhookConfig: [
        {"if": _there("signature"), "else": _there("provider")},
        _if(_there("deliver_secret"), _there("deliver_to")),
    ],
}


def together(kind: type[Section]) -> Schema:
    """Give what the keys of a section have to be together."""
    found = [pair for parent in kind.__mro__ for pair in PAIRS.get(parent, [])]
    if issubclass(kind, TokenRequest):
        found += _client_auth(kind)
    return found[0] if len(found) == 1 else {"allOf": found} if found else {}
