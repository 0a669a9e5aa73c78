"""The schema refuses what `sidecar check` refuses, as far as one value tells; and never what it accepts.

Only `sidecar check` knows: what the values of two keys mean together (a burst above its rate, a step longer than its
call, two listeners on one port); names that have to be there (secret stores, the user's own presets, what a preset
leaves to the service); queries (JMESPath), templates and regular expressions; bounds of what is written with a unit;
the letters of a host beyond its form, and which headers are the sidecar's own.
"""

import ast
import copy
import json
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import jsonschema
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sidecar.auth.oauth.url import TokenUrl
from sidecar.auth.secrets.vault.config import VaultAddress
from sidecar.config.load import _config, _environment, presets_of, read
from sidecar.config.model import Config, encode_names
from sidecar.config.problem import ConfigError, Problem
from sidecar.config.reader import Reader
from sidecar.config.schema import schema, schema_of
from sidecar.config.schema_fields import FIELDS, REQUIRED
from sidecar.config.schema_types import TYPES, exact
from sidecar.config.schema_words import of_field
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Duration, Rate, Rates, Size
from sidecar.demo import stage
from sidecar.layers.access import Rule
from sidecar.layers.retry.config import RetryConfig
from sidecar.store.config import Nodes
from sidecar.upstream.origin import BaseUrl
from sidecar.webhooks.target import Target
from tests.test_docs import BASE, overlaid
from tests.test_docs import examples as examples_of_docs
from tests.test_reference import TEXT
from tests.test_reference import examples as every_key

ROOT = Path(__file__).parent.parent.parent
SCHEMA = schema()
WHOLE = tomllib.loads(every_key())

GOOD = """
[sidecar]
environment = "production"

[store]
kind = "sqlite"

[secrets.files]
kind = "file"
path = "/run/secrets"

[secrets.main]
kind = "vault"
address = "https://vault.example:8200"
auth = { method = "kubernetes", role = "shop" }

[services.crm]
base_url = "https://api.crm.example/v2"
auth = { kind = "bearer", secret = "files:crm" }
rate_limit = { rate = ["90/s", "10000/day"] }
retry = { attempts_max = 2, statuses = [429, "5xx"] }

[services.crm.routes.contacts]
match = "GET /contacts/**"
timeout = "2s"

[services.shop]
provider = "stripe"
auth = { secret = "files:stripe" }

[webhooks.stripe]
provider = "stripe"
secret = "files:stripe-webhook"
"""


class Decoder(Reader):
    """Reads values by their types alone: no section is asked what it finds wrong with itself."""

    def build(self, kind: type[Section], values: dict[str, Any], path: str) -> Any:  # noqa: ARG002
        """Make the section."""
        return kind(**values)


def problems(raw: dict[str, Any]) -> list[Problem]:
    """Give what `sidecar check` says."""
    try:
        read(raw)
    except ConfigError as error:
        return list(error.problems)
    return []


def misread(raw: dict[str, Any]) -> list[Problem]:
    """Give what is wrong with types, keys and forms."""
    decoder = Decoder(_environment(raw))
    _config(decoder, raw, presets_of(raw, None))
    return decoder.problems


class Helm:
    """A chart whose values hold the config, and Helm's own engine that judges them."""

    def __init__(self, directory: Path) -> None:
        (directory / "Chart.yaml").write_text("apiVersion: v2\nname: shop\nversion: 0.1.0\n")
        config = copy.deepcopy(SCHEMA)
        definitions = config.pop("$defs")
        outer = {
            "$schema": config["$schema"],
            "properties": {"config": {"$ref": "#/$defs/config"}},
            "$defs": {**definitions, "config": config},
        }
        (directory / "values.schema.json").write_text(json.dumps(outer))
        self._chart = helm_python.Chart.load(str(directory))

    def refusal(self, raw: object) -> str | None:
        """Give what Helm says against a config; None when it takes it."""
        try:
            self._chart.validate_schema({"config": raw})
        except helm_python.HelmValuesError as error:
            return str(error)
        return None


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Helm's engine, with the schema."""
    return Helm(tmp_path_factory.mktemp("chart"))


def accepts(raw: object) -> bool:
    """Whether the schema takes a config, by a validator in Python."""
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(raw))


