import asyncio
import json
import secrets
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

from sidecar.auth.secrets.gcp.config import GcpStoreConfig
from sidecar.auth.secrets.gcp.store import GcpStore
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.units import Duration
from tests.auth.secrets import gcp
from tests.auth.secrets.gcp import Google, refusal
from tests.auth.secrets.scripted import Scripted
from tests.contract.connecting import Connecting
from tests.kit.clock import ManualClock

Make = Callable[..., GcpStore]


@pytest.fixture(scope="session")
def drongo() -> Iterator[str]:
    """A server with versions."""
    yield from gcp.drongo()


@pytest.fixture
def google() -> Google:
    """A strict one, with one version."""
    made = Google()
    made.versions = [("ENABLED", b'{"api_key": "first", "other": 1.5}')]
    return made


@pytest.fixture
async def server(google: Google, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scripted]:
    """Where both the strict one and its metadata server listen."""
    async with Scripted(google) as listening:
        monkeypatch.setenv("GCE_METADATA_HOST", listening.host)
        yield listening


@pytest.fixture
async def make(server: Scripted, clock: ManualClock) -> AsyncIterator[Make]:
    """Stores at the strict one or another URL, all closed in the end."""
    made: list[GcpStore] = []

    def one(url: str = server.url, **more: Any) -> GcpStore:
        made.append(GcpStore(gcp.config(url, **more), clock, Connecting(clock).network))
        return made[-1]

    yield one
    for store in made:
        await store.close()


# What is stored.


async def test_the_latest_version_is_read(google: Google, make: Make) -> None:
    """Its version is the last part of the name that Google gives."""
    google.versions.append(("ENABLED", b"second\n"))
    read = await make().fetch("stripe")
    assert (read.reveal(), read.version) == (b"second\n", "2")
    assert google.calls == [f"GET /v1/projects/{gcp.PROJECT}/secrets/stripe/versions/latest:access"]


async def test_a_secret_of_another_project_is_named_in_full(server: Scripted, make: Make, google: Google) -> None:
    """As Google writes it; also one that is kept in a region."""
    name = "projects/other-project/locations/europe-west3/secrets/stripe"
    google.says = {"/versions/latest": web.json_response({"name": f"{name}/versions/7"})}
    assert not await make().has_changed(name, "7")
    assert server.asked[-1].path == f"/v1/{name}/versions/latest"


@pytest.mark.parametrize(
    "path", ["production/stripe", "../stripe", "stripe/versions/1", "stripe:access", "projects/a", "a?b"]
)
async def test_what_is_no_name_of_google_s_is_refused(path: str, make: Make, google: Google) -> None:
    """Nothing is asked; the sentence says how such names look."""
    with pytest.raises(StoreFailed, match="letters, digits, - and _"):
        await make().fetch(path)
    assert google.calls == []


async def test_a_change_is_seen_by_the_name_alone(google: Google, make: Make) -> None:
    """The value is not moved for it."""
    store = make()
    assert not await store.has_changed("stripe", "1")
    google.versions.append(("ENABLED", b"second"))
    assert await store.has_changed("stripe", "1")
    assert all(call.endswith("/versions/latest") for call in google.calls)


async def test_a_latest_version_that_is_disabled_is_told(google: Google, make: Make) -> None:
    """Google does not fall back, so what was read before goes on; the sentence says what to do."""
    google.versions.append(("DISABLED", b"second"))
    with pytest.raises(StoreFailed, match=r"disabled or destroyed.*enable it, or add a version"):
        await make().fetch("stripe")


async def test_a_value_that_was_damaged_on_the_way_is_refused(google: Google, make: Make) -> None:
    """The checksum is Google's; a half secret would be refused by the vendor, and nobody would see why."""
    google.checksum_off = 1
    with pytest.raises(StoreFailed, match="does not fit its checksum"):
        await make().fetch("stripe")


async def test_the_version_before_is_the_next_one_that_can_be_read(google: Google, make: Make) -> None:
    """Those that are destroyed are passed over."""
    assert await make().fetch_previous("stripe") is None
    google.versions += [("DESTROYED", b""), ("DISABLED", b"x"), ("ENABLED", b"latest")]
    previous = await make().fetch_previous("stripe")
    assert previous is not None
    assert previous.version == "1"


