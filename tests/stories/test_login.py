"""`sidecar login` as somebody does it: at a terminal, with a browser elsewhere, beside a running sidecar or without."""

import asyncio
import hashlib
import json
import secrets
import sys
from asyncio.subprocess import PIPE
from asyncio.subprocess import Process as Command
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

from tests.kit import browser
from tests.kit.app import App
from tests.kit.authorization import AuthorizationServer
from tests.kit.process import PATHS, Process
from tests.kit.vendor import Vendor, answer

PERSON = {"login": "somebody", "password": "x"}
WAIT = 20.0


async def config_for(server: AuthorizationServer, folder: Path, vendor: Vendor, **client: Any) -> str:
    """Register a client, and write a config with a service that is that client."""
    client_id = f"client-{secrets.token_hex(4)}"
    await server.add_client(
        client_id,
        application_type="native",
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        redirect_uris=["http://127.0.0.1/callback"],
        token_endpoint_auth_method="none",
        **client,
    )
    store = folder / "secrets"
    store.mkdir(mode=0o700)
    return f"""
[secrets.files]
kind = "file"
path = "{store}"
[audit]
file = "{folder}/audit.log"
[services.crm]
base_url = "{vendor.url}"
allow_private = true
[services.crm.auth]
kind = "oauth2_refresh_token"
token_url = "{server.token_url}"
client_id = "{client_id}"
client_auth = "none"
scopes = ["openid", "offline_access", "contacts"]
refresh_token = "files:refresh-token"
allow_private = true
[services.crm.auth.login]
authorize_url = "{server.issuer}/auth"
issuer = "{server.issuer}"
params = {{ prompt = "consent" }}
"""


async def log_in(config_file: Path) -> tuple[int | None, str, str]:
    """Run the command, go where it says, consent, and paste the address at which the browser ends."""
    command: Command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "login", "crm", "--no-browser", "-c", str(config_file),
        stdin=PIPE, stdout=PIPE, stderr=PIPE, env={"PYTHONPATH": ":".join(PATHS)},
    )  # fmt: skip
    assert command.stdout is not None
    said, url = "", ""
    async with asyncio.timeout(WAIT):
        while "Paste" not in said:
            line = (await command.stdout.readline()).decode()
            assert line, said
            said += line
            url = line.strip() if "/auth?" in line else url
        address = await browser.go_until(url, PERSON, "http://127.0.0.1:")
        out, err = await command.communicate(f"{address}\n".encode())
    return command.returncode, said + out.decode(), err.decode()


def logins(folder: Path) -> list[dict[str, Any]]:
    """Give the records of logins."""
    lines = (folder / "audit.log").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == "login"]