def configs_in_tests() -> Iterator[Any]:
    """Give (where, table) for each text in the tests that is TOML and has services or more of its kind."""
    known = {name for name, hint in encode_names(Config).items() if hint}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "[" in node.value:
                try:
                    raw = tomllib.loads(node.value)
                except (tomllib.TOMLDecodeError, RecursionError, ValueError):
                    continue
                if raw and raw.keys() <= known and all(isinstance(table, dict) for table in raw.values()):
                    yield pytest.param(raw, id=f"{path.relative_to(ROOT / 'tests')}:{node.lineno}")


def test_the_schema_is_one() -> None:
    """By the draft that it names, and every reference leads somewhere."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    referred = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(SCHEMA)))
    assert referred == SCHEMA["$defs"].keys()


def test_the_reference_with_every_key_is_accepted(helm: Helm) -> None:
    """As it stands, and with every commented key made active."""
    for raw in (tomllib.loads(TEXT), WHOLE, tomllib.loads(GOOD)):
        assert helm.refusal(raw) is None
        assert accepts(raw)


def test_every_example_of_the_docs_is_accepted(helm: Helm) -> None:
    """Whole files as they are, fragments over what they stand on."""
    told = {
        where: tomllib.loads(text) if is_whole else overlaid(tomllib.loads(BASE), tomllib.loads(text))
        for where, is_whole, text in examples_of_docs()
    }
    assert len(told) > 20
    assert {where: said for where, raw in told.items() if (said := helm.refusal(raw)) is not None} == {}


def test_the_config_of_the_demo_is_accepted(helm: Helm) -> None:
    """Its services lie on a preset of the user's own."""
    text = stage.CONFIG.format(**stage.PORTS, secrets="/run/secrets", open_for="500ms")
    assert helm.refusal(tomllib.loads(text)) is None


@pytest.mark.parametrize("raw", list(configs_in_tests()))
def test_configs_of_other_tests_are_judged_as_by_the_reader(helm: Helm, raw: dict[str, Any]) -> None:
    """What is accepted there is accepted here."""
    said = helm.refusal(raw)
    assert accepts(raw) == (said is None)
    if not problems(raw):
        assert said is None


