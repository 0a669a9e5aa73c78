"""The rules across sections: each with a wrong value and its exact path."""

import pytest

from sidecar.config.load import read_text
from sidecar.config.problem import ConfigError, Problem
from sidecar.config.rules import check

STORE = '[secrets.files]\nkind = "file"\npath = "/var/run/secrets/sidecar"\n'
SERVICE = '[services.crm]\nbase_url = "https://api.crm.example/v2"\n'
KEY = f'{STORE}{SERVICE}[services.crm.auth]\nkind = "api_key"\nsecret = "files:a"\n'
PROXIED = f'{SERVICE}upstream_proxy = "http://proxy:3128"\n'
ROUTE = '[services.crm.routes.a]\nmatch = "GET /a"\n'
PLAIN = '[services.crm]\nbase_url = "http://api.crm.example/v2"\n'
BATCH = 'batch = { request_items = "a", answer_items = "b", failed = "c" }\n'
GATHER = 'gather = { request = "GET /a?i={ids}", answer_items = "b", id = "c" }\n'
DURABLE = '[store]\nkind = "sqlite"\n'
ANY = '[services.crm.routes.a]\nmatch = "GET /a/*/b/{id}"\n'
BEARER = 'auth = { kind = "bearer", secret = "files:a" }\n'


def wrong(text: str) -> list[Problem]:
    """Give what makes the config unusable."""
    with pytest.raises(ConfigError) as caught:
        read_text(text)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        # Time.
        (f'{SERVICE}timeout = "56s"', "services.crm.timeout", "load_balancer_timeout (1m) minus timeout_margin (5s)"),
        (f'{SERVICE}{ROUTE}timeout = "90s"', "services.crm.routes.a.timeout", "leaves 55s at most"),
        (f'{SERVICE}timeout = "0s"', "services.crm.timeout", "no time at all"),
        (f'{SERVICE}{ROUTE}idle_timeout = "0s"', "services.crm.routes.a.idle_timeout", "no time at all"),
        (f'{SERVICE}attempt_timeout = "21s"', "services.crm.attempt_timeout", "longer than the whole call"),
        (f'{SERVICE}first_byte_timeout = "21s"', "services.crm.first_byte_timeout", "longer than the whole call"),
        (f'{SERVICE}connect_timeout = "21s"', "services.crm.connect_timeout", "longer than the whole call"),
        (f'{SERVICE}{ROUTE}attempt_timeout = "21s"', "services.crm.routes.a.attempt_timeout", "longer than the whole"),
        ('[sidecar]\ntimeout_margin = "60s"', "sidecar.timeout_margin", "leaves no time"),
        ('[listen]\nhead_timeout = "0s"', "listen.head_timeout", "no time at all"),
        # Gathering.
        (f"{SERVICE}{GATHER}", "services.crm.gather", "it stands in a route"),
        (f"{SERVICE}{ROUTE}{GATHER}", "services.crm.routes.a.gather", "the id is the last segment"),
        (f"{SERVICE}{ANY}{GATHER}", "services.crm.routes.a.gather", "the id is the last segment"),
        # Queues.
        (
            f"{DURABLE}{SERVICE}queue = {{ schedule = [] }}",
            "services.crm.queue.schedule",
            "at least one length of time",
        ),
        # Stores.
        ('[store]\nkind = "valkey"\nurl = "http://a"', "store.url", '"redis://host:6379"'),
        # Queries.
        (f"{SERVICE}{BATCH.replace(chr(34) + 'c', chr(34) + 's >= 4')}", "services.crm.batch.failed", "such as `400`"),
        # Listeners.
        ('[listen]\negress = ["localhost"]', "listen.egress[0]", '"host:port"'),
        ('[listen]\negress = ["127.0.0.1:70000"]', "listen.egress[0]", "port 70000 does not exist"),
        ('[listen]\negress = ["[::x]:1"]', "listen.egress[0]", '"[v6]:port"'),
        ('[listen]\negress = ["[1:2]:1"]', "listen.egress[0]", "not an IPv6 address"),
        ('[listen]\negress = ["unix:run.sock"]', "listen.egress[0]", "absolute path"),
        (f'[listen]\negress = ["unix:/{"x" * 107}"]', "listen.egress[0]", "at most 107 bytes"),
        ("[listen]\negress = []", "listen.egress", "no door"),
        ('[listen]\nadmin = "0.0.0.0:4001"', "listen.admin", "never leaves the pod"),
        ('[listen]\nadmin = "10.0.0.1:4001"', "listen.admin", "never leaves the pod"),
        ('[listen]\nadmin = "localhost:4000"', "listen.admin", "already taken by listen.egress[0]"),
        ('[listen]\ntelemetry = "0.0.0.0:4001"', "listen.telemetry", "already taken by listen.admin"),
        (f'{SERVICE}listen = ["127.0.0.1:4000"]', "services.crm.listen[0]", "already taken by listen.egress[0]"),
        (
            f'{SERVICE}listen = ["unix:/a"]\n[services.b]\nbase_url = "https://b.example"\nlisten = ["unix:/a"]',
            "services.b.listen[0]",
            "already taken by services.crm.listen[0]",
        ),
        ('[listen]\nhosts = ["a:80"]', "listen.hosts[0]", "without a port"),
        # Names.
        ('[services.Crm]\nbase_url = "https://a.example"', "services.Crm", 'such as "crm"'),
        ('[services.my_crm]\nbase_url = "https://a.example"', "services.my_crm", 'such as "my-crm"'),
        ('[services._sidecar]\nbase_url = "https://a.example"', "services._sidecar", "a host name"),
        ('[services.a-]\nbase_url = "https://a.example"', "services.a-", "a host name"),
        (f'[services.{"a" * 64}]\nbase_url = "https://a.example"', f"services.{'a' * 64}", "1 to 63"),
        (f'{SERVICE}[services.crm.routes."a b"]\nmatch = "GET /a"', "services.crm.routes.a b", "letters, digits"),
        ('[secrets.Files]\nkind = "file"\npath = "/x"', "secrets.Files", "small letters"),
        ('[sidecar]\nenvironment = "a b"', "sidecar.environment", "write letters"),
        # References.
        (f"{SERVICE}{BEARER}", "services.crm.auth.secret", "there is none"),
        (f'{STORE}[listen]\napp_token = "file:a"', "listen.app_token", 'there is "files"'),
        (
            f'{STORE}{SERVICE}{ROUTE}auth = {{ kind = "bearer", secret = "main:a" }}',
            "services.crm.routes.a.auth.secret",
            'there is "files"',
        ),
        (
            f'{STORE}{SERVICE}auth = {{ kind = "bearer", secret = "files:{{environment}}/a" }}',
            "services.crm.auth.secret",
            "sidecar.environment is not set",
        ),
        # Headers.
        (f'{SERVICE}api_version = {{ value = "1" }}', "services.crm.api_version", "say where it goes, once"),
        (
            f'{SERVICE}api_version = {{ value = "1", header = "A", path = true }}',
            "services.crm.api_version",
            "say where it goes, once",
        ),
        (
            f'{SERVICE}api_version = {{ value = "1", header = "A B" }}',
            "services.crm.api_version.header",
            "not a header",
        ),
        (f'{SERVICE}api_version = {{ value = "a/b", path = true }}', "services.crm.api_version.value", "one segment"),
        (f'{SERVICE}api_version = {{ value = "..", path = true }}', "services.crm.api_version.value", "one segment"),
        (
            f'{SERVICE}api_version = {{ value = "1 HTTP/1.1", path = true }}',
            "services.crm.api_version.value",
            "segment",
        ),
        (
            f'{SERVICE}api_version = {{ value = "1%2f..", path = true }}',
            "services.crm.api_version.value",
            "one segment",
        ),
        (
            f'{SERVICE}api_version = {{ value = "1 HTTP/1.1", query = "v" }}',
            "services.crm.api_version.value",
            "visible",
        ),
        (f'{SERVICE}api_version = {{ value = "1&a=2", query = "v" }}', "services.crm.api_version.value", "visible"),
        (
            f'{SERVICE}api_version = {{ value = "1", query = "v HTTP/1.1" }}',
            "services.crm.api_version.query",
            "parameter",
        ),
        (f'{SERVICE}headers = {{ set = {{ Expect = "a" }} }}', "services.crm.headers.set.Expect", "the connection"),
        (f'{SERVICE}headers = {{ set = {{ X = "a\\u0001" }} }}', "services.crm.headers.set.X", "control character"),
        (f'{SERVICE}ca_file = "a\\u0000"', "services.crm.ca_file", "no NUL"),
        (f"{SERVICE}pool = {{ connections_max = 9999999999 }}", "services.crm.pool.connections_max", "too much"),
        (f'{SERVICE}body_max = "{"9" * 400}GiB"', "services.crm.body_max", "any disk"),
        (f'{SERVICE}idle_timeout = "{"9" * 400}s"', "services.crm.idle_timeout", "anybody waits"),
        ('[services.a]\nbase_url = " https://x.example"', "services.a.base_url", "visible"),
        ('[services.a]\nbase_url = "https://x.example/a\\nb"', "services.a.base_url", "visible"),
        (f'{SERVICE}headers = {{ set = {{ "A B" = "1" }} }}', "services.crm.headers.set.A B", "not a header name"),
        (f'{SERVICE}headers = {{ set = {{ Host = "a" }} }}', "services.crm.headers.set.Host", "the connection"),
        (f'{SERVICE}headers = {{ add = {{ TE = "a" }} }}', "services.crm.headers.add.TE", "the connection"),
        (f'{SERVICE}headers = {{ remove = ["content-length"] }}', "services.crm.headers.remove[0]", "the connection"),
        (f'{SERVICE}headers = {{ set = {{ Sidecar-A = "a" }} }}', "services.crm.headers.set.Sidecar-A", "the sidecar"),
        (f'{SERVICE}headers = {{ set = {{ X = "a\\r\\nB: c" }} }}', "services.crm.headers.set.X", "no line break"),
        (f'{SERVICE}headers = {{ set = {{ X = "\\u0000" }} }}', "services.crm.headers.set.X", "no NUL"),
        (f'{SERVICE}headers = {{ set = {{ X = "é" }} }}', "services.crm.headers.set.X", "ASCII"),
        (f'{SERVICE}headers = {{ set = {{ cookie = "a" }} }}', "services.crm.headers.set.cookie", "write auth"),
        (
            f'{SERVICE}{ROUTE}response_headers = {{ set = {{ "" = "1" }} }}',
            "services.crm.routes.a.response_headers.set.",
            "not a header name",
        ),
        (f'{SERVICE}forward = ["Cookie", "X-A"]', "services.crm.forward[1]", "only Authorization and Cookie"),
        (
            f'{STORE}{SERVICE}auth = {{ kind = "bearer", secret = "files:a", header = "Host" }}',
            "services.crm.auth.header",
            "the connection",
        ),
        (
            f'{STORE}{SERVICE}auth = {{ kind = "bearer", secret = "files:a", prefix = "a\\n" }}',
            "services.crm.auth.prefix",
            "no line break",
        ),
        (
            f'{STORE}{SERVICE}auth = {{ kind = "api_key", secret = "files:a", name = "a b" }}',
            "services.crm.auth.name",
            "not a header name",
        ),
        (
            f'{STORE}{SERVICE}auth = {{ kind = "api_key", secret = "files:a", in = "query", name = "a&b" }}',
            "services.crm.auth.name",
            "a query parameter",
        ),
        (
            f'{KEY}in = "query"\nname = "a"\nprefix = "b"',
            "services.crm.auth.prefix",
            "no prefix",
        ),
        (
            f'{STORE}{SERVICE}auth = {{ kind = "basic", secret = "files:a", username = "a:b" }}',
            "services.crm.auth.username",
            "no colon",
        ),
        # The way out.
        (f'{SERVICE}upstream_proxy = "https://proxy:3128"', "services.crm.upstream_proxy", "scheme http"),
        (f'{SERVICE}upstream_proxy = "http://proxy:3128/a"', "services.crm.upstream_proxy", "no path"),
        (
            f'{STORE}{SERVICE}upstream_proxy_auth = {{ username = "a", password = "files:a" }}',
            "services.crm.upstream_proxy_auth",
            "no upstream_proxy",
        ),
        # Bounds.
        (f"{SERVICE}pool = {{ connections_max = 0 }}", "services.crm.pool.connections_max", "at least 1"),
        (f"{SERVICE}pool = {{ waiting_max = -1 }}", "services.crm.pool.waiting_max", "at least 0"),
        (
            f"{SERVICE}pool = {{ connections_max = 3, idle_max = 4 }}",
            "services.crm.pool.idle_max",
            "connections_max = 3",
        ),
        (f'{SERVICE}body_max = "0B"', "services.crm.body_max", "at least 1B"),
        ("[admission]\ncalls_max = 0", "admission.calls_max", "at least 1"),
        ("[listen]\nconnections_max = 0", "listen.connections_max", "at least 1"),
        ("[log]\nsuccess = 1.5", "log.success", "from 0 (none) to 1 (all)"),
        ("[log]\nsuccess = -0.5", "log.success", "from 0 (none) to 1 (all)"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_at_the_very_key(text: str, path: str, sentence: str) -> None:
    """One mistake, one problem; the sentence says what would be right."""
    found = [problem for problem in wrong(text) if problem.path == path]
    assert len(found) >= 1, wrong(text)
    assert any(sentence in problem.sentence for problem in found)
    assert {problem.path for problem in wrong(text)} == {path}


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        (f"{SERVICE}allow = []", "services.crm.allow", "every call is refused"),
        (f"{SERVICE}{ROUTE}allow = []", "services.crm.routes.a.allow", "every call is refused"),
        (f"{STORE}{PLAIN}{BEARER}", "services.crm.auth", "plain http"),
        (f"{STORE}{PLAIN}allow_private = true\n{BEARER}", "services.crm.auth", "plain http"),
        (f"{STORE}{PLAIN}{ROUTE}{BEARER}", "services.crm.routes.a.auth", "plain http"),
        ('[services.a]\nbase_url = "https://10.0.0.1"', "services.a.base_url", "allow_private = true"),
        ('[services.a]\nbase_url = "https://localhost"', "services.a.base_url", "allow_private = true"),
        (
            '[services.a]\nbase_url = "http://169.254.169.254"\nallow_private = true',
            "services.a.base_url",
            "every call will be refused",
        ),
        ('[listen]\negress = ["0.0.0.0:4000"]', "listen.egress[0]", "the pod's credentials"),
        (
            f'{SERVICE}headers = {{ set = {{ X-Shop-Token = "a" }} }}',
            "services.crm.headers.set.X-Shop-Token",
            "a secret",
        ),
        (f'{SERVICE}headers = {{ add = {{ X-Session = "a" }} }}', "services.crm.headers.add.X-Session", "a secret"),
        (f"{SERVICE}{ROUTE}retry = false\n{BATCH}", "services.crm.routes.a.batch", "not sent again"),
        (f"{SERVICE}{ROUTE}retry = {{ attempts_max = 1 }}\n{BATCH}", "services.crm.routes.a.batch", "not sent again"),
    ],
)
def test_what_may_be_meant_but_is_likely_a_slip_is_a_warning(text: str, path: str, sentence: str) -> None:
    """A warning is told, and the config is used."""
    [warning] = check(read_text(text))
    assert (warning.path, warning.is_warning) == (path, True)
    assert sentence in warning.sentence
    assert str(warning).startswith(f"{path}: warning: ")


