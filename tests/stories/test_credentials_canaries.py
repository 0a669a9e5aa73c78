"""Canaries in every secret of every kind of auth and store: nothing that is written or shown sings."""

import asyncio
import base64
import gc
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

import aiohttp
import pytest
from joserfc.jwk import RSAKey

from sidecar.core.call import Call, Reply
from sidecar.layers.running import Service
from tests.auth.secrets import aws
from tests.contract import bao as bao_server
from tests.contract.bao import Bao
from tests.contract.stores import MotoPlace, ask
from tests.kit.exchange import Exchange, Request
from tests.kit.pod import Pod
from tests.kit.servers import Servers
from tests.kit.tokens import JSON, oauth
from tests.kit.valkey import Valkey
from tests.kit.vendor import Vendor, answer

MODULES = "sidecar."  # Whose objects' `repr`s are looked at.


def canary() -> str:
    """Make a value that looks different in every coding, and cannot be anywhere by chance."""
    return f"{secrets.token_hex(8)}/+&=?~{secrets.token_hex(8)}"


def codings(value: str) -> Iterator[bytes]:
    """Give every form in which a value might show: whole or in half, URL-encoded, base64 at any offset, JSON, hex."""
    raw = value.encode()
    yield from (raw, raw[:14], raw[-14:])
    yield from (quote(value, safe="").encode(), quote(value).encode(), quote_plus(value).encode())
    yield quote(value, safe="").lower().encode()
    yield raw.hex().encode()
    yield raw.replace(b"/", b"\\/")
    for offset in range(3):  # Behind "user:" in Basic it stands at one of these.
        middle = base64.b64encode(bytes(offset) + raw)[4:-4]
        yield middle
        yield middle.replace(b"+", b"-").replace(b"/", b"_")


class Flock:
    """The canaries, by where they sit; those that others make on the way come in, too."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def new(self, where: str) -> str:
        """Make one."""
        value = self.known[where] = canary()
        return value

    def found(self, places: dict[str, bytes]) -> list[tuple[str, str, bytes]]:
        """Give where one was seen."""
        return [
            (name, place, coding)
            for name, value in self.known.items()
            for coding in codings(value)
            for place, text in places.items()
            if coding in text
        ]


class Telltale:
    """A token endpoint that says everything it was told, in refusals and beside its tokens; two in three succeed."""

    def __init__(self, flock: Flock) -> None:
        self._flock = flock
        self._count = 0

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a token request."""
        request = exchange.request
        assert request is not None
        self._count += 1
        said = everything_of(request)
        for name, value in parse_qsl(request.body.decode()):
            if name in {"client_assertion", "assertion"}:
                self._flock.known[f"{name} {self._count}"] = value
        if self._count % 3 == 0:
            document: dict[str, Any] = {"error": "invalid_request", "error_description": said, "hint": said}
            await exchange.send(answer(json.dumps(document).encode(), status=400, headers=[JSON]))
            return
        token = self._flock.new(f"token {self._count}")
        document = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "echo": said, "scope": said}
        if b"refresh_token" in request.body:
            document["refresh_token"] = self._flock.new(f"refresh token {self._count}")
        await exchange.send(answer(json.dumps(document).encode(), headers=[JSON]))


def everything_of(request: Request) -> str:
    """Give what came, as the most talkative server would."""
    fields = "|".join(value.decode("latin-1") for _, value in request.headers)
    return f"{request.target.decode('latin-1')}|{fields}|{request.body.decode('latin-1')}"


def telltale(request: Request) -> bytes:
    """Answer as an API that refuses, breaks, and repeats what it was sent."""
    said = everything_of(request).encode("latin-1")
    status = {b"fine": 200, b"refused": 401, b"broken": 200}.get(request.target.partition(b"?")[0][1:], 500)
    body = b'{"said": "' + said.replace(b'"', b"'") + b'", "coded": "' + base64.b64encode(said) + b'"}'
    fields = [(b"X-Echo", said[:2000]), (b"WWW-Authenticate", b'Bearer error="invalid_token"'), JSON]
    return answer(body, status=status, headers=fields)


