"""Reading a config: all problems at once, each with its path, and never a secret in a sentence."""

import secrets
import traceback
from pathlib import Path

import pytest

from sidecar.auth.schemes import ApiKey, Basic
from sidecar.config.load import load, read_text
from sidecar.config.problem import ConfigError
from sidecar.core.units import Duration

SERVICE = '[services.crm]\nbase_url = "https://api.crm.example/v2"\n'
STORE = '[secrets.files]\nkind = "file"\npath = "/var/run/secrets/sidecar"\n'
ROUTE = '[services.crm.routes.search]\nmatch = "GET /contacts/search"\n'


def problems(text: str) -> dict[str, str]:
    """Give the sentences by path."""
    with pytest.raises(ConfigError) as caught:
        read_text(text)
    return {problem.path: problem.sentence for problem in caught.value.problems}


def test_an_empty_file_is_a_config_of_defaults() -> None:
    """Nothing is required but what a service needs."""
    config = read_text("")
    assert config.listen.egress == ("127.0.0.1:4000",)
    assert config.sidecar.load_balancer_timeout == Duration(60)


def test_a_route_takes_what_it_says_itself_and_the_rest_from_its_service() -> None:
    """A whole field is overlaid; the others are inherited."""
    text = f'{SERVICE}timeout = "10s"\nidle_timeout = "7s"\nheaders = {{ set = {{ X-A = "1" }} }}\n'
    config = read_text(f'{text}{ROUTE}timeout = "40s"\nheaders = {{ remove = ["X-B"] }}\n')
    [route] = config.services["crm"].routes
    assert (route.name, route.match) == ("search", "GET /contacts/search")
    assert (route.config.timeout, route.config.idle_timeout) == (Duration(40), Duration(7))
    assert (route.config.headers.set, route.config.headers.remove) == ({}, ("X-B",))
    assert config.services["crm"].config.timeout == Duration(10)


def test_routes_keep_the_order_of_the_file() -> None:
    """The first match wins, so their order is their meaning."""
    names = ["zeta", "alpha", "mid"]
    routes = "".join(f'[services.crm.routes.{name}]\nmatch = "GET /{name}"\n' for name in names)
    assert [route.name for route in read_text(SERVICE + routes).services["crm"].routes] == names


def test_a_kind_picks_its_section_and_fields_have_their_written_names() -> None:
    """`in` is a word of Python, so the field has another name; the file does not know."""
    auth = '[services.crm.auth]\nkind = "api_key"\nsecret = "files:key"\nin = "query"\nname = "key"\n'
    read = read_text(STORE + SERVICE + auth).services["crm"].config.auth
    assert isinstance(read, ApiKey)
    assert read.place == "query"


def test_the_environment_completes_secret_references() -> None:
    """One file serves all environments."""
    auth = f'{SERVICE}auth = {{ kind = "basic", username = "u", secret = "files:{{environment}}/x" }}\n'
    read = read_text(f'[sidecar]\nenvironment = "staging"\n{STORE}{auth}').services["crm"].config.auth
    assert isinstance(read, Basic)
    assert read.secret == "files:staging/x"


def test_false_stands_where_the_type_has_it_and_nowhere_else() -> None:
    """`rewrite_urls = false` switches off; `true` and `pool = false` mean nothing."""
    assert read_text(f"{SERVICE}rewrite_urls = false").services["crm"].config.rewrite_urls is False
    assert 'write one of "headers", "body" or false' in problems(f"{SERVICE}rewrite_urls = true").values()
    assert list(problems(f"{SERVICE}pool = false")) == ["services.crm.pool"]


