"""Presets: those of the package are right, and whatever a service says itself wins over them."""

import re
import secrets
from pathlib import Path
from typing import Any

import pytest

from sidecar.auth.schemes import ApiKey, Basic, Bearer
from sidecar.config.load import load, read_text
from sidecar.config.presets import BUILT_IN, Presets, laid
from sidecar.config.problem import ConfigError
from sidecar.config.rules import check
from sidecar.config.show import as_data, as_toml, presets_as_data
from sidecar.core.secret import SecretRef
from sidecar.core.units import Duration
from sidecar.layers.retry.config import RetryConfig
from sidecar.layers.service import ServiceConfig

DOCS = (Path(__file__).parent.parent.parent / "docs" / "providers.md").read_text()
STORE = '[secrets.files]\nkind = "file"\npath = "/x"\n'
NAMES = sorted(path.stem for path in BUILT_IN.glob("*.toml"))
ACME = """
base_url = "https://api.acme.example/v1"
timeout = "9s"
headers = { set = { X-Team = "acme", X-Acme = "1" }, remove = ["X-Debug"] }
pool = { connections_max = 7 }

[auth]
kind = "api_key"
name = "Acme-Key"
"""


class Files:
    """A directory with a config, and presets of the user's beside it."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "sidecar.toml"
        self._presets = directory / "providers"
        self._presets.mkdir()

    def preset(self, text: str, name: str = "acme") -> None:
        """Write a preset."""
        (self._presets / f"{name}.toml").write_text(text)

    def service(self, text: str = "", provider: str = "acme") -> ServiceConfig:
        """Read a config with one service."""
        self.write(f'[services.crm]\nprovider = "{provider}"\n{text}')
        return load(self.config).services["crm"].config

    def write(self, text: str) -> None:
        """Write the config."""
        self.config.write_text(f'[sidecar]\nproviders_dir = "providers"\n{STORE}{text}')

    def problems(self, text: str) -> list[tuple[str, str]]:
        """Give (path, sentence) of all that is wrong."""
        self.write(text)
        with pytest.raises(ConfigError) as caught:
            load(self.config)
        return [(problem.path, problem.sentence) for problem in caught.value.problems]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A directory with the preset of a vendor that only this user knows."""
    files = Files(tmp_path)
    files.preset(ACME)
    return files


def ref(path: str) -> SecretRef:
    """Give the reference to a secret."""
    return SecretRef.parse(f"files:{path}")


def problems(text: str) -> dict[str, str]:
    """Give the sentences by path."""
    with pytest.raises(ConfigError) as caught:
        read_text(text)
    return {problem.path: problem.sentence for problem in caught.value.problems}


def minimal(name: str) -> str:
    """Write the least that a service of a built-in preset needs."""
    preset = Presets().get(name)
    assert preset is not None
    lines = [STORE, "[services.a]", f'provider = "{name}"']
    if preset.base_url_pattern is not None or "base_url" not in preset.table:
        lines.append('base_url = "https://a.example"')
    if (auth := preset.table.get("auth")) is not None:
        needs_name = auth["kind"] == "basic" and "username" not in auth
        user = ', username = "u"' if needs_name else ""
        lines.append(f'auth = {{ secret = "files:a"{user} }}')
    return "\n".join(lines) + "\n"


# The package's own.


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_preset_gives_a_service_without_a_warning(name: str) -> None:
    """With the least that only the user knows: the secret, and the host where each customer has one."""
    config = read_text(minimal(name))
    assert check(config) == []
    auth = config.services["a"].config.auth
    assert (auth is None) is ("auth =" not in minimal(name))
    assert read_text(as_toml(config)) == config


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_preset_holds_no_secret_and_pins_no_version(name: str) -> None:
    """Not to pin changes nothing for anybody; and what a preset adds to auth is its form."""
    preset = Presets().get(name)
    assert preset is not None
    assert not {"api_version", "headers", "timeout"} & set(preset.table)
    assert "secret" not in preset.table.get("auth", {})


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_preset_says_where_its_facts_are_from(name: str) -> None:
    """Each table has a comment before it, and a fixed host has its source beside it."""
    text = Presets().text(name)
    assert text.startswith("# ")
    assert [line for line in re.findall(r"^(.*)\n\[[a-z_]+\]$", text, re.MULTILINE) if line[:2] != "# "] == []
    assert max(map(len, text.splitlines())) <= 120
    assert re.search(r'^base_url = "https://[^"]+"', text, re.MULTILINE)