@pytest.fixture
def broken_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the way back of calls below /broken, with an error that tells everything it knows."""
    handle = Service.handle

    async def handle_or_break(self: Service, call: Call) -> Reply:
        try:
            return await handle(self, call)
        finally:
            if call.target.startswith(b"/broken"):
                raise RuntimeError(f"it broke with {call.headers} and {call.target!r}")

    monkeypatch.setattr(Service, "handle", handle_or_break)


def services(token_url: str, github_url: str) -> dict[str, str]:
    """Give the `auth` of a service of each kind, and of each store."""
    in_stores = {
        "in-vault": 'auth = { kind = "bearer", secret = "vault:vendor#key" }',
        "in-aws": 'auth = { kind = "api_key", name = "X-Odd", secret = "aws:vendor#key" }',
        "basic": 'auth = { kind = "basic", username = "checkout", secret = "files:basic" }',
        "query": 'auth = { kind = "api_key", in = "query", name = "key", secret = "files:query" }',
    }
    signing = {
        "hmac": 'auth = { kind = "hmac", secret = "files:hmac", to_sign = "{target}", key_id = "shop" }',
        "sigv4": 'auth = { kind = "aws_sigv4", region = "eu-central-1", service = "s3", access_key = "files:access",'
        ' secret_key = "files:secret", session_token = "files:session" }',
        "github": 'auth = { kind = "github_app", app_id = "7", installation_id = "42", private_key = "files:pem",'
        f' api_base = "{github_url}", allow_private = true }}',
        "passthrough": 'auth = { kind = "passthrough" }',
        "bad-pem": 'auth = { kind = "github_app", app_id = "7", installation_id = "42", private_key = "files:notpem",'
        f' api_base = "{github_url}", allow_private = true }}',
    }
    post, file = '"client_secret_post"', '"files:client"'
    tokens = {
        "basic-client": oauth(token_url, client_secret=file),
        "post-client": oauth(token_url, client_secret='"vault:client#key"', client_auth=post),
        "json-client": oauth(token_url, client_secret=file, client_auth=post, body='"json"'),
        "dpop": oauth(token_url, client_secret=file, dpop="true"),
        "signing-client": oauth(token_url, client_secret="", client_auth='"private_key_jwt"', client_key='"files:pem"'),
        "refreshing": oauth(token_url, "refresh_token", refresh_token='"files:grant#refresh_token"'),
        "in-vault-grant": oauth(token_url, "refresh_token", refresh_token='"vault:grant#refresh_token"'),
        "assertion": oauth(
            token_url, "jwt_bearer", client_secret="", key='"files:pem"', issuer='"shop"', client_id="shop"
        ),
        "exchange": oauth(token_url, "token_exchange", client_secret="", subject_token='"files:subject"'),
    }
    return in_stores | signing | tokens


@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
async def test_no_canary_of_any_kind_is_found_in_anything_written(
    tmp_path: Path, servers: Servers, broken_layer: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Tokens, keys, secrets, assertions: after success, refusal, fault and reload, at level debug, in every coding.

    Answers are remembered and calls are made later, by a vendor that repeats all it was sent.
    """
    flock = Flock()
    valkey: Valkey = servers.get(Valkey.serving)
    with valkey.client as client:
        client.flushall()
    aws.plain_environment(monkeypatch, tmp_path)
    aws.keys(monkeypatch)
    async with (
        Vendor(Telltale(flock), host="127.0.0.1") as endpoint,
        Vendor.answering(telltale) as vendor,
    ):
        kinds = services(f"{endpoint.url}/token", endpoint.url)
        config = await asyncio.to_thread(stores, servers, tmp_path, flock)
        config += store_section(kind, valkey, tmp_path)
        config += f'[audit]\nfile = "{tmp_path / "audit.jsonl"}"\n'
        kinds = {name: auth + REMEMBERED for name, auth in kinds.items()}
        pod = Pod(tmp_path, dict.fromkeys(kinds, vendor), service=kinds, config=config, level="debug")
        pod.write_secret("valkey", valkey.password)
        pod.write_secret("store-key", secrets.token_hex(32))
        pod.expected_faults = {"internal", "library"}
        fill(pod, flock)
        own = flock.new("the app's own")
        async with pod:
            codes = [await call(pod, name, path, own) for name in kinds for path in ("fine", "refused", "fails?a=1")]
            assert codes.count("200") >= len(kinds) / 2, codes
            assert {"500", "401", "credential_unavailable"} <= set(codes)
            assert "internal" in {await call(pod, name, "broken", own) for name in kinds}
            assert {await deferred(pod, name, own) for name in kinds} == {"202"}
            await pod.until(lambda: all_done(pod), "every job")
            places = await shown(pod)
            places["repr"] = reprs(pod.sidecar)
            pod._service = {name: f'{auth}\ntimeout = "9s"' for name, auth in kinds.items()}
            pod.write_config()
            assert (await pod.sidecar.reload())["ok"]
            await call(pod, "basic-client", "fine", own)
        places["log"] = pod.log_file.read_bytes()
    places["store"] = await asyncio.to_thread(stored, kind, valkey, tmp_path)
    assert b"/fine" in places["store"], "a job or an answer was kept"
    audit = tmp_path / "audit.jsonl"
    places["audit"] = await asyncio.to_thread(audit.read_bytes)
    assert b'"msg":"internal"' in places["log"]
    assert b'"response_start":"{' in places["log"], "no body of a failed answer was written"
    assert b"token_renewal_failed" in places["log"]
    assert b"TokenSource" in places["repr"]
    assert any("refresh token" in name for name in flock.known), "no grant was rotated"
    assert flock.found(places) == []


REMEMBERED = """
idempotency = { header = "Idempotency-Key", replay = "1h" }
queue = { when = "asked", schedule = ["10ms"], age_max = "500ms" }
"""