# Writing.


async def test_a_put_keeps_the_other_fields_and_guards_the_value(google: Google, make: Make) -> None:
    """The strict one compares the checksum that is sent."""
    assert await make().put("stripe", "api_key", b"new", "1") == "2"
    assert json.loads(google.versions[1][1]) == {"api_key": "new", "other": 1.5}


async def test_a_put_after_an_older_version_is_a_conflict(google: Google, make: Make) -> None:
    """Nothing is written."""
    google.versions.append(("ENABLED", b"{}"))
    with pytest.raises(StoreConflict, match="another version than 1 is the latest"):
        await make().put("stripe", "api_key", b"new", "1")
    assert len(google.versions) == 2


async def test_a_write_between_comparing_and_writing_is_told(google: Google, make: Make, server: Scripted) -> None:
    """Google has no check-and-set; the number that comes back tells that another was there."""

    def says(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        if request.method == "POST":
            google.versions.append(("ENABLED", b"theirs"))
        return google(request, body)

    server.says = says
    with pytest.raises(StoreConflict, match="version 3 is ours and the latest, theirs are between it and 1"):
        await make().put("stripe", "api_key", b"new", "1")


async def test_the_life_of_a_secret_on_drongo(drongo: str, make: Make) -> None:
    """Made, read, rotated, seen, read as it was before; on a server of another's make."""
    name = f"test-{secrets.token_hex(8)}"
    store = make(drongo)
    with pytest.raises(StoreFailed, match="no such secret"):
        await store.fetch(name)
    first = await store.put(name, "token", b"first", "")
    read = await store.fetch(name)
    assert (json.loads(read.reveal()), read.version) == ({"token": "first"}, first)
    assert not await store.has_changed(name, first)
    second = await store.put(name, "token", b"second", first)
    assert await store.has_changed(name, first)
    assert json.loads((await store.fetch(name)).reveal()) == {"token": "second"}
    previous = await store.fetch_previous(name)
    assert previous is not None
    assert json.loads(previous.reveal()) == {"token": "first"}
    with pytest.raises(StoreConflict):
        await store.put(name, "token", b"third", first)
    await asyncio.to_thread(_destroy, f"{drongo}/v1/projects/{gcp.PROJECT}/secrets/{name}/versions/{first}:destroy")
    assert await store.fetch_previous(name) is None
    assert await store.has_changed(name, second) is False


def _destroy(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=10).close()


# Who we are.


async def test_one_access_token_serves_until_shortly_before_its_end(
    google: Google, make: Make, clock: ManualClock
) -> None:
    """Renewed 225 s before, when the metadata server has another one."""
    store = make()
    await store.fetch("stripe")
    await clock.advance(3599 - 226)
    await store.fetch("stripe")
    assert len(google.tokens) == 1
    await clock.advance(2)
    await store.fetch("stripe")
    assert len(google.tokens) == 2


async def test_many_questions_at_once_ask_for_one_token(google: Google, make: Make) -> None:
    """The first one asks, the others wait for it."""
    store = make()
    tasks = [asyncio.create_task(store.fetch("stripe")) for _ in range(20)]
    assert {(await task).version for task in tasks} == {"1"}
    assert len(google.tokens) == 1


async def test_a_short_token_is_not_renewed_each_time(google: Google, make: Make, clock: ManualClock) -> None:
    """A margin longer than the life would ask the metadata server at each question."""
    google.life = 100
    store = make()
    await store.fetch("stripe")
    await clock.advance(74)
    await store.fetch("stripe")
    assert len(google.tokens) == 1


async def test_a_token_is_used_to_its_end_while_there_is_no_other(
    google: Google, make: Make, clock: ManualClock
) -> None:
    """The metadata server is away for a while; the token is good until it ends."""
    store = make()
    await store.fetch("stripe")
    google.is_down = True
    await clock.advance(3500)
    assert (await store.fetch("stripe")).version == "1"
    await clock.advance(100)
    with pytest.raises(StoreFailed, match=r"asking the metadata server .* it answered 503"):
        await store.fetch("stripe")


async def test_a_token_that_google_refuses_is_replaced_once(google: Google, make: Make) -> None:
    """The account's key was changed; a second refusal is told."""
    store = make()
    await store.fetch("stripe")
    google.tokens.append("another is good now")
    assert (await store.fetch("stripe")).version == "1"
    google.says = {":access": refusal(401, "UNAUTHENTICATED")}
    calls = len(google.calls)
    with pytest.raises(StoreFailed, match="does not accept our access token"):
        await store.fetch("stripe")
    assert len(google.calls) == calls + 2


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (web.json_response({"access_token": "canary", "expires_in": 1}), "is not Google's metadata server"),
        (web.Response(status=404), "it answered 404; is a Google service account bound"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), "redirects are not followed"),
        (web.Response(body=b"canary", headers={"Metadata-Flavor": "Google"}), "not an access token"),
        (
            web.json_response(
                {"access_token": "canary\r\nX: y", "expires_in": 1}, headers={"Metadata-Flavor": "Google"}
            ),
            "not an access token",
        ),
    ],
)
async def test_what_is_no_metadata_server_is_told(
    answer: web.Response, sentence: str, server: Scripted, make: Make
) -> None:
    """A captive portal, a proxy, a node without an account; what came stands nowhere."""
    server.says = lambda _, __: answer
    with pytest.raises(StoreFailed, match=sentence) as failure:
        await make().fetch("stripe")
    assert "canary" not in repr(failure.value)
    assert failure.value.__context__ is None or failure.value.__suppress_context__


