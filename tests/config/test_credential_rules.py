"""Rules of credentials: where a client certificate may stand, and what `check` warns of."""

import pytest

from sidecar.config.load import read_text
from sidecar.config.problem import ConfigError
from sidecar.config.rules import check

STORES = """
[secrets.files]
kind = "file"
path = "/x"
[secrets.main]
kind = "vault"
address = "https://vault.example:8200"
auth = { method = "kubernetes", role = "r" }
[secrets.aws]
kind = "aws"
[secrets.google]
kind = "gcp"
project = "checkout"
"""
PRODUCTION = f'[sidecar]\nenvironment = "production"\n{STORES}'
MTLS = 'auth = { kind = "mtls", certificate = "files:a", private_key = "files:b" }\n'
CERTIFICATE = 'client_certificate = { certificate = "files:a", private_key = "files:b" }\n'
SERVICE = '[services.crm]\nbase_url = "https://api.crm.example"\n'
PLAIN = '[services.crm]\nbase_url = "http://api.crm.example"\n'
ROUTE = '[services.crm.routes.a]\nmatch = "GET /a"\n'
TOKENS = (
    'auth = {{ kind = "oauth2_client_credentials", client_auth = "none", allow_private = true, token_url = "{}" }}\n'
)


def refused(text: str) -> dict[str, str]:
    """Give the sentences by path of what makes the config unusable."""
    with pytest.raises(ConfigError) as caught:
        read_text(text)
    return {problem.path: problem.sentence for problem in caught.value.problems}


def warned(text: str) -> list[str]:
    """Give the paths of the warnings of a config that is good otherwise."""
    found = check(read_text(text))
    assert all(problem.is_warning for problem in found)
    return [problem.path for problem in found]


def secret(reference: str) -> str:
    """Give a service with a bearer token from there."""
    return f'{SERVICE}auth = {{ kind = "bearer", secret = "{reference}" }}\n'


@pytest.mark.parametrize(
    ("text", "path", "sentence"),
    [
        (f"{PLAIN}{MTLS}", "services.crm.auth", "https"),
        (f"{PLAIN}{CERTIFICATE}", "services.crm.client_certificate", "https"),
        (f"{SERVICE}{MTLS}{CERTIFICATE}", "services.crm.client_certificate", "write either"),
        (f"{SERVICE}{ROUTE}{MTLS}", "services.crm.routes.a.auth", "belongs to the connections"),
        (f"{SERVICE}{MTLS}{ROUTE}{MTLS.replace('files:a', 'files:c')}", "services.crm.routes.a.auth", "all routes"),
    ],
)
def test_a_client_certificate_stands_where_connections_can_show_it(text: str, path: str, sentence: str) -> None:
    """Connections are the service's, they show one certificate, and only TLS has a place for it."""
    found = refused(STORES + text)
    assert list(found) == [path]
    assert sentence in found[path]


@pytest.mark.parametrize(
    "text",
    [
        f"{SERVICE}{MTLS}{ROUTE}",
        f"{SERVICE}{MTLS}{ROUTE}{MTLS}",
        f"{SERVICE}{CERTIFICATE}{ROUTE}{MTLS}",
        f'{SERVICE}{CERTIFICATE}auth = {{ kind = "bearer", secret = "files:t" }}\n',
    ],
)
def test_a_certificate_that_is_the_connections_own_may_be_named_again(text: str) -> None:
    """By a route, or beside a token that goes over the same connection."""
    assert warned(STORES + text) == []


@pytest.mark.parametrize("reference", ["main:crm#token", "aws:crm", "google:crm#token"])
def test_a_path_that_two_environments_would_share_is_warned_of(reference: str) -> None:
    """With the same file in staging and production, staging would use production's secret, or rotate it away."""
    assert warned(PRODUCTION + secret(reference)) == ["services.crm.auth.secret"]
    assert warned(PRODUCTION + secret(reference.replace("crm", "{environment}-crm"))) == []
    assert warned(STORES + secret(reference)) == []  # Nobody said that there are several environments.


def test_a_mounted_directory_is_each_environments_own() -> None:
    """Another cluster, another mount."""
    assert warned(PRODUCTION + secret("files:crm")) == []


def test_a_store_that_is_the_environments_own_needs_no_name_in_its_paths() -> None:
    """A project, a namespace or an account of its own keeps environments apart, too."""
    own = PRODUCTION.replace('project = "checkout"', 'project = "checkout-production"')
    assert warned(own + secret("google:crm")) == []
    assert warned(own + secret("main:crm")) == ["services.crm.auth.secret"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (STORES.replace("https://vault.example", "http://vault.example"), "secrets.main.address"),
        (
            STORES + 'endpoint = "http://secrets.example"\nallow_private = true\n',
            "secrets.google.endpoint",
        ),
        (STORES + SERVICE + TOKENS.format("http://id.example/token"), "services.crm.auth.token_url"),
        (
            STORES + SERVICE + ROUTE + TOKENS.format("http://id.example/token"),
            "services.crm.routes.a.auth.token_url",
        ),
        (
            STORES
            + SERVICE
            + 'auth = { kind = "github_app", app_id = "1", installation_id = "2", allow_private = true, '
            'private_key = "files:k", api_base = "http://github.example" }\n',
            "services.crm.auth.api_base",
        ),
    ],
)
def test_secrets_that_go_over_plain_http_are_warned_of(text: str, path: str) -> None:
    """Whoever is on the way reads along, also inside a private network; on loopback nobody is."""
    assert warned(text) == [path]
    for name in ("vault", "secrets", "id", "github"):
        text = text.replace(f"http://{name}.example", "http://localhost")
    assert warned(text) == []


@pytest.mark.parametrize("where", ["", ROUTE])
def test_a_refresh_token_lies_where_it_can_be_replaced(where: str) -> None:
    """An engine that makes credentials takes none."""
    auth = (
        'auth = {{ kind = "oauth2_refresh_token", client_id = "c", client_auth = "none",'
        ' token_url = "https://id.crm.example", refresh_token = "{}:creds/r#token" }}\n'
    )
    stores = STORES + STORES[STORES.index("[secrets.main]") : STORES.index("[secrets.aws]")].replace("main", "made")
    stores = stores.rstrip() + '\nengine = "dynamic"\nmount = "database"\n'
    place = f"services.crm{'.routes.a' if where else ''}.auth.refresh_token"
    text = stores + SERVICE + where
    assert "nothing can be written" in refused(text + auth.format("made"))[place]
    assert warned(text + auth.format("main")) == []


def test_zero_is_a_length_where_it_means_something() -> None:
    """The audit log may be forced to disk after each batch."""
    assert warned('[audit]\nfile = "/a"\nsync_every = "0s"\n') == []
    assert list(refused('[audit]\nsize_max = "1KiB"\n')) == ["audit.size_max"]