def test_the_built_in_names_are_those_of_the_contract() -> None:
    """A config that names one of them keeps working."""
    assert NAMES == [
        "adyen", "airtable", "anthropic", "asana", "atlassian", "auth0", "aws", "bitbucket", "box", "braintree",
        "calendly", "cloudflare", "datadog", "discord", "docusign", "dropbox", "github", "gitlab", "google",
        "hubspot", "intercom", "klaviyo", "linear", "mailchimp", "mailgun", "microsoft_graph", "notion", "okta",
        "openai", "pagerduty", "paypal", "plaid", "postmark", "quickbooks", "salesforce", "segment", "sendgrid",
        "shopify", "slack", "square", "stripe", "twilio", "twitch", "typeform", "xero", "zendesk", "zoom",
    ]  # fmt: skip


def test_the_preset_knows_how_the_vendor_wants_its_credential() -> None:
    """The service says where the secret is, and no more."""
    service = '[services.a]\nprovider = "{}"\nauth = {{ secret = "files:a" }}\n'
    assert read_text(STORE + service.format("stripe")).services["a"].config.auth == Bearer(secret=ref("a"))
    anthropic = read_text(STORE + service.format("anthropic")).services["a"].config.auth
    assert anthropic == ApiKey(secret=ref("a"), name="x-api-key")


def test_a_vendor_with_a_host_for_each_customer_asks_for_it_with_an_example() -> None:
    """Nobody else can know it."""
    found = problems('[services.shop]\nprovider = "shopify"\n')
    assert list(found) == ["services.shop.base_url"]
    assert '"https://{shop}.myshopify.com"' in found["services.shop.base_url"]