@pytest.mark.parametrize(
    "text",
    [
        f'{SERVICE}timeout = "55s"',
        f'{SERVICE}timeout = "1s"',
        f"{SERVICE}pool = {{ connections_max = 3 }}",
        f"{SERVICE}pool = {{ idle_max = 0, waiting_max = 0 }}",
        f'{SERVICE}attempt_timeout = "8s"\n{ROUTE}timeout = "5s"',
        '[sidecar]\ntimeout_margin = "0s"\ndrain_timeout = "0s"',
        '[listen]\negress = ["127.0.0.1:0", "[::1]:0", "unix:/a"]\nadmin = "unix:/b"\ntelemetry = "127.0.0.1:0"',
        '[listen]\nhosts = ["sidecar.internal", "[::1]"]\nadmin = "[::1]:4000"',
        f'{STORE}{PROXIED}upstream_proxy_auth = {{ username = "a", password = "files:p" }}',
        f'{STORE}[services.a]\nbase_url = "http://127.0.0.1:1"\nallow_private = true\n{BEARER}',
        f'{SERVICE}forward = ["authorization", "Cookie"]',
    ],
)
def test_what_is_right_brings_no_word(text: str) -> None:
    """The edges of each rule lie where they should."""
    assert check(read_text(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        '[store]\nkind = "valkey"\nurl = "http://a"',
        f'{SERVICE}{ROUTE}gather = {{ request = 7, answer_items = "b", id = "c" }}',
    ],
)
def test_a_key_that_cannot_be_read_is_told_once(text: str) -> None:
    """What its section would say of the value that stands in for it is no news."""
    assert len([problem for problem in wrong(text) if "gather.request" in problem.path or "url" in problem.path]) == 1


