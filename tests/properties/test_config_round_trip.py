"""What `show` writes, `load` reads."""

import json
import string

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
REFERENCES = st.builds(lambda path, field: f"files:{path}{'#' + field if field else ''}", NAMES, st.none() | NAMES)
AUTHS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("bearer"), "secret": REFERENCES}, optional={"prefix": VALUES}),
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
        "pool": st.fixed_dictionaries({}, optional={"idle_max": st.integers(1, 100), "idle_timeout": DURATIONS}),
        "routes": st.dictionaries(NAMES, ROUTES, max_size=3),
    },
)
CONFIGS = st.fixed_dictionaries(
    {"secrets": st.just({"files": {"kind": "file", "path": "/x"}})},
    optional={
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