def test_the_documentation_shows_every_built_in_preset_as_it_is() -> None:
    """Name, base URL, form of the credentials, and what else it gives."""
    table = DOCS.partition("\n## The built-in presets\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:3] == "| `"]
    told = [[" ".join(re.findall(r"`([^`]*)`", cell)) for cell in row] for row in rows]
    true = [row for row in presets_as_data(Presets()) if row["from"] == "built in"]
    assert told == [[row["name"], row["base_url"], row["auth"], " ".join(row["also"])] for row in true]


def test_the_preset_that_the_documentation_shows_is_a_good_one(files: Files) -> None:
    """What a reader copies works."""
    files.preset(DOCS.partition("\n```\nbase_url")[2].partition("\n```\n")[0].join(["base_url", ""]))
    service = files.service('base_url = "https://mine.acme.example/v1"\nauth = { secret = "files:a" }')
    assert service.auth == ApiKey(secret=ref("a"), name="Acme-Key")
    assert [route.name for route in load(files.config).services["crm"].routes] == ["exports"]


# What is laid over what.


@pytest.mark.parametrize(
    ("below", "own", "both"),
    [
        ({"a": 1, "b": 1}, {"b": 2, "c": 2}, {"a": 1, "b": 2, "c": 2}),
        ({"t": {"a": 1, "b": 1}}, {"t": {"b": 2}}, {"t": {"a": 1, "b": 2}}),
        ({"t": {"u": {"a": 1}}}, {"t": {"u": {"b": 2}}}, {"t": {"u": {"a": 1, "b": 2}}}),
        ({"t": {"a": 1}}, {"t": False}, {"t": False}),
        ({"t": False}, {"t": {"a": 2}}, {"t": {"a": 2}}),
        ({"l": [1, 2]}, {"l": [3]}, {"l": [3]}),
        ({"l": [{"a": 1}]}, {"l": [{"b": 2}]}, {"l": [{"b": 2}]}),
        ({"auth": {"kind": "x", "a": 1}}, {"auth": {"b": 2}}, {"auth": {"kind": "x", "a": 1, "b": 2}}),
        ({"auth": {"kind": "x", "a": 1}}, {"auth": {"kind": "x"}}, {"auth": {"kind": "x", "a": 1}}),
        ({"auth": {"kind": "x", "a": 1}}, {"auth": {"kind": "y"}}, {"auth": {"kind": "y"}}),
        ({"set": {"X-A": "1", "X-B": "1"}}, {"set": {"x-a": "2"}}, {"set": {"X-B": "1", "x-a": "2"}}),
        (
            {"idempotency": {"header": "K", "key_max": 9}},
            {"idempotency": {"field": "k"}},
            {"idempotency": {"field": "k", "key_max": 9}},
        ),
        ({"api_version": {"path": True}}, {"api_version": {"query": "v"}}, {"api_version": {"query": "v"}}),
    ],
)
def test_tables_are_laid_key_by_key_and_what_the_service_says_wins(
    below: dict[str, Any], own: dict[str, Any], both: dict[str, Any]
) -> None:
    """Another kind of credentials, or another place of a key, is another thing, with nothing of the preset's in it."""
    assert laid(below, own) == both


def test_the_service_wins_over_the_preset_and_the_preset_over_the_defaults(files: Files) -> None:
    """Each key by itself."""
    service = files.service('timeout = "8s"\nheaders = { set = { x-acme = "2" } }\npool = { idle_max = 3 }\n')
    assert service.base_url == "https://api.acme.example/v1"
    assert (service.timeout, service.idle_timeout) == (Duration(8), Duration(30))
    assert (service.headers.set, service.headers.remove) == ({"X-Team": "acme", "x-acme": "2"}, ("X-Debug",))
    assert (service.pool.connections_max, service.pool.idle_max) == (7, 3)
    assert service.provider == "acme"


def test_credentials_are_there_only_when_somebody_names_a_secret(files: Files) -> None:
    """The form alone is of no use; a preset that names the secret itself is enough."""
    assert files.service().auth is None
    assert files.service('auth = { secret = "files:a" }').auth == ApiKey(secret=ref("a"), name="Acme-Key")
    assert files.service('auth = { kind = "bearer", secret = "files:a" }').auth == Bearer(secret=ref("a"))
    files.preset('base_url = "https://a.example"\nauth = { kind = "basic", username = "u", secret = "files:b" }')
    assert files.service().auth == Basic(username="u", secret=ref("b"))


def test_a_route_lies_on_the_preset_too_with_the_keys_that_it_says(files: Files) -> None:
    """What is known about a vendor holds for every route; what a route does not say is the service's."""
    route = 'headers = { set = { X-Acme = "3" } }\nauth = { secret = "files:r" }\n'
    service = '[services.crm]\nprovider = "acme"\ntimeout = "8s"\npool = { idle_max = 3 }\n'
    files.write(f'{service}[services.crm.routes.a]\nmatch = "GET /a"\n{route}')
    config = load(files.config)
    [read] = config.services["crm"].routes
    assert read.config.headers.set == {"X-Team": "acme", "X-Acme": "3"}
    assert read.config.auth == ApiKey(secret=ref("r"), name="Acme-Key")
    assert (read.config.timeout, read.config.pool.idle_max) == (Duration(8), 3)
    assert "pool" not in as_data(config)["services"]["crm"]["routes"]["a"]


def test_the_routes_of_a_preset_come_after_the_services_own_and_yield_to_what_the_service_says(files: Files) -> None:
    """The first match wins. An empty table of the same name puts a preset's route before the service's next one."""
    files.preset(
        'base_url = "https://a.example"\nidle_timeout = "1s"\npool = { idle_max = 2 }\n'
        '[routes.x]\nmatch = "GET /x"\ntimeout = "3s"\nheaders = { remove = ["X-A"] }\n'
        '[routes.y]\nmatch = "GET /y"\ntimeout = "4s"\n'
    )
    routes = '[services.crm.routes.z]\nmatch = "GET /z"\n[services.crm.routes.y]\ntimeout = "5s"\n'
    files.write(f'[services.crm]\nprovider = "acme"\nidle_timeout = "2s"\ntimeout = "6s"\n{routes}')
    z, y, x = load(files.config).services["crm"].routes
    assert [(route.name, route.match) for route in (z, y, x)] == [("z", "GET /z"), ("y", "GET /y"), ("x", "GET /x")]
    assert [float(route.config.timeout) for route in (z, y, x)] == [6, 5, 6]
    assert x.config.headers.remove == ("X-A",)
    assert {float(route.config.idle_timeout) for route in (z, y, x)} == {2}
    assert read_text(as_toml(load(files.config)), files.config.parent) == load(files.config)


def test_what_is_shown_holds_what_the_preset_gave_and_reads_back_the_same(files: Files) -> None:
    """Who is woken at night sees what is in force, not where it is written."""
    files.service('auth = { secret = "files:a" }')
    config = load(files.config)
    shown = as_data(config)["services"]["crm"]
    assert (shown["provider"], shown["timeout"], shown["auth"]["name"]) == ("acme", "9s", "Acme-Key")
    assert read_text(as_toml(config), files.config.parent) == config


# The user's own.


def test_the_users_preset_wins_over_the_built_in_one_of_the_same_name(files: Files) -> None:
    """Wholly: nothing of the other is left under it."""
    files.preset('base_url = "https://stripe.example"', "stripe")
    service = files.service('auth = { kind = "bearer", secret = "files:a" }', "stripe")
    assert service.base_url == "https://stripe.example"
    assert service.retry == RetryConfig()


def test_the_directory_is_found_beside_the_config_and_not_where_one_stands(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means the same for everybody."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert files.service().timeout == Duration(9)


def test_a_directory_that_is_not_there_is_a_problem_even_if_nothing_is_missed(tmp_path: Path) -> None:
    """Otherwise a slip of the pen would leave the built-in preset in force, and not the user's."""
    path = tmp_path / "sidecar.toml"
    path.write_text('[sidecar]\nproviders_dir = "povidrs"\n[services.a]\nprovider = "stripe"\n')
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [problem.path for problem in caught.value.problems] == ["sidecar.providers_dir"]


def test_a_policy_that_the_preset_has_can_be_switched_off() -> None:
    """`false` stands for the whole table."""
    service = read_text('[services.a]\nprovider = "anthropic"\nretry = false\nhints = false\n').services["a"].config
    assert (service.retry, service.hints) == (False, False)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("strpe", 'there is no such provider, neither built in nor in providers; did you mean "stripe"?'),
        ("acm", 'there is no such provider, neither built in nor in providers; did you mean "acme"?'),
        ("qqq", "sidecar show providers lists"),
        ("../sidecar", "there is no such provider"),
        ("", "there is no such provider"),
    ],
)
def test_an_unknown_provider_is_told_with_the_one_that_may_be_meant(files: Files, name: str, sentence: str) -> None:
    """One mistake, one problem: what the preset would have given is not missed as well."""
    [(path, said)] = files.problems(f'[services.crm]\nprovider = "{name}"\nauth = {{ secret = "files:a" }}\n')
    assert path == "services.crm.provider"
    assert sentence in said


def test_a_provider_belongs_to_a_service_as_a_whole(files: Files) -> None:
    """And it is a name."""
    route = '[services.crm.routes.a]\nmatch = "GET /a"\nprovider = "acme"\n'
    [(path, sentence)] = files.problems(f'[services.crm]\nprovider = "acme"\n{route}')
    assert (path, "the service as a whole" in sentence) == ("services.crm.routes.a.provider", True)
    assert [path for path, _ in files.problems("[services.crm]\nprovider = 1\n")] == ["services.crm.provider"]


def test_a_wrong_preset_is_told_once_with_its_file_beside_all_other_problems(files: Files) -> None:
    """Not again under each service and route that lies on it."""
    files.preset(
        'base_url = "acme"\ntimout = "9s"\ntimeout = 9\nallow = ["GET /a", "GET"]\nprovider = "stripe"\n'
        "routes = { b = { timeout = 1 }, c = 1 }\n"
        'auth = { kind = "api_key", nam = "x" }\npool = { connections_max = 0 }\nheaders = { set = { "a b" = "1" } }'
    )
    routes = (
        '[services.{0}.routes.a]\nmatch = "GET /a"\npool = {{}}\nheaders = {{ remove = ["X-A"] }}\nallow = ["all"]\n'
    )
    service = '[services.{0}]\nprovider = "acme"\nauth = {{ secret = "files:a" }}\n' + routes
    found = [path for path, _ in files.problems(service.format("one") + service.format("two") + "[log]\nlevl = 1\n")]
    own = [path for path in found if path.startswith("providers/acme.toml: ")]
    assert sorted(path.removeprefix("providers/acme.toml: ") for path in own) == [
        "allow[1]", "auth.nam", "base_url", "headers.set.a b", "pool.connections_max", "provider", "routes.b.match",
        "routes.b.timeout", "routes.c", "timeout", "timout",
    ]  # fmt: skip
    assert sorted(set(found) - set(own)) == [
        "log.levl", "services.one.routes.a.allow[0]", "services.one.routes.a.pool", "services.two.routes.a.allow[0]",
        "services.two.routes.a.pool",
    ]  # fmt: skip
    assert len(found) == len(set(found))


def test_a_problem_that_the_service_brings_itself_is_told_at_the_service(files: Files) -> None:
    """Also where the preset has the same one, or only one half of it."""
    files.preset('base_url = "https://a.example"\ntimeout = "9"\nauth = { kind = "api_key", in = "query", name = "k" }')
    found = files.problems(
        '[services.crm]\nprovider = "acme"\ntimeout = "9"\nauth = { secret = "files:a", prefix = "b" }\n'
    )
    assert [path for path, _ in found] == [
        "services.crm.timeout", "services.crm.auth.prefix", "providers/acme.toml: timeout",
    ]  # fmt: skip


def test_what_a_preset_leaves_to_the_service_is_no_problem_of_the_preset(files: Files) -> None:
    """It needs neither a base URL nor a secret."""
    files.preset('auth = { kind = "bearer" }')
    [(path, _)] = files.problems('[services.crm]\nprovider = "acme"\n')
    assert path == "services.crm.base_url"
    assert files.service('base_url = "https://b.example"\nauth = { secret = "files:a" }').auth is not None


def test_a_preset_that_nobody_names_is_not_even_read(files: Files) -> None:
    """Half of it may be written."""
    files.preset("= 1", "other")
    assert files.service().timeout == Duration(9)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a = ", "this is not TOML"),
        (b"a = '\xff'", "not UTF-8; the first wrong byte is at 5"),
        (b"a = " + b"9" * 5000, "too long"),
        (None, "the file cannot be read: Is a directory"),
    ],
)
def test_a_preset_that_cannot_be_read_says_why_and_nothing_else_is_missed(
    files: Files, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    """The services that name it are judged as far as they go."""
    path = tmp_path / "providers" / "bad.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    found = files.problems('[services.crm]\nprovider = "bad"\nauth = { secret = "files:a" }\ntimeout = 3\n')
    assert [where for where, _ in found] == ["services.crm.timeout", "providers/bad.toml"]
    assert sentence in found[1][1]


def test_a_secret_written_into_a_preset_is_never_repeated(files: Files) -> None:
    """It is as little a place for one as the config."""
    canary = secrets.token_hex(16)
    for line in (
        f'auth = {{ kind = "bearer", secret = "{canary}" }}', f'auth = "{canary}"', f"auth = {canary}",
        f'base_url = "https://u:{canary}@a.example"', f'[auth]\nkind = "{canary}"',
    ):  # fmt: skip
        files.preset(line)
        found = files.problems('[services.crm]\nprovider = "acme"\nbase_url = "https://a.example"\nauth = {}\n')
        assert canary not in str(found)
        assert any(path.startswith("providers/acme.toml") for path, _ in found)