def test_a_problem_of_the_service_is_not_repeated_for_each_route() -> None:
    """What a route inherits is said once."""
    found = wrong(f'{SERVICE}timeout = "90s"\n{ROUTE}idle_timeout = "3s"\n')
    assert [problem.path for problem in found] == ["services.crm.timeout"]


@pytest.mark.parametrize(
    ("service", "warned"),
    [
        ('rate_limit = { rate = "90/s", burst = 5 }\ncost = 5', []),
        ('rate_limit = { rate = "90/s", burst = 5 }\ncost = 6', ["services.crm.cost"]),
        ('rate_limit = { rate = "90/s" }\ncost = 9', []),
        ('rate_limit = { rate = "90/s" }\ncost = 10', ["services.crm.cost"]),
        ('rate_limit = { rate = "90/s", wait_max = "21s" }', ["services.crm.rate_limit.wait_max"]),
        ("rate_limit = false\ncost = 10", []),
    ],
)
def test_a_rate_limit_that_does_something_else_than_it_says_is_warned_of(service: str, warned: list[str]) -> None:
    """A cost over the burst passes the rate, and nobody waits longer than a call takes."""
    config = read_text(f'[services.crm]\nbase_url = "https://crm.example"\n{service}\n')
    assert [problem.path for problem in check(config)] == warned
    assert all(problem.is_warning for problem in check(config))