async def test_a_running_sidecar_uses_the_grant_at_once_and_records_the_login(
    authorization_server: AuthorizationServer, tmp_path: Path
) -> None:
    """Calls fail until somebody consented; afterwards they carry that consent's token."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = await config_for(authorization_server, tmp_path, vendor)
        async with Process(tmp_path, config) as sidecar, App.to(sidecar.egress_url) as app:
            assert (await app.ask("GET", "/crm/x")).status == 502
            code, said, errors = await log_in(sidecar.config_file)
            assert (code, errors) == (0, "")
            await sidecar.wait_for_line(lambda line: line["msg"] == "token_renewed", "the token")
            assert (await app.ask("GET", "/crm/x")).status == 200
            [value] = vendor.requests[-1].values("Authorization")
            assert (await authorization_server.look_up(value.removeprefix(b"Bearer ")))["scope"]
    [record] = logins(tmp_path)
    assert (record["service"], record["secret"]) == ("crm", "files:refresh-token")
    assert f"version {record['version']}" in said
    stored = (tmp_path / "secrets" / "refresh-token").read_text().strip()
    assert stored
    assert stored not in (tmp_path / "audit.log").read_text() + said


async def test_a_public_clients_grant_is_of_use_to_those_who_have_its_key(
    authorization_server: AuthorizationServer, tmp_path: Path
) -> None:
    """With DPoP: the command logs in, and the sidecar and the one after it renew with the same key and prove calls."""
    key = ECKey.generate_key("P-256", private=True)
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = await config_for(authorization_server, tmp_path, vendor, dpop_bound_access_tokens=True)
        config = config.replace('client_auth = "none"', 'client_auth = "none"\ndpop = true\ndpop_key = "files:dpop"')
        place = tmp_path / "secrets" / "dpop"
        place.touch(mode=0o600)
        place.write_bytes(key.as_pem(private=True))
        sidecar = Process(tmp_path, config)
        code, said, errors = await log_in(sidecar.config_file)
        assert (code, errors) == (0, "")
        tokens = set()
        for _ in range(2):
            async with Process(tmp_path, config) as sidecar, App.to(sidecar.egress_url) as app:
                await sidecar.wait_for_line(lambda line: line["msg"] == "token_renewed", "the token")
                assert (await app.ask("GET", "/crm/x?a=b")).status == 200
            [value], [proof] = (vendor.requests[-1].values(name) for name in ("Authorization", "DPoP"))
            token = value.removeprefix(b"DPoP ")
            assert (await authorization_server.look_up(token))["jkt"] == key.thumbprint()
            claims = jwt.decode(proof.decode(), key, algorithms=["ES256"]).claims
            assert (claims["htm"], claims["htu"]) == ("GET", f"{vendor.url}/x")
            assert claims["ath"] == urlsafe_b64encode(hashlib.sha256(token).digest()).rstrip(b"=").decode()
            tokens.add(token)
        assert len(tokens) == 2
    private = str(key.as_dict(private=True)["d"])
    assert private not in said + (tmp_path / "audit.log").read_text()


async def test_a_public_client_without_a_key_for_its_grant_is_told(
    authorization_server: AuthorizationServer, tmp_path: Path
) -> None:
    """Before anybody logs in for nothing: why, and how to make one."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = await config_for(authorization_server, tmp_path, vendor)
        config = config.replace('client_auth = "none"', 'client_auth = "none"\ndpop = true')
        async with Process(tmp_path, config, is_ready=False) as sidecar:
            assert await sidecar.wait() == 1
    assert sidecar.errors.startswith(b"services.crm.auth.dpop_key: where the client has no secret, dpop = true binds")
    assert b"openssl genpkey -algorithm EC" in sidecar.errors


async def test_without_a_running_sidecar_the_command_records_the_login_itself(
    authorization_server: AuthorizationServer, tmp_path: Path
) -> None:
    """The record stands in the file that the sidecar goes on with when it starts."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = await config_for(authorization_server, tmp_path, vendor)
        sidecar = Process(tmp_path, config)
        code, _, errors = await log_in(sidecar.config_file)
        assert (code, errors) == (0, "")
        assert len(logins(tmp_path)) == 1
        async with sidecar, App.to(sidecar.egress_url) as app:
            assert (await app.ask("GET", "/crm/x")).status == 200
    seqs = [json.loads(line)["seq"] for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert seqs == list(range(len(seqs)))


async def test_a_ca_file_of_a_token_endpoint_that_cannot_be_read_refuses_the_config(
    authorization_server: AuthorizationServer, tmp_path: Path
) -> None:
    """With its path and a sentence, as for the vendor's own."""
    async with Vendor.answering(answer(b"ok")) as vendor:
        config = await config_for(authorization_server, tmp_path, vendor)
        config = config.replace('client_auth = "none"', 'client_auth = "none"\nca_file = "/none.pem"')
        async with Process(tmp_path, config, is_ready=False) as sidecar:
            assert await sidecar.wait() == 1
    assert sidecar.errors.startswith(b"services.crm.auth.ca_file: ")
    assert b"Traceback" not in sidecar.errors