@pytest.fixture(scope="session")
def key() -> RSAKey:
    """A service account's key, made for this session."""
    return RSAKey.generate_key(2048)


def write_key(file: Path, key: RSAKey, email: str, **more: object) -> None:
    """Write the file that Google's console hands out."""
    file.touch(mode=0o600)
    pem = key.as_pem(private=True).decode()
    account = {"type": "service_account", "client_email": email, "private_key": pem, "private_key_id": "key-1"}
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({**account, **more}))
    fresh.replace(file)


async def test_a_key_file_signs_a_token_that_google_takes_as_it_is(
    tmp_path: Path, key: RSAKey, server: Scripted, make: Make, clock: ManualClock
) -> None:
    """AIP-4111: issuer and subject are the account, the audience is the API; signed anew when the file changes."""
    file = tmp_path / "key.json"
    write_key(file, key, "first@checkout-test.iam.gserviceaccount.com")
    said = {"name": "projects/1/secrets/stripe/versions/1"}
    server.says = lambda _, __: web.json_response(said)
    store = make(credentials_file=str(file))
    for _ in range(2):
        await store.has_changed("stripe", "1")
    first, second = (asked.headers["Authorization"].removeprefix("Bearer ") for asked in server.asked)
    assert first == second
    token = jwt.decode(first, key)
    assert token.header == {"alg": "RS256", "kid": "key-1", "typ": "JWT"}
    account = "first@checkout-test.iam.gserviceaccount.com"
    now = int(clock.wall())
    assert token.claims == {
        "iss": account, "sub": account, "aud": "https://secretmanager.googleapis.com/", "iat": now, "exp": now + 3600,
    }  # fmt: skip
    write_key(file, key, "second@checkout-test.iam.gserviceaccount.com", universe_domain="example.goog")
    await store.has_changed("stripe", "1")
    claims = jwt.decode(server.asked[-1].headers["Authorization"].removeprefix("Bearer "), key).claims
    assert claims["iss"] == "second@checkout-test.iam.gserviceaccount.com"
    assert claims["aud"] == "https://secretmanager.example.goog/"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read: No such file"),
        ("canary", "is not the JSON key of a service account"),
        ('{"type": "authorized_user", "refresh_token": "canary"}', "is not the JSON key of a service account"),
        (
            '{"type": "service_account", "client_email": "a@b", "private_key": "canary"}',
            "its private_key is not an RSA key",
        ),
    ],
)
async def test_what_is_no_key_file_is_told(content: str | None, sentence: str, tmp_path: Path, make: Make) -> None:
    """By its name, without a byte of it."""
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StoreFailed, match=sentence) as failure:
        await make(credentials_file=str(file)).fetch("stripe")
    assert "canary" not in repr(failure.value)
    assert failure.value.__cause__ is None