@pytest.mark.parametrize(
    ("store", "pod", "service", "said"),
    [
        ('kind = "valkey"\nurl = "redis://valkey"', "replicas = 9", "", []),
        ('kind = "valkey"\nurl = "redis://valkey"', "", "", ["services.crm.rate_limit.shared (warning)"]),
        (
            'kind = "valkey"\nurl = "redis://valkey"', "replicas = 9", ", burst = 8",
            ["services.crm.rate_limit.burst (warning)"],
        ),
    ],
)  # fmt: skip
def test_a_shared_rate_limit_is_told_of_what_it_cannot_do_well(
    store: str, pod: str, service: str, said: list[str]
) -> None:
    """The number of pods, for the time without the store, and a permit at once for each of them."""
    text = f"[sidecar]\n{pod}\n[store]\n{store}\n{SERVICE}"
    problems = check(read_text(f'{text}rate_limit = {{ rate = "90/s", shared = true{service} }}'))
    assert [f"{problem.path}{' (warning)' * problem.is_warning}" for problem in problems] == said


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_shared_rate_limit_needs_a_store_that_pods_share(kind: str) -> None:
    """Where each has its own, each would send the whole rate; the sentence says what to write."""
    [problem] = wrong(f'[store]\nkind = "{kind}"\n{SERVICE}rate_limit = {{ rate = "90/s", shared = true }}')
    assert problem.path == "services.crm.rate_limit.shared"
    assert 'write [store] with kind = "valkey" and its url' in problem.sentence