def test_all_problems_are_reported_at_once_with_their_paths() -> None:
    """Nobody wants to mend a file one message at a time: shape and sense, in every section."""
    text = (
        '[sidecar]\ndrain_timeout = 25\n[listen]\nadmn = "x"\nadmin = "0.0.0.0:1"\n[log]\nlevel = "loud"\n'
        '[services.Big]\nbase_url = "https://a.example"\n[services.crm]\ntimeout = "90s"\n'
        '[services.pay]\nbase_url = "https://p.example"\ntimeout = "90s"\nauth = { kind = "token" }\n'
        '[services.pay.routes.a]\nmatch = "everything"\n'
    )
    assert set(problems(text)) == {
        "sidecar.drain_timeout", "listen.admn", "listen.admin", "log.level", "services.Big", "services.crm.base_url",
        "services.crm.timeout", "services.pay.timeout", "services.pay.auth.kind", "services.pay.routes.a.match",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('[services.crm]\nbase_url = "api.example"\ntimeout = "90s"', {"base_url", "timeout"}),
        ('[services.crm]\nlisten = ["4010"]\nforward = ["X-A"]', {"base_url", "listen[0]", "forward[0]"}),
        ('[services.crm]\nroutes.a = { timeout = "90s" }', {"base_url", "routes.a.match", "routes.a.timeout"}),
        (f'{SERVICE}routes.a = {{ match = "all", timeout = "90s" }}', {"routes.a.match", "routes.a.timeout"}),
        (f'{SERVICE}auth = {{ kind = "bearer", header = "a b" }}', {"auth.secret", "auth.header"}),
        (f'{SERVICE}api_version = {{ header = "a b" }}', {"api_version.value", "api_version.header"}),
        (f'{SERVICE}timeout = "90s"\nroutes = 1', {"timeout", "routes"}),
        (f'{SERVICE}routes."a b" = {{ match = "all" }}', {"routes.a b", "routes.a b.match"}),
    ],
)
def test_a_missing_or_wrong_required_key_hides_no_other_problem(text: str, paths: set[str]) -> None:
    """The rules judge the rest of the section in the same run: mending one key brings no new ones to light."""
    assert set(problems(text)) == {f"services.crm.{path}" for path in paths}


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        ("[sidecr]", "sidecr", 'did you mean "sidecar"?'),
        (f'{SERVICE}timout = "1s"', "services.crm.timout", 'did you mean "timeout"?'),
        (f'{SERVICE}{ROUTE}timout = "1s"', "services.crm.routes.search.timout", 'did you mean "timeout"?'),
        (f"{SERVICE}qqq = 1", "services.crm.qqq", "known are "),
        (f"{SERVICE}[services.crm.pool]\nidle = 1", "services.crm.pool.idle", 'did you mean "idle_max"?'),
        (f"{SERVICE}timeout = 20", "services.crm.timeout", "20 has no unit"),
        (f'{SERVICE}{ROUTE}timeout = "soon"', "services.crm.routes.search.timeout", "is not a duration"),
        (f"{SERVICE}timeout = [1]", "services.crm.timeout", "a single value in quotes"),
        (f'{SERVICE}body_max = "big"', "services.crm.body_max", "is not a size"),
        ('[services.crm]\nbase_url = "api.example"', "services.crm.base_url", "not a URL"),
        ('[services.crm]\nbase_url = "https://api.example."', "services.crm.base_url", "without the dot at its end"),
        ("[services.crm]", "services.crm.base_url", "required and not there"),
        (f"{SERVICE}[services.crm.routes.a]", "services.crm.routes.a.match", "required and not there"),
        (f'{SERVICE}allow = ["GET /a", "GET"]', "services.crm.allow[1]", "is not a rule"),
        (f'{SERVICE}allow = "GET /a"', "services.crm.allow", "write a list"),
        (f"{SERVICE}ca_file = 1", "services.crm.ca_file", "write text in quotes"),
        (f'{SERVICE}allow_private = "yes"', "services.crm.allow_private", "write true or false"),
        (f"{SERVICE}headers = {{ set = {{ X-A = 1 }} }}", "services.crm.headers.set.X-A", "write text in quotes"),
        (f"{SERVICE}headers = {{ set = 1 }}", "services.crm.headers.set", "a table of names and values"),
        (f"{SERVICE}pool = 4", "services.crm.pool", "this is a table; its keys are"),
        (f'{SERVICE}auth = {{ secret = "files:a" }}', "services.crm.auth.kind", 'write "bearer", "api_key", "basic",'),
        (f'{SERVICE}auth = {{ kind = "none" }}', "services.crm.auth.kind", 'write "bearer", "api_key", "basic",'),
        (f'{SERVICE}auth = {{ kind = "bearer" }}', "services.crm.auth.secret", "required and not there"),
        (f'{SERVICE}auth = "bearer"', "services.crm.auth", 'write { kind = "bearer", ... }'),
        ('[secrets.a]\npath = "/x"', "secrets.a.kind", 'write "file"'),
        ('[secrets.a]\nkind = "valt"\npath = "/x"', "secrets.a.kind", 'write "file"'),
        ('[secrets.a]\nkind = "file"', "secrets.a.path", "required and not there"),
        ('[listen]\napp_token = "env:TOKEN"', "listen.app_token", "environment variable"),
        ('[log]\nsuccess = "all"', "log.success", "write a number"),
        ("[log]\nlevel = 3", "log.level", '"debug", "info", "warning" or "error"'),
        ('[admission]\ncalls_max = "many"', "admission.calls_max", "write a whole number"),
        ("services = 1", "services", "a table of services"),
        ("services.crm = 1", "services.crm", "write [services.crm]"),
        (f"{SERVICE}routes = 1", "services.crm.routes", "a table of routes"),
        (f"{SERVICE}routes.a = 1", "services.crm.routes.a", "write [services.crm.routes.a]"),
        ("listen = 1", "listen", "this is a table"),
        (f'{SERVICE}{ROUTE}ca_file = "/x"', "services.crm.routes.search.ca_file", "belongs to the service"),
        (f"{SERVICE}{ROUTE}routes = {{}}", "services.crm.routes.search.routes", "there is no such key"),
    ],
)
def test_each_problem_has_its_full_path_and_says_what_would_be_right(text: str, path: str, sentence: str) -> None:
    """One mistake, one problem, at the very key."""
    found = problems(text)
    assert list(found) == [path]
    assert sentence in found[path]