# What goes wrong.


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (refusal(403, "PERMISSION_DENIED", message="canary"), r"secretmanager\.versions\.access is not allowed"),
        (refusal(403, "PERMISSION_DENIED", "SERVICE_DISABLED"), "the Secret Manager API is not enabled"),
        (refusal(404, "NOT_FOUND"), "there is no such secret, or it has no version"),
        (refusal(429, "RESOURCE_EXHAUSTED"), "quota is used up"),
        (refusal(503, "UNAVAILABLE"), r"Google answered 503 \(UNAVAILABLE\)"),
        (web.Response(status=502, body=b"<b>canary</b>"), r"Google answered 502 \(no status word\)"),
        (web.Response(status=307, headers={"Location": "http://127.0.0.1:1/canary"}), "redirects are not followed"),
        (web.Response(body=b'{"name": "canary"'), "not one of Google's"),
        (web.json_response({"name": "canary", "payload": {"data": "eA=="}}), "not one of Google's"),
        (web.json_response({"name": "projects/1/secrets/s/versions/1", "payload": {"data": "canary!"}}), "not one of"),
        (web.json_response({"name": "projects/1/secrets/s/versions/1", "payload": {}}), "the value is empty"),
        (web.Response(body=b"x" * 300_000), "the answer is over 262144 bytes"),
    ],
)
async def test_a_refusal_is_a_sentence_of_ours(answer: web.Response, sentence: str, google: Google, make: Make) -> None:
    """With the path and what to do; Google's own words stay out."""
    google.says = {":access": answer}
    with pytest.raises(StoreFailed, match=sentence) as failure:
        await make().fetch("stripe")
    assert str(failure.value).startswith("stripe in Google Secret Manager: ")
    assert "canary" not in repr(failure.value)
    assert failure.value.__cause__ is None


async def test_an_account_that_may_not_look_reads_each_time(google: Google, make: Make) -> None:
    """The role secretAccessor reads versions and may not get them; it is no outage, and asked for once only."""
    google.says = {"/versions/latest": refusal(403, "PERMISSION_DENIED")}
    store = make()
    assert await store.has_changed("stripe", "1")
    assert await store.has_changed("stripe", "1")
    assert len(google.calls) == 1


async def test_a_server_that_is_silent_is_left_after_the_timeout(
    server: Scripted, make: Make, clock: ManualClock
) -> None:
    """The access token included."""
    store = make(timeout=Duration(5))
    server.says = lambda _, __: server.silence()
    task = asyncio.create_task(store.fetch("stripe"))
    await server.came.wait()
    await clock.advance(5)
    with pytest.raises(StoreFailed, match="no answer within timeout = 5s"):
        await task


async def test_a_server_that_is_away_is_told(make: Make) -> None:
    """And a closed store opens nothing any more."""
    store = make("http://127.0.0.1:9")
    with pytest.raises(StoreFailed, match="connecting failed"):
        await store.fetch("stripe")
    await store.close()
    with pytest.raises(StoreFailed, match="the store is closed"):
        await store.fetch("stripe")


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"project": "Checkout!"}, "project"),
        ({"endpoint": "http://secrets.example"}, "endpoint"),
        ({"endpoint": "https://user:word@secrets.example"}, "endpoint"),
        ({"endpoint": "https://secrets.example/v1"}, "endpoint"),
        ({"endpoint": "https://secrets.example:port"}, "endpoint"),
        ({"ttl": Duration(0)}, "ttl"),
        ({"timeout": Duration(0)}, "timeout"),
        ({"stale_max": Duration(1)}, "stale_max"),
    ],
)
def test_what_is_wrong_in_the_section_is_told(settings: dict[str, Any], field: str) -> None:
    """At load, with the field's name."""
    assert [name for name, _ in GcpStoreConfig(**{"project": "checkout-test", **settings}).problems()] == [field]
    assert GcpStoreConfig(project="123456789012").problems() == []
    assert GcpStoreConfig(project="example.com:checkout").problems() == []
    assert GcpStoreConfig(project="checkout-test", endpoint="http://psc.internal", allow_private=True).problems() == []