DYNAMIC = {
    "kind": "vault", "address": "https://a", "auth": {"method": "token", "token_file": "/t"}, "engine": "dynamic",
    "kv_version": 2,
}  # fmt: skip
OAUTH = {"kind": "oauth2_client_credentials", "token_url": "https://id.example/token", "client_id": "shop"}
AWS = {"kind": "aws_sigv4", "region": "eu-central-1", "service": "s3"}
GATHER = {"request": "GET /c?ids={ids}", "answer_items": "results", "id": "id"}
# (what is put where, what Helm's message names). None takes a key away.
WRONG: list[tuple[str, Any, str]] = [
    ("srevices", {}, "at '/config': additional properties 'srevices' not allowed"),
    ("sidecar.replcas", 2, "at '/config/sidecar': additional properties 'replcas' not allowed"),
    ("services.crm.timout", "2s", "at '/config/services/crm': additional properties 'timout' not allowed"),
    ("services.shop.timout", "2s", "at '/config/services/shop': additional properties 'timout' not allowed"),
    ("services.crm.auth.secert", "files:x", "at '/config/services/crm/auth': additional properties 'secert'"),
    ("services.shop.auth.secert", "files:x", "at '/config/services/shop/auth': additional properties 'secert'"),
    ("services.crm.retry.attempts", 2, "at '/config/services/crm/retry': additional properties 'attempts'"),
    ("services.crm.routes.contacts.timout", "2s", "at '/config/services/crm/routes/contacts': additional properties"),
    ("services.crm.routes.contacts.base_url", "https://a.example", "additional properties 'base_url' not allowed"),
    ("services.crm.hints.signals", [{"statuses": [403], "hedder": "x"}], "signals/0': additional properties 'hedder'"),
    ("secrets.main.auth.rôle", "x", "at '/config/secrets/main/auth': additional properties"),
    ("webhooks.stripe.secrets", "files:x", "at '/config/webhooks/stripe': additional properties 'secrets'"),
    ("services.My_Crm", {"base_url": "https://a.example"}, "at '/config/services': additional properties 'My_Crm'"),
    ("services.crm.routes.a b", {"match": "GET /"}, "at '/config/services/crm/routes': additional properties 'a b'"),
    ("sidecar.replicas", "2", "at '/config/sidecar/replicas': got string, want integer"),
    ("sidecar.replicas", 1.5, "at '/config/sidecar/replicas': got number, want integer"),
    ("sidecar.replicas", 0, "at '/config/sidecar/replicas': minimum: got 0, want 1"),
    ("services.crm.cost", 10**10, "at '/config/services/crm/cost': maximum"),
    ("services.crm.allow", "GET /a", "at '/config/services/crm/allow': got string, want array"),
    ("services.crm.allow", ["get /a"], "at '/config/services/crm/allow/0': 'get /a' does not match pattern"),
    ("services.crm.allow", ["GET /a**b"], "at '/config/services/crm/allow/0': 'GET /a**b' does not match pattern"),
    ("services.crm.timeout", 2, "at '/config/services/crm/timeout': got number, want string"),
    ("services.crm.timeout", "2 s", "at '/config/services/crm/timeout': '2 s' does not match pattern"),
    ("services.crm.timeout", "0s", "at '/config/services/crm/timeout': '0s' does not match pattern"),
    ("services.crm.body_max", "5MB ", "at '/config/services/crm/body_max': '5MB ' does not match pattern"),
    ("services.crm.rate_limit.rate", "10", "at '/config/services/crm/rate_limit/rate': '10' does not match pattern"),
    ("services.crm.rate_limit.rate", ["5/0s"], "at '/config/services/crm/rate_limit/rate/0'"),
    ("services.crm.rate_limit.rate", None, "at '/config/services/crm/rate_limit': missing property 'rate'"),
    ("services.crm.retry.statuses", ["6xxx"], "at '/config/services/crm/retry/statuses/0'"),
    ("services.crm.retry.budget", 1.2, "at '/config/services/crm/retry/budget': maximum"),
    ("services.crm.retry", True, "at '/config/services/crm/retry': value must be false"),
    ("services.crm.circuit_breaker", {"mode": "off"}, "circuit_breaker/mode': value must be one of 'on', 'shadow'"),
    ("services.crm.base_url", None, "at '/config/services/crm': missing property 'base_url'"),
    ("services.crm.base_url", "api.crm.example", "at '/config/services/crm/base_url': value must be 'a URL such as"),
    ("services.crm.routes.contacts.match", None, "at '/config/services/crm/routes/contacts': missing property 'match'"),
    ("services.crm.auth.kind", None, "at '/config/services/crm/auth': missing property 'kind'"),
    ("services.crm.auth.kind", "baerer", "at '/config/services/crm/auth/kind': value must be one of 'bearer'"),
    ("services.crm.auth.secret", None, "at '/config/services/crm/auth': missing property 'secret'"),
    ("services.crm.auth.secret", "env:CRM", "at '/config/services/crm/auth/secret': value must be 'a reference"),
    ("services.shop.provider", "strype", "at '/config/services/shop/provider': value must be one of"),
    ("services.shop.provider", "shopify", "at '/config/services/shop': missing property 'base_url'"),
    ("webhooks.stripe.provider", "strype", "at '/config/webhooks/stripe/provider': value must be one of"),
    ("secrets.main.auth.method", "k8s", "at '/config/secrets/main/auth/method': value must be one of 'kubernetes'"),
    ("secrets.main.auth.role", None, "at '/config/secrets/main/auth': missing property 'role'"),
    ("secrets.main.address", "vault:8200", "at '/config/secrets/main/address': value must be"),
    ("store.url", "redis://me:secret@a", "at '/config/store/url': value must be"),
    ("listen.egress", ["4000"], "at '/config/listen/egress/0': '4000' does not match pattern"),
    ("listen.telemetry", "0.0.0.0:70000", "at '/config/listen/telemetry': '0.0.0.0:70000' does not match pattern"),
    ("listen.admin", "0.0.0.0:4001", "at '/config/listen/admin': '0.0.0.0:4001' does not match pattern"),
    ("store", None, "at '/config': missing property 'store'"),
    ("store.kind", "memory", "at '/config/store/kind': value must be one of 'sqlite', 'valkey'"),
    ("store.kind", "valkey", "at '/config/store': missing property 'url'"),
    ("store.url", "redis://a", "at '/config/store/kind': value must be 'valkey'"),
    ("secrets.main", DYNAMIC, "at '/config/secrets/main/kv_version': false schema"),
    ("services.crm.auth", OAUTH, "at '/config/services/crm/auth': missing property 'client_secret'"),
    ("services.crm.auth", OAUTH | {"client_auth": "none", "client_secret": "files:x"}, "crm/auth/client_secret'"),
    ("services.crm.auth", AWS, "at '/config/services/crm/auth': missing properties 'access_key', 'secret_key'"),
    ("services.crm.auth", AWS | {"credentials": "default", "access_key": "files:x"}, "crm/auth/access_key': false"),
    ("services.crm.api_version", {"value": "2"}, "at '/config/services/crm/api_version': 'oneOf' failed"),
    ("services.crm.idempotency", {"header": "A", "query": "b"}, "at '/config/services/crm/idempotency/query': false"),
    ("services.crm.idempotency", {}, "at '/config/services/crm/idempotency': 'anyOf' failed"),
    ("services.crm.circuit_breaker", {"slow_after": "1s"}, "circuit_breaker': missing property 'slow_rate'"),
    ("services.crm.queue", {"callback": "http://127.0.0.1/x"}, "crm/queue': missing property 'callback_secret'"),
    ("services.crm.gather", GATHER, "at '/config/services/crm/gather': value must be false"),
    (
        "services.crm.hints",
        {"dialects": [{"limit": "X"}]},
        "crm/hints/dialects/0': 'oneOf' failed",
    ),
    ("webhooks.stripe.signature", {"signature": ["header:X"]}, "at '/config/webhooks/stripe/signature': false schema"),
    ("webhooks.stripe.provider", None, "at '/config/webhooks/stripe': missing property 'provider'"),
    ("log.level", "warn", "at '/config/log/level': value must be one of 'debug', 'info', 'warning', 'error'"),
]


