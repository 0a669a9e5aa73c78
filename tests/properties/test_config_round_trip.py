"""What `show` writes, `load` reads."""

import json
import string
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.load import read, read_text
from sidecar.config.problem import ConfigError, Problem
from sidecar.config.show import as_data, as_toml

LETTERS = string.ascii_lowercase + string.digits
NAMES = st.text(LETTERS, min_size=1, max_size=12)
TEXTS = st.text(st.characters(min_codepoint=1, max_codepoint=127, exclude_characters="\r\n"), max_size=20)
VALUES = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, include_characters="\t"), max_size=20
)  # Of a header.
DURATIONS = st.one_of(
    st.integers(1, 55_000).map(lambda count: f"{count}ms"),
    st.floats(0.001, 55, allow_nan=False).map(lambda seconds: f"{seconds:.17f}s"),
)
SIZES = st.tuples(st.integers(1, 10**6), st.sampled_from(["B", "KiB", "KB", "MiB", "GB"])).map(
    lambda t: f"{t[0]}{t[1]}"
)
HEADER_NAMES = NAMES.map(lambda name: f"X-{name}")
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "set": st.dictionaries(HEADER_NAMES, VALUES, max_size=3),
        "add": st.dictionaries(HEADER_NAMES, VALUES, max_size=3),
        "remove": st.lists(HEADER_NAMES, max_size=3),
    },
)
STORES = {
    "files": {"kind": "file", "path": "/x"},
    "main": {"kind": "vault", "address": "https://vault.example:8200", "auth": {"method": "kubernetes", "role": "r"}},
    "aws": {"kind": "aws", "region": "eu-central-1"},
    "google": {"kind": "gcp", "project": "checkout"},
}
LOGINS = st.one_of(
    st.fixed_dictionaries({"method": st.just("kubernetes"), "role": NAMES}, optional={"mount": NAMES}),
    st.fixed_dictionaries({"method": st.just("approle"), "role_id": NAMES, "secret_id_file": TEXTS}),
    st.fixed_dictionaries({"method": st.just("jwt"), "role": NAMES, "token_file": TEXTS}),
    st.fixed_dictionaries({"method": st.just("token"), "token_file": TEXTS}),
)
PACE = {"ttl": DURATIONS, "stale_max": st.just("30d"), "timeout": DURATIONS}
SECRETS = st.fixed_dictionaries(
    {
        "files": st.just(STORES["files"]),
        "main": st.fixed_dictionaries(
            {"kind": st.just("vault"), "address": st.just("https://vault.example:8200"), "auth": LOGINS},
            optional={**PACE, "mount": NAMES, "kv_version": st.sampled_from([1, 2]), "namespace": NAMES},
        ),
        "aws": st.fixed_dictionaries(
            {"kind": st.just("aws")}, optional={**PACE, "region": st.just("eu-central-1"), "profile": TEXTS}
        ),
        "google": st.fixed_dictionaries(
            {"kind": st.just("gcp"), "project": st.just("checkout")},
            optional={**PACE, "credentials_file": TEXTS, "allow_private": st.booleans()},
        ),
    }
)
REFERENCES = st.builds(
    lambda store, path, field: f"{store}:{path}{'#' + field if field else ''}",
    st.sampled_from(sorted(STORES)), NAMES, st.none() | NAMES,
)  # fmt: skip
REQUEST: dict[str, Any] = {"token_url": NAMES.map(lambda name: f"https://{name}.example/token?a=b")}
REQUEST_OPTIONS: dict[str, Any] = {
    "scopes": st.lists(NAMES, max_size=3),
    "scope_separator": st.sampled_from([" ", ","]),
    "resources": st.lists(NAMES, max_size=2),
    "params": st.dictionaries(NAMES.map(lambda name: f"p-{name}"), TEXTS, max_size=3),
    "headers": st.dictionaries(HEADER_NAMES, st.text("!~a b", max_size=5), max_size=2),
    "body": st.sampled_from(["form", "json"]),
    "dpop": st.just(False),  # True: some of CLIENTS.
    "token_life": DURATIONS,
    "base_url_from": NAMES,
    "ca_file": TEXTS,
}
CLIENTS: list[dict[str, Any]] = [
    {"client_id": NAMES, "client_secret": REFERENCES},
    {"client_id": NAMES, "client_secret": REFERENCES, "client_auth": st.just("client_secret_post")},
    {"client_id": NAMES, "client_auth": st.just("private_key_jwt"), "client_key": REFERENCES},
    {
        "client_id": NAMES, "client_auth": st.just("tls_client_auth"), "client_key": REFERENCES,
        "client_certificate": REFERENCES,
    },
    {"client_auth": st.just("none"), "dpop": st.just(True), "dpop_key": REFERENCES},
    {"client_auth": st.just("none")},
]  # fmt: skip
GRANTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kind": st.just("oauth2_client_credentials")}, {"grant_type": NAMES}),
    ({"kind": st.just("oauth2_refresh_token"), "refresh_token": REFERENCES}, {}),
    (
        {"kind": st.just("oauth2_jwt_bearer"), "key": REFERENCES, "issuer": NAMES, "client_auth": st.just("none")},
        {"claims": st.dictionaries(NAMES, TEXTS, max_size=3), "scopes_in": st.sampled_from(["assertion", "request"])},
    ),
    (
        {"kind": st.just("oauth2_token_exchange"), "subject_token": REFERENCES, "client_auth": st.just("none")},
        {"actor_token": REFERENCES, "audiences": st.lists(NAMES, max_size=2)},
    ),
]
SIGNED = [
    st.fixed_dictionaries(
        {"kind": st.just("hmac"), "secret": REFERENCES, "to_sign": st.just("{method}\n{target}{{}}")},
        optional={
            "algorithm": st.sampled_from(["sha256", "sha512", "sha1"]), "body_max": SIZES, "headers":
            st.dictionaries(HEADER_NAMES, st.just("{timestamp}"), max_size=2),
        },
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("aws_sigv4"), "region": st.just("eu-central-1"), "service": st.just("s3"),
            "access_key": REFERENCES, "secret_key": REFERENCES,
        },
        optional={"session_token": REFERENCES, "body_max": SIZES},
    ),
    st.fixed_dictionaries(
        {"kind": st.just("github_app"), "app_id": NAMES, "private_key": REFERENCES, "installation_id": st.just("7")},
        optional={
            "permissions": st.dictionaries(NAMES, st.sampled_from(["read", "write"]), max_size=2),
            "repositories": st.lists(NAMES, max_size=2),
        },
    ),
    st.just({"kind": "passthrough"}),
]  # fmt: skip
AUTHS = st.one_of(
    *(
        st.fixed_dictionaries(
            whole := {**client, **REQUEST, **own},
            optional={name: value for name, value in {**REQUEST_OPTIONS, **options}.items() if name not in whole},
        )
        for own, options in GRANTS
        for client in (CLIENTS if "client_auth" not in own else CLIENTS[-1:])
    ),
    *SIGNED,
    st.fixed_dictionaries(
        {"kind": st.just("bearer"), "secret": REFERENCES}, optional={"prefix": VALUES, "pool": st.booleans()}
    ),
    st.fixed_dictionaries(
        {"kind": st.just("api_key"), "secret": REFERENCES, "in": st.sampled_from(["header", "query"]), "name": NAMES}
    ),
    st.fixed_dictionaries({"kind": st.just("basic"), "secret": REFERENCES, "username": NAMES}),
)
OVERRIDABLE = {
    "auth": AUTHS,
    "timeout": DURATIONS,
    "idle_timeout": DURATIONS,
    "body_max": SIZES,
    "allow": st.lists(NAMES.map(lambda name: f"GET /{name}/**"), max_size=3),
    "forward": st.lists(st.sampled_from(["Authorization", "Cookie"]), max_size=2, unique=True),
    "headers": HEADERS,
    "response_headers": HEADERS,
    "rewrite_urls": st.sampled_from(["headers", "body", False]),
}
ROUTES = st.fixed_dictionaries({"match": NAMES.map(lambda name: f"* /{name}")}, optional=OVERRIDABLE)
SERVICES = st.fixed_dictionaries(
    {"base_url": NAMES.map(lambda name: f"https://{name}.example/v1")},
    optional={
        **OVERRIDABLE,
        "allow_private": st.booleans(),
        "ca_file": TEXTS,
        "client_certificate": st.fixed_dictionaries(
            {"certificate": REFERENCES, "private_key": REFERENCES}, optional={"password": REFERENCES}
        ),
        "pool": st.fixed_dictionaries({}, optional={"idle_max": st.integers(1, 100), "idle_timeout": DURATIONS}),
        "routes": st.dictionaries(NAMES, ROUTES, max_size=3),
    },
) | st.fixed_dictionaries(
    {
        "base_url": st.just("https://mtls.example"),
        "auth": st.fixed_dictionaries(
            {"kind": st.just("mtls"), "certificate": REFERENCES, "private_key": REFERENCES},
            optional={"password": REFERENCES},
        ),
    }
)
CONFIGS = st.fixed_dictionaries(
    {"secrets": st.just(STORES) | SECRETS},
    optional={
        "audit": st.fixed_dictionaries(
            {},
            optional={
                "file": st.just("/a"),
                "calls": st.sampled_from(["all", "writes", "none"]),
                "files_max": st.integers(1, 1000),
                "sync_every": DURATIONS,
            },
        ),
        "sidecar": st.fixed_dictionaries({}, optional={"environment": NAMES, "drain_timeout": DURATIONS}),
        "log": st.fixed_dictionaries({}, optional={"success": st.floats(0, 1)}),
        "services": st.dictionaries(NAMES, SERVICES, max_size=3),
    },
)


@given(CONFIGS)
@settings(max_examples=60)
def test_what_is_shown_reads_back_to_an_equal_config(raw: dict[str, object]) -> None:
    """No value, name or order is lost on the way through TOML or JSON."""
    config = read(raw)
    for again in (read_text(as_toml(config)), read(json.loads(json.dumps(as_data(config))))):
        assert again == config
        assert list(again.services) == list(config.services)


TREES = st.recursive(
    st.one_of(st.text(max_size=5), st.integers(), st.floats(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
KEYS = ("sidecar", "listen", "secrets", "log", "services", "base_url", "auth", "routes", "match", "kind", "crm")


@given(st.dictionaries(st.sampled_from(KEYS), st.dictionaries(st.sampled_from(KEYS), TREES) | TREES))
@settings(max_examples=60)
def test_whatever_stands_in_the_file_gives_a_config_or_problems(raw: dict[str, object]) -> None:
    """The reader has no tracebacks in it."""
    problems: tuple[Problem, ...] = ()
    try:
        read(raw)
    except ConfigError as error:
        problems = error.problems
    assert all(problem.sentence for problem in problems)
