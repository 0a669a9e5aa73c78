"""Kinds of auth that sign each call, fetch a token for an installation, or leave the app's credential alone."""

import hashlib
import hmac
import json
import secrets
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from sidecar.cli import main
from tests.kit.exchange import Exchange, Request
from tests.kit.pod import Pod
from tests.kit.tokens import JSON, GuardingTokens, Minting
from tests.kit.vendor import Vendor, answer

CLIENT = 'kind = "oauth2_client_credentials", token_url = "https://a.example/t", client_id = "i"'
REFRESHING = 'kind = "oauth2_refresh_token", token_url = "https://a.example/t", client_id = "i"'
HMAC = """
[services.vendor.auth]
kind = "hmac"
secret = "files:key"
key_id = "shop"
to_sign = "{method}\\n{target}\\n{timestamp}\\n{body_sha256}"
header = "Authorization"
value = "HMAC {key_id}:{signature}"
headers = { "X-Timestamp" = "{timestamp}" }
"""


async def test_the_vendor_verifies_what_was_signed(tmp_path: Path) -> None:
    """Method, target with its query, moment and body are under the signature; the app's own one is replaced."""
    key = secrets.token_hex(32)

    def verify(request: Request) -> bytes:
        [moment] = request.values("X-Timestamp")
        digest = hashlib.sha256(request.body).hexdigest()
        text = f"{request.method}\n{request.target.decode()}\n{moment.decode()}\n{digest}"
        signature = hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
        is_good = request.values("Authorization") == [f"HMAC shop:{signature}".encode()]
        is_fresh = abs(int(moment) - time.time()) < 60
        return answer(b"ok") if is_good and is_fresh else answer(b"no", status=401)

    async with Vendor.answering(verify) as vendor:
        pod = Pod(tmp_path, vendor, service=HMAC)
        pod.write_secret("key", key)
        async with pod, pod.app() as app:
            for method, target, body in (
                ("GET", "/v1/a%20b?x=1&y=%C3%A9", b""),
                ("POST", "/v1/orders", secrets.token_bytes(70_000)),
                ("DELETE", "/v1/orders/7?force", b""),
            ):
                reply = await app.ask(method, f"/vendor{target}", "Authorization: HMAC app:0", body=body)
                assert reply.status == 200, (method, target)
        assert key not in pod.log_file.read_text()


@pytest.mark.parametrize("ahead", [0.0, 300.0])
async def test_an_installations_token_is_fetched_and_renewed(tmp_path: Path, ahead: float) -> None:
    """GitHub verifies our JWT by its own clock, five minutes off ours or not; its token is on the calls, also to it."""
    key = RSAKey.generate_key(2048, private=True)
    minting = Minting()

    async def install(exchange: Exchange) -> None:
        request = exchange.request
        assert request is not None
        assert request.target == b"/app/installations/42/access_tokens"
        now = time.time() + ahead
        [value] = request.values("Authorization")
        claims = jwt.decode(value.removeprefix(b"Bearer ").decode(), key, algorithms=["RS256"]).claims
        date = (b"Date", formatdate(now, usegmt=True).encode())
        if not claims["iat"] <= now < claims["exp"] <= now + 600:
            await exchange.send(answer(b'{"message": "expired"}', status=401, headers=[JSON, date]))
            return
        assert claims["iss"] == "7"
        assert json.loads(request.body) == {"permissions": {"issues": "read"}}
        minting.tokens.append(f"ghs_{secrets.token_hex(18)}")
        ends_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 3600))
        document = {"token": minting.tokens[-1], "expires_at": ends_at}
        await exchange.send(answer(json.dumps(document).encode(), status=201, headers=[JSON, date]))

    guarding = GuardingTokens(minting)
    async with Vendor(install, host="127.0.0.1") as github, Vendor(guarding) as vendor:
        auth = (
            'auth = { kind = "github_app", app_id = "7", private_key = "files:app", installation_id = "42",'
            f' permissions = {{ issues = "read" }}, api_base = "{github.url}", allow_private = true }}'
        )
        pod = Pod(tmp_path, vendor, service=auth)
        pod.write_secret("app", key.as_pem(private=True))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/repos/o/r")).status == 200
            shown = pod.snapshot()["services"]["vendor"]["token"]
            assert 3500 < shown["expires_in"] <= 3600
            guarding.revoked = set(minting.tokens)
            assert (await app.ask("GET", "/vendor/repos/o/r")).status == 200
            assert len(minting.tokens) == 2
        written = pod.log_file.read_text()
        assert not any(token in written for token in [*minting.tokens, "PRIVATE KEY"])


async def test_an_app_that_brings_its_users_credential_is_left_alone(tmp_path: Path) -> None:
    """passthrough: it goes on as it came, its refusal comes back as it is, and it is nowhere written."""
    own = secrets.token_hex(16)
    async with Vendor.answering(answer(b"no", status=401), answer(b"ok")) as vendor:
        async with (
            Pod(tmp_path, vendor, service='auth = { kind = "passthrough" }', level="debug") as pod,
            pod.app() as app,
        ):
            for status in (401, 200):
                assert (await app.ask("GET", "/vendor/x", f"Authorization: Bearer {own}")).status == status
            assert (await app.ask("GET", "/vendor/x")).status == 200
        seen = [request.values("Authorization") for request in vendor.requests]
        assert seen == [[f"Bearer {own}".encode()]] * 2 + [[]]
        assert own not in pod.log_file.read_text()


@pytest.mark.parametrize("written", ["env:VENDOR_KEY", "$VENDOR_KEY", "WRITTEN HERE"])
@pytest.mark.parametrize(
    "auth",
    [
        'kind = "bearer", secret = "VALUE"',
        'kind = "hmac", to_sign = "{target}", secret = "VALUE"',
        'kind = "aws_sigv4", region = "eu-central-1", service = "s3", access_key = "files:a", secret_key = "VALUE"',
        f'{CLIENT}, client_secret = "VALUE"',
        f'{REFRESHING}, client_secret = "files:c", refresh_token = "VALUE"',
        f'{CLIENT}, client_secret = "files:c", params = {{ client_secret = "VALUE" }}',
        'kind = "github_app", app_id = "7", installation_id = "42", private_key = "VALUE"',
        'kind = "mtls", certificate = "files:a", private_key = "VALUE"',
    ],
)
def test_a_secret_in_the_config_or_the_environment_is_refused(
    tmp_path: Path, auth: str, written: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` says what to write instead, and repeats nothing of what was written: it may be the secret."""
    value, in_environment = f"{secrets.token_hex(12)} literal", secrets.token_hex(12)
    monkeypatch.setenv("VENDOR_KEY", in_environment)
    file = tmp_path / "sidecar.toml"
    file.write_text(
        '[secrets.files]\nkind = "file"\npath = "/secrets"\n[services.vendor]\nbase_url = "https://api.example"\n'
        f"auth = {{ {auth.replace('VALUE', written.replace('WRITTEN HERE', value))} }}\n"
    )
    assert main(["check", "-c", str(file)]) == 1
    said = capsys.readouterr()
    told = said.out + said.err
    assert "reference" in told
    assert "services.vendor.auth" in told
    assert value not in told
    assert in_environment not in told