def test_a_wrong_value_does_not_bring_further_problems_with_it() -> None:
    """A rule that rests on a key which is itself wrong stays silent until that key is right."""
    text = f'[sidecar]\nload_balancer_timeout = 90\n{SERVICE}timeout = "80s"\n'
    assert list(problems(text)) == ["sidecar.load_balancer_timeout"]
    text = f'[secrets.files]\nkind = "file"\n{SERVICE}auth = {{ kind = "bearer", secret = "files:a" }}\n'
    assert list(problems(text)) == ["secrets.files.path"]
    text = f'{SERVICE}timeout = "soon"\nattempt_timeout = "30s"\n[services.crm.routes.a]\nmatch = "* /a"\n'
    assert list(problems(text + 'first_byte_timeout = "40s"\n')) == ["services.crm.timeout"]
    proxy = 'upstream_proxy = "proxy"\nupstream_proxy_auth = { username = "u", password = "files:a" }\n'
    assert list(problems(f"{SERVICE}{proxy}{STORE}")) == ["services.crm.upstream_proxy"]


def test_a_file_that_is_not_toml_is_named_with_the_line(tmp_path: Path) -> None:
    """The place is what one looks for."""
    path = tmp_path / "sidecar.toml"
    path.write_text("[sidecar]\nenvironment = \n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    [problem] = caught.value.problems
    assert problem.path == str(path)
    assert "not TOML at line 2, column 15" in problem.sentence


@pytest.mark.parametrize(("content", "says"), [(None, "no such file"), (b"a = '\xff'", "not UTF-8")])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes | None, says: str) -> None:
    """A missing file is an answer, not a traceback."""
    path = tmp_path / "sidecar.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        load(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f'{SERVICE}auth = {{ kind = "bearer", secret = "CANARY" }}',
        f'{SERVICE}auth = {{ kind = "bearer", secret = "nowhere:CANARY" }}',
        f'{SERVICE}auth = {{ kind = "bearer", secret = "CANARY:x" }}',
        f'{SERVICE}auth = {{ kind = "bearer", secret = "env:CANARY" }}',
        f'{SERVICE}auth = {{ kind = "bearer", secret = "files:{{environment}}/CANARY" }}',
        f'{SERVICE}auth = {{ kind = "bearer", secret = ["CANARY"] }}',
        f'{SERVICE}auth = {{ kind = "bearer", secret = {{ value = "CANARY" }} }}',
        f'{SERVICE}auth = {{ kind = "bearer", token = "CANARY" }}',
        f'{SERVICE}auth = {{ kind = "bearer", secret = "files:a", prefix = ["CANARY"] }}',
        f'{SERVICE}auth = {{ kind = "CANARY" }}',
        f'{SERVICE}auth = "CANARY"',
        f'{SERVICE}auth = ["CANARY"]',
        f'{SERVICE}auth = {{ kind = "bearer", secret = CANARY }}',
        f'{SERVICE}{ROUTE}auth = {{ kind = "basic", username = "u", secret = "CANARY" }}',
        f'{SERVICE}headers = {{ set = {{ Authorization = "Bearer CANARY" }} }}',
        f'{SERVICE}headers = {{ add = {{ X-A = "CANARY\\n" }} }}',
        f'{SERVICE}upstream_proxy_auth = {{ username = "u", password = "CANARY" }}',
        f'{SERVICE}upstream_proxy = "http://user:CANARY@proxy:3128"',
        '[services.crm]\nbase_url = "https://user:CANARY@api.example"',
        '[services.crm]\nbase_url = "https://user:CANARY"',
        '[services.crm]\nbase_url = "https://api.example/?key=CANARY"',
        '[listen]\napp_token = "CANARY"',
        '[secrets.files]\nkind = "file"\npath = "/x"\npassword = "CANARY"',
        '[secrets]\nfiles = "CANARY"',
        'api_key = "CANARY"',
    ],
)
def test_a_secret_written_into_the_config_is_never_repeated(text: str) -> None:
    """What stands where a secret belongs may be one: no sentence, repr or traceback shows it."""
    canary = f"canary{secrets.token_hex(12)}"
    with pytest.raises(ConfigError) as caught:
        read_text((STORE + text if "[secrets" not in text else text).replace("CANARY", canary))
    written = [str(caught.value), repr(caught.value), repr(caught.value.problems)]
    written += traceback.format_exception(caught.value)
    assert not [line for line in written if canary in line]


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "{b=" * 100_000, f"[admission]\ncalls_max = {'9' * 5000}"]
)
def test_a_hostile_file_is_refused_like_any_other(text: str) -> None:
    """What breaks the reader of TOML is one problem, and the sidecar goes on with what it has."""
    with pytest.raises(ConfigError, match="nested too deeply, or holds a number that is too long"):
        read_text(text)


def test_a_terminal_obeys_nothing_that_a_problem_quotes() -> None:
    """A key may hold anything, also what clears the screen or looks like a further line."""
    with pytest.raises(ConfigError) as refused:
        read_text('[services."a\\u001b[2J\\nok: 1 service"]\nbase_url = "https://x.example"')
    assert "services.a\\x1b[2J\\nok: 1 service: a service's name" in str(refused.value)
    assert str(refused.value).isprintable()