def store_section(kind: str, valkey: Valkey, folder: Path) -> str:
    """Give `[store]`."""
    if kind == "sqlite":
        return f'[store]\nkind = "sqlite"\npath = "{folder}/state.db"\n'
    return (
        f'[store]\nkind = "valkey"\nurl = "{valkey.url}"\npassword = "files:valkey"\n'
        'encryption_key = "files:store-key"\n'
    )


def stored(kind: str, valkey: Valkey, folder: Path) -> bytes:
    """Give what whoever reads the store sees."""
    if kind == "sqlite":
        return b"\n".join(file.read_bytes() for file in folder.rglob("state.db*") if file.is_file())
    return valkey.everything()


async def deferred(pod: Pod, service: str, own: str) -> str:
    """Have a call made later, whose app brings a credential where the service takes none of it."""
    async with pod.app() as app:
        brings = () if service == "passthrough" else (f"Authorization: Bearer {own}", f"Cookie: a={own}")
        reply = await app.ask("POST", f"/{service}/fine", "Prefer: respond-async", *brings, body=b"x" * 100)
    return str(reply.status)


def all_done(pod: Pod) -> bool:
    """Whether no job waits or runs."""
    shown = [service.get("queue", {}) for service in pod.snapshot()["services"].values()]
    ended = ("succeeded", "failed", "dead")
    return all(any(one.get(state) for state in ended) and not one.get("waiting") for one in shown)


def stores(servers: Servers, folder: Path, flock: Flock) -> str:
    """Plant canaries in a vault and in AWS; give the stores' sections."""
    bao = servers.get(bao_server.serving)
    assert isinstance(bao, Bao)
    mount = bao.mount(2)
    token = folder / "vault-token"
    token.touch(mode=0o600)
    flock.known["vault token"] = bao.token(bao.policy_for(mount))
    token.write_text(flock.known["vault token"])
    for path, field in (("vendor", "key"), ("client", "key"), ("grant", "refresh_token")):
        bao.ask("POST", f"{mount}/data/{path}", {"data": {field: flock.new(f"vault {path}")}})
    moto = servers.get(MotoPlace.serve)
    ask("POST", f"{moto}{MotoPlace.reset}")
    administrator = aws.administrator(moto)
    administrator.create_secret(Name="vendor", SecretString=json.dumps({"key": flock.new("aws before")}))
    administrator.put_secret_value(SecretId="vendor", SecretString=json.dumps({"key": flock.new("aws vendor")}))
    return (
        f'[secrets.vault]\nkind = "vault"\naddress = "{bao.address}"\nmount = "{mount}"\n'
        f'auth = {{ method = "token", token_file = "{token}" }}\n'
        f'[secrets.aws]\nkind = "aws"\nregion = "{aws.REGION}"\nendpoint_url = "{moto}"\ntimeout = "20s"\n'
    )


def fill(pod: Pod, flock: Flock) -> None:
    """Plant canaries in files."""
    for name in ("basic", "query", "hmac", "access", "secret", "session", "client", "subject", "notpem"):
        pod.write_secret(name, flock.new(name))
    pod.write_secret("grant", json.dumps({"refresh_token": flock.new("grant")}))
    pem = RSAKey.generate_key(2048, private=True).as_pem(private=True).decode()
    pod.write_secret("pem", pem)
    flock.known["pem"] = pem.splitlines()[5]


async def call(pod: Pod, service: str, path: str, own: str) -> str:
    """Call as an app that brings a credential; give the error code, or the vendor's status."""
    async with pod.app() as app:
        key = f"Idempotency-Key: {secrets.token_hex(8)}"
        headers = (f"Authorization: Bearer {own}", f"Cookie: a={own}", "Sidecar-Timeout: 5s", key)
        reply = await app.ask("POST", f"/{service}/{path}", *headers, body=b"x" * 100)
    codes = reply.values("Sidecar-Error")
    return codes[0].decode() if codes else str(reply.status)


async def shown(pod: Pod) -> dict[str, bytes]:
    """Gather what the doors for people and probes show."""
    admin = f"http://{pod.sidecar.address('admin')}"
    urls = [f"http://{pod.sidecar.address('telemetry')}/metrics"]
    urls += [admin + path for path in ("/", "/api/services", "/api/services/refreshing", "/api/config")]
    places = {}
    async with aiohttp.ClientSession() as session:
        for url in urls:
            async with session.get(url) as reply:
                places[url.partition("//")[2].partition("/")[2]] = await reply.read()
    return places


def reprs(root: object) -> bytes:
    """Give the `repr` of every object of the sidecar's own that `root` leads to."""
    seen: dict[int, object] = {}
    found, line = [], [root]
    while line:
        one = line.pop()
        if id(one) in seen or isinstance(one, type | ModuleType):
            continue
        seen[id(one)] = one
        if str(type(one).__module__).startswith(MODULES):
            found.append(repr(one))
        # A function leads to its closure, but not into its module, where everything is.
        line += gc.get_referents(one) if not isinstance(one, FunctionType) else [one.__closure__, one.__defaults__]
    return "\n".join(found).encode()
