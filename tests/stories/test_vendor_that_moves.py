"""The token's answer names the host of the API (Salesforce's `instance_url` and the like)."""

import json
import secrets
from pathlib import Path

from tests.kit.exchange import Request
from tests.kit.pod import Pod
from tests.kit.vendor import Vendor, answer

AUTH = """
[services.vendor.auth]
kind = "oauth2_client_credentials"
token_url = "{url}/token"
allow_private = true
client_id = "checkout"
client_secret = "files:crm"
base_url_from = "instance_url"
"""


async def test_calls_go_where_the_token_says(tmp_path: Path) -> None:
    """The base URL's path stays; addresses in answers lead back here; with another token the vendor may move again."""
    async with (
        Vendor.answering(answer(b"nobody asks here")) as login,
        Vendor.answering(answer(b"here"), answer(status=401)) as first,
        Vendor.echoing() as second,
    ):
        lives = iter([first.url, second.url])

        def token(_: Request) -> bytes:
            document = {
                "access_token": secrets.token_hex(16), "token_type": "Bearer", "instance_url": next(lives, second.url)
            }  # fmt: skip
            return answer(json.dumps(document).encode(), headers=[(b"Content-Type", b"application/json")])

        async with Vendor.answering(token) as endpoint:
            pod = Pod(tmp_path, login, base_path="/v2", service=AUTH.format(url=endpoint.url))
            pod.write_secret("crm", secrets.token_hex(16))
            async with pod, pod.app() as app:
                assert (await app.ask("GET", "/vendor/things")).status == 200
                assert [request.target for request in first.requests] == [b"/v2/things"]
                assert pod.snapshot()["services"]["vendor"]["base_url"] == f"{first.url}/v2"
                assert (await app.ask("GET", "/vendor/things")).status == 200
                assert [request.target for request in second.requests] == [b"/v2/things"]
        assert not login.requests
        assert [line["base_url"] for line in await pod.log_lines() if line["msg"] == "base_url_moved"] == [
            f"{first.url}/v2", f"{second.url}/v2",
        ]  # fmt: skip


async def test_an_answer_that_names_no_address_changes_nothing(tmp_path: Path) -> None:
    """The line tells it; the calls go where the config says."""
    document = {"access_token": secrets.token_hex(16), "token_type": "Bearer", "instance_url": "not a URL"}
    body = json.dumps(document).encode()
    async with (
        Vendor.echoing() as vendor,
        Vendor.answering(answer(body, headers=[(b"Content-Type", b"application/json")])) as endpoint,
    ):
        pod = Pod(tmp_path, vendor, service=AUTH.format(url=endpoint.url))
        pod.write_secret("crm", secrets.token_hex(16))
        async with pod, pod.app() as app:
            assert (await app.ask("GET", "/vendor/things")).status == 200
            refused = [line for line in await pod.log_lines() if line["msg"] == "base_url_refused"]
        assert len(refused) == 1
        assert len(vendor.requests) == 1