def changed(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Give the config with a value put at a path, or taken away."""
    raw = copy.deepcopy(raw)
    *tables, key = path.split(".")
    table = raw
    for name in tables:
        table = table.setdefault(name, {})
    if value is None:
        del table[key]
    else:
        table[key] = value
    return raw


@pytest.mark.parametrize(("path", "value", "said"), WRONG)
def test_what_is_wrong_is_refused_by_both_and_told_with_its_path(
    helm: Helm, path: str, value: object, said: str
) -> None:
    """So that it fails at `helm install`, and not when the pod starts."""
    raw = changed(tomllib.loads(GOOD), path, value)
    assert problems(raw) != []
    assert said in str(helm.refusal(raw))
    assert not accepts(raw)


@pytest.mark.parametrize("path", ["services.crm.auth.secret", "services.crm.base_url", "store.url", "listen.app_token"])
def test_a_secret_that_stands_in_the_config_is_not_repeated(helm: Helm, path: str) -> None:
    """Whoever installs a chart may do so in a log that many read."""
    said = helm.refusal(changed(tomllib.loads(GOOD), path, "https://me:canary@a.example/?canary canary"))
    assert said is not None
    assert f"/{path.replace('.', '/')}'" in said
    assert "canary" not in said


@pytest.mark.parametrize("number", [2, 2.0])
def test_a_whole_number_may_come_as_a_float(helm: Helm, number: float) -> None:
    """Helm reads YAML's numbers as floats."""
    assert helm.refusal(changed(tomllib.loads(GOOD), "sidecar.replicas", number)) is None


def test_a_preset_may_give_what_is_required(helm: Helm) -> None:
    """The kind of `auth`, its user, a base URL, a route's match; a list is the service's own, and whole."""
    raw = tomllib.loads(GOOD)
    raw["services"]["shop"] |= {"routes": {"own": {"timeout": "1s"}}, "rate_limit": {"burst": 2}}
    assert helm.refusal(raw) is None
    raw["services"]["shop"]["hints"] = {"signals": [{"header": "x"}]}
    assert "signals/0': missing property 'statuses'" in str(helm.refusal(raw))


def test_presets_of_the_users_own_may_have_any_name(helm: Helm) -> None:
    """Their files are not here to be looked at."""
    for path in ("services.shop.provider", "webhooks.stripe.provider"):
        raw = changed(tomllib.loads(GOOD), path, "our_erp")
        assert helm.refusal(raw) is not None
        assert helm.refusal(changed(raw, "sidecar.providers_dir", "providers")) is None


def test_a_type_that_is_not_known_is_not_passed_over() -> None:
    """A field that may hold anything would be a hole that nobody sees."""

    class Colour(str):
        __slots__ = ()

        @classmethod
        def parse(cls, text: object) -> "Colour":
            return cls(text)

    for hint in (Colour, Colour | None, tuple[Colour, ...], dict[str, Colour], Duration | RetryConfig, object, Any):
        painted = type("Painted", (Section,), {"__annotations__": {"colour": hint}, "__module__": __name__})
        with pytest.raises(TypeError, match=r"colour[.*]*: the schema does not know"):
            schema_of(painted)


def test_every_rule_of_a_field_is_of_a_field_that_is_there() -> None:
    """One that was renamed takes its rule along."""
    assert [(kind, key) for kind, key in FIELDS if key not in kind.__struct_fields__] == []
    assert [(kind, keys) for kind, keys in REQUIRED.items() if not set(keys) <= set(kind.__struct_fields__)] == []


@pytest.mark.parametrize("pattern", [r"\d+", r"(?=a)b", r"\w", r"a\b", r"(?i:a)", r"\Aa"])
def test_a_pattern_that_engines_read_in_different_ways_is_none(pattern: str) -> None:
    """Go, JavaScript, Rust and Python each have their own."""
    with pytest.raises(AssertionError, match="not read alike"):
        exact(re.compile(pattern))
    assert exact(re.compile("(?P<unit>ms|s)")) == "^(?:(?:ms|s))$"


def test_comments_of_the_fields_are_told_to_the_editor() -> None:
    """Those behind a field, those above it, those of the section that it is inherited from; none for tools."""
    assert of_field(RetryConfig, "attempts_max") == "The first one counts. 1: no retry."
    told = SCHEMA["$defs"]["services.auth.oauth2_refresh_token"]["properties"]
    assert told["scopes"].get("description") is None
    assert told["resources"]["description"] == "RFC 8707: the APIs that the token is for."
    assert told["token_url"] == {"$ref": "#/$defs/token_url"}
    described = SCHEMA["$defs"]["services.coalesce"]["properties"]["headers"]["description"]
    assert described.startswith("Which request headers tell calls apart")
    assert "noqa" not in json.dumps(SCHEMA)


def test_the_schema_of_the_charts_values_is_current() -> None:
    """`make schema` writes it anew; what may be left out may be null there, which takes away what is in common."""
    with_null = runpy.run_path(str(ROOT / "tools" / "values_schema.py"))["with_null"]
    whole = json.loads((ROOT / "helm/sidecar/values.schema.json").read_text())
    outer = json.loads((ROOT / "helm/sidecar/values.schema.in.json").read_text())
    config = with_null(SCHEMA)
    definitions = config.pop("$defs")
    assert config.pop("$schema") == outer["$schema"]
    assert whole == {**outer, "$defs": {**outer.get("$defs", {}), "config": config, **definitions}}


# Properties.

VALUES: list[Any] = [
    -1, 0, 1, 9, 10**10, 0.5, 1.5, -0.1, True, False, "", "x", "1s", "0s", "10", "0B", "1.5KiB", "10/s", "0/s", "5/0s",
    "files:x", "env:X", "sk_live x", "https://a.example", "http://u:p@a/", "ftp://x", "https://a.example/x?y#z", [],
    ["x"], [5], ["1s"], [{}], {}, {"kind": "nope"}, {"kind": "bearer"}, {"x": "y"}, "a b", "é", "\0", "a\n", "GET /x",
    "GET /a**b", "get /x", "127.0.0.1:1", "1:99999", "unix:/x", "unix:x", "{dim}", "header:X", "json:a", "429", "5xx",
    [429, "5xx"], "redis://a/1", "redis://a@b", "none",
]  # fmt: skip
LETTERS = "a0A-_.:/ #?@*{}\n\0é~%,"  # No brackets: what Python takes for a host beside an address in them differs.
WORDS: dict[Any, list[str]] = {
    Duration: ["250ms", "1.5h", "7d"],
    Size: ["64KiB", "1.5GB", "1MiB"],
    Rate: ["90/s", "100/10s", "0.5/1.5min"],
    Rates: ["90/s"],
    SecretRef: ["files:a#b", "main:{environment}/x#y", "env:x"],
    Rule: ["GET /v1/**", "* /a*b/{id}/*"],
    BaseUrl: ["https://api.crm.example/v2", "http://127.0.0.1:8080/a"],
    TokenUrl: ["https://id.example:443/token?a=b"],
    VaultAddress: ["https://vault:8200/"],
    Nodes: ["redis://a:6379,b:1/0", "rediss://valkey"],
    Target: ["http://127.0.0.1:8080/h", "unix:/run/a.sock:/h", "http://localhost"],
}
# Each service and each webhook by itself, and what they stand on. As some lie on presets, where the schema cannot see
# what is missing, once more without these.
CRM = {key: part for key, part in WHOLE["services"]["crm"].items() if key != "provider"}
NAMED = {
    **{name: {"services": {name: table}} for name, table in WHOLE["services"].items()},
    **{f"webhook {name}": {"webhooks": {name: table}} for name, table in WHOLE["webhooks"].items()},
    "no preset": {"services": {"crm": CRM}},
}
PARTS = {
    name: {**{key: table for key, table in WHOLE.items() if key not in {"services", "webhooks"}}, **part}
    for name, part in NAMED.items()
}


def places(node: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of every key and item."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from places(value, (*path, key))


PLACES = [(name, path) for name, raw in PARTS.items() for path in places(raw)]


@pytest.mark.parametrize("name", list(PARTS))
def test_what_is_to_be_spoilt_is_whole(helm: Helm, name: str) -> None:
    """Otherwise nothing would be seen of what is done to it."""
    assert problems(PARTS[name]) == []
    assert helm.refusal(PARTS[name]) is None


def is_over_preset(raw: dict[str, Any]) -> bool:
    """Whether a service lies on a preset, of those that are there or of the user's own."""
    services = raw.get("services", {})
    tables = services.values() if isinstance(services, dict) else ()
    return any(isinstance(table, dict) and "provider" in table for table in tables)


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """A config with something done to one place: a key misspelt or taken away, a value or a letter changed."""
    name, (*way, key) = draw(st.sampled_from(PLACES))
    raw = copy.deepcopy(PARTS[name])
    node: Any = raw
    for step in way:
        node = node[step]
    value = node[key]
    what = draw(st.sampled_from(["misspell", "remove", "replace", "replace", "edit", "edit"]))
    if what == "misspell" and isinstance(node, dict):
        node[f"{key}{draw(st.sampled_from('xs_-A '))}"] = node.pop(key)
    elif what == "remove":
        del node[key]
    elif what == "edit" and isinstance(value, str) and value:
        at = draw(st.integers(0, len(value)))
        letter = draw(st.sampled_from(["", *LETTERS]))
        node[key] = value[:at] + letter + value[at + draw(st.integers(0, 1)) :]
    else:
        node[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return raw


@st.composite
def edited(draw: st.DrawFn, words: list[str]) -> str:
    """One of the words, with a letter or several changed."""
    word = draw(st.sampled_from(words))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(word)))
        word = word[:at] + draw(st.sampled_from(["", *LETTERS])) + word[at + draw(st.integers(0, 1)) :]
    return word


@pytest.mark.parametrize(("kind", "words"), WORDS.items(), ids=lambda each: getattr(each, "__name__", ""))
@given(data=st.data())
def test_a_pattern_takes_what_its_parser_takes(kind: Any, words: list[str], data: st.DataObject) -> None:
    """And, but for hosts, ports and sizes of less than a byte, nothing else."""
    text = data.draw(edited(words))
    assume("\n" not in text)  # Python's engine lets one pass at the end.
    try:
        is_read = kind.parse(text) is not None and (kind is not Size or Size.parse(text) > 0)
    except ValueError:
        is_read = False
    is_taken = jsonschema.Draft202012Validator(TYPES[kind]).is_valid(text)
    assert is_taken or not is_read
    assert is_read or not is_taken or kind in {Size, BaseUrl, TokenUrl, VaultAddress, Nodes, Target}


@pytest.mark.filterwarnings("ignore:deprecated string literal syntax")  # Of JMESPath, for what an edit makes of it.
@given(raw=spoilt())
@example(raw=changed(WHOLE, "listen.webhooks", "4003"))
@example(raw=changed(WHOLE, "sidecar.drain_timeout", "0s"))
def test_what_is_accepted_is_accepted_and_what_cannot_be_read_is_refused(helm: Helm, raw: dict[str, Any]) -> None:
    """Whatever is done to a config. In Python's engine `$` lets a line break pass, so Helm's is asked."""
    said = helm.refusal(raw)
    if not problems(raw):
        assert said is None
    elif (wrong := misread(raw)) and not is_over_preset(raw):
        assert said is not None, wrong[0]