@pytest.mark.parametrize(
    ("cost", "cure"), [("10", "write rate_limit.burst = 10 or more"), ("100", "write a smaller cost")]
)
def test_what_is_advised_against_a_cost_is_no_problem_itself(cost: str, cure: str) -> None:
    """A burst over the rate would be refused in turn."""
    [problem] = check(read_text(f'{SERVICE}rate_limit = {{ rate = "90/s" }}\ncost = {cost}'))
    assert problem.sentence.endswith(cure)


@pytest.mark.parametrize(
    ("service", "warned"),
    [
        ("bulkhead = { slots = 1000 }", ["services.crm.bulkhead.slots"]),
        ("bulkhead = { slots = 1000 }\npool = { connections_max = 1000 }", []),
        ("pool = { connections_max = 50 }", []),
    ],
)
def test_slots_without_connections_are_warned_of(service: str, warned: list[str]) -> None:
    """They would wait for a connection instead, where nobody looks for them; a default that is too large is none."""
    problems = check(read_text(SERVICE + service))
    assert [problem.path for problem in problems] == warned
    assert all(problem.is_warning for problem in problems)


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (f'{SERVICE}idempotency = {{ replay = "24h" }}', ["services.crm.idempotency.replay"]),
        (f'[store]\nkind = "sqlite"\n{SERVICE}idempotency = {{ replay = "24h" }}', []),
        (f'{SERVICE}idempotency = {{ header = "Idempotency-Key" }}', []),
        (f'{SERVICE}{ROUTE}idempotency = {{ replay = "24h" }}', ["services.crm.routes.a.idempotency.replay"]),
    ],
)
def test_answers_that_a_restart_would_forget_are_warned_of(text: str, warned: list[str]) -> None:
    """Whoever writes 24 h means them over a rollout, too."""
    problems = check(read_text(text))
    assert [problem.path for problem in problems] == warned
    assert all(problem.is_warning for problem in problems)


VALKEY = '[store]\nkind = "valkey"\nurl = "rediss://valkey:6379"\n'


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (VALKEY + 'path = "jobs.db"\n', "store.path", 'belongs to kind = "sqlite", or to "valkey" with fallback'),
        (VALKEY + 'bytes_max = "1GiB"\n', "store.bytes_max", 'to kind = "memory" or "sqlite", or to "valkey" with'),
        (VALKEY + 'fallback = "memory"\n', "store.fallback", "sqlite"),
        ('[store]\nkind = "sqlite"\nfallback = "sqlite"\n', "store.fallback", 'this belongs to kind = "valkey"'),
        (VALKEY + 'fallback = "sqlite"\nbytes_max = "1KiB"\n', "store.bytes_max", "write 1MiB or more"),
    ],
)
def test_a_fallback_belongs_to_valkey_and_the_file_to_it(text: str, path: str, said: str) -> None:
    """Where a key means nothing the sentence says where it would."""
    with pytest.raises(ConfigError) as caught:
        read_text(text + SERVICE)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert said in problem.sentence


def test_valkey_with_a_fallback_takes_the_keys_of_the_file() -> None:
    """Its place and its bound."""
    config = read_text(VALKEY + 'fallback = "sqlite"\npath = "jobs.db"\nbytes_max = "1GiB"\n' + SERVICE)
    assert (config.store.fallback, config.store.path) == ("sqlite", "jobs.db")
    assert check(config) == []
