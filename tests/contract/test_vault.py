"""What is Vault's alone, against a real server: ways to log in, namespaces, the life of a login, deleted versions."""

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sidecar.auth.secrets.store import StoreFailed
from sidecar.auth.secrets.vault.config import AppRole, Jwt, Kubernetes, TokenFile, VaultAddress, VaultStoreConfig
from sidecar.auth.secrets.vault.store import VaultStore
from sidecar.core.tasks import Tasks
from tests.contract.bao import Bao
from tests.contract.connecting import Connecting
from tests.contract.stores import approle, chance
from tests.kit.clock import ManualClock
from tests.kit.exchange import Request
from tests.kit.vendor import WAIT_MAX, Vendor, answer

PATH = "production/stripe"
STEPS_MAX = 10  # Of the background, one after the other.
ACCOUNT = "system:serviceaccount:shop:pod"


class Opener:
    """Opens stores on the real server, and closes them in the end."""

    def __init__(self, bao: Bao, folder: Path, clock: ManualClock, stack: AsyncExitStack) -> None:
        self.bao = bao
        self.folder = folder
        self.clock = clock
        self.connecting = Connecting(clock)
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self._stack = stack

    def open(self, auth: Any, mount: str, **settings: Any) -> VaultStore:
        """Open a store."""
        config = VaultStoreConfig(address=VaultAddress.parse(self.bao.address), auth=auth, mount=mount, **settings)
        store = VaultStore(config, self.clock, chance, self.connecting.network, self._note)
        self._stack.push_async_callback(store.close)
        return store

    def file(self, content: str) -> str:
        """Write what proves who we are."""
        place = self.folder / secrets.token_hex(4)
        place.touch(mode=0o600)
        place.write_text(content + "\n")
        return str(place)

    def replace(self, file: str, content: str) -> None:
        """Write other content into it, as an agent does."""
        Path(file).write_text(content + "\n")

    def read(self, file: str) -> str:
        """Read what is in it."""
        return Path(file).read_text().strip()

    def count(self, msg: str) -> int:
        """How often the store had this to say."""
        return sum(notice[0] == msg for notice in self.notices)

    def _note(self, level: str, msg: str, **fields: Any) -> None:
        self.notices.append((msg, {"level": level, **fields}))


@pytest.fixture
async def opener(bao: Bao, tmp_path: Path, clock: ManualClock) -> AsyncIterator[Opener]:
    """A way to open stores."""
    async with AsyncExitStack() as stack:
        yield Opener(bao, tmp_path, clock, stack)


@pytest.fixture
def mount(bao: Bao) -> str:
    """An engine with versions, and one secret in it."""
    mount = bao.mount(2)
    bao.ask("POST", f"{mount}/data/{PATH}", {"data": {"api_key": "one"}})
    return mount


async def value(store: VaultStore, path: str = PATH) -> Any:
    """The object that the store gives."""
    return json.loads((await store.fetch(path)).reveal())


def signed(key: rsa.RSAPrivateKey, claims: dict[str, Any]) -> str:
    """A JWT (RFC 7519), signed with RS256."""
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256", "typ": "JWT"}, claims)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(key.sign(text, padding.PKCS1v15(), SHA256())).rstrip(b"=")
    return f"{text.decode()}.{signature.decode()}"


def living(since: float) -> dict[str, int]:
    """The times of a JWT that began `since` seconds from now, and lives for ten minutes."""
    now = int(time.time() + since)
    return {"iat": now - 60, "nbf": now - 60, "exp": now + 600}


def token_review(request: Request) -> bytes:
    """Answer as the API server of Kubernetes: the token is the pod's, for the audiences that were asked for."""
    asked = json.loads(request.body)
    status = {
        "authenticated": True,
        "user": {"username": ACCOUNT, "uid": "1", "groups": []},
        "audiences": asked["spec"].get("audiences", []),
    }
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
    return answer(json.dumps(review).encode(), status=201, headers=[(b"Content-Type", b"application/json")])


# Ways to log in.


async def test_a_pod_logs_in_with_its_service_account(opener: Opener, bao: Bao, mount: str) -> None:
    """The token goes to Vault, and Vault asks Kubernetes whose it is."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims: dict[str, Any] = {"iss": "kubernetes/serviceaccount", "sub": ACCOUNT, "aud": ["vault"], **living(0)}
    claims["kubernetes.io"] = {"namespace": "shop", "serviceaccount": {"name": "pod", "uid": "1"}}
    token = signed(key, claims)
    async with Vendor.answering(token_review) as kubernetes:
        method = bao.auth_method(
            "kubernetes",
            {
                "kubernetes_host": kubernetes.url,
                "kubernetes_ca_cert": trustme.CA().cert_pem.bytes().decode(),
                "token_reviewer_jwt": token,
                "disable_iss_validation": True,
            },
        )
        role = {
            "bound_service_account_names": ["pod"],
            "bound_service_account_namespaces": ["shop"],
            "token_policies": [bao.policy_for(mount)],
            "audience": "vault",
        }
        bao.ask("POST", f"auth/{method}/role/checkout", role)
        store = opener.open(Kubernetes(role="checkout", mount=method, token_file=opener.file(token)), mount)
        assert await value(store) == {"api_key": "one"}
        assert json.loads(kubernetes.requests[0].body)["spec"]["token"] == token
        await store.close()


async def test_a_pod_logs_in_with_a_jwt(opener: Opener, bao: Bao, mount: str) -> None:
    """And with the one that is in the file at that time: short-lived ones are replaced there."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    method = bao.auth_method("jwt", {"jwt_validation_pubkeys": [public]})
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": ["vault"],
        "bound_subject": "checkout",
        "token_policies": [bao.policy_for(mount)],
    }
    bao.ask("POST", f"auth/{method}/role/checkout", role)
    long_ago = signed(key, {"sub": "checkout", "aud": "vault", **living(-3600)})
    file = opener.file(long_ago)
    store = opener.open(Jwt(role="checkout", mount=method, token_file=file), mount)
    with pytest.raises(StoreFailed, match=r"the jwt login at http.* failed: .*expired") as refused:
        await store.fetch(PATH)
    assert long_ago not in str(refused.value)
    opener.replace(file, signed(key, {"sub": "checkout", "aud": "vault", **living(0)}))
    await opener.clock.advance(1)
    assert await value(store) == {"api_key": "one"}


async def test_a_wrong_secret_id_is_told_once_and_left_alone_for_a_while(opener: Opener, bao: Bao, mount: str) -> None:
    """Vault locks a role out for a quarter of an hour after five quick failures."""
    right = approle(bao, bao.policy_for(mount), opener.folder)
    wrong = secrets.token_hex(16)
    file = opener.file(wrong)
    store = opener.open(AppRole(role_id=right.role_id, secret_id_file=file, mount=right.mount), mount)
    for _ in range(20):
        with pytest.raises(StoreFailed, match=r"the approle login at .* failed: .*invalid.*\(400\)") as refused:
            await store.fetch(PATH)
        assert wrong not in str(refused.value)
    assert opener.count("store_login_failed") == 1
    opener.replace(file, opener.read(right.secret_id_file))
    await opener.clock.advance(1)
    assert await value(store) == {"api_key": "one"}


async def test_a_token_from_a_file_is_read_again_when_the_server_forgot_it(
    opener: Opener, bao: Bao, mount: str
) -> None:
    """An agent replaced it; nobody restarts the pod."""
    policy = bao.policy_for(mount)
    first, second = bao.token(policy), bao.token(policy)
    file = opener.file(first)
    store = opener.open(TokenFile(token_file=file), mount)
    assert await value(store) == {"api_key": "one"}
    opener.replace(file, second)
    bao.ask("POST", "auth/token/revoke", {"token": first})
    assert await value(store) == {"api_key": "one"}


async def test_a_token_that_the_server_does_not_know_is_told_with_its_file(
    opener: Opener, bao: Bao, mount: str
) -> None:
    """By its file, not by itself."""
    wrong = f"s.{secrets.token_hex(12)}"
    file = opener.file(wrong)
    store = opener.open(TokenFile(token_file=file), mount)
    with pytest.raises(StoreFailed, match=f"does not know the token in {file}") as refused:
        await store.fetch(PATH)
    assert wrong not in str(refused.value)


async def test_a_login_without_its_file_names_the_key_and_the_file(opener: Opener, mount: str) -> None:
    """The volume is not mounted, as a rule."""
    store = opener.open(TokenFile(token_file="/nowhere/token"), mount)
    with pytest.raises(StoreFailed, match=r"auth\.token_file: /nowhere/token cannot be read: No such file"):
        await store.fetch(PATH)


async def test_an_unused_store_neither_connects_nor_logs_in(opener: Opener, mount: str) -> None:
    """It costs nothing until something is read."""
    opener.open(TokenFile(token_file="/nowhere/token"), mount)
    assert opener.connecting.opened == 0


async def test_many_readings_at_once_share_one_login(opener: Opener, bao: Bao, mount: str) -> None:
    """At the start of a pod all secrets are read together."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    tasks = Tasks()
    readings = [tasks.spawn(store.fetch(PATH), "read") for _ in range(20)]
    for reading in readings:
        await reading
    assert opener.count("store_login") == 1
    assert opener.connecting.opened == 1


# The life of a login.


async def test_a_login_is_renewed_ahead_in_the_background(opener: Opener, bao: Bao, mount: str) -> None:
    """At 0.6 to 0.8 of its hour; the clock stands still, so no reading was needed."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    await store.fetch(PATH)
    await opener.clock.advance(0.69 * 3600)
    assert opener.count("store_login_renewed") == 0
    await opener.clock.advance(0.02 * 3600)
    await until_told(opener, store, "store_login_renewed")
    assert opener.count("store_login") == 1


async def test_a_login_that_may_not_be_renewed_is_made_anew(opener: Opener, bao: Bao, mount: str) -> None:
    """Somebody revoked it, and the renewal hears of that before any reading does."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    await store.fetch(PATH)
    revoke(bao, store)
    await opener.clock.advance(0.71 * 3600)
    await until_told(opener, store, "store_login_ends")
    await until_told(opener, store, "store_login", 2)
    assert await value(store) == {"api_key": "one"}


async def test_a_login_that_cannot_be_renewed_at_all_is_made_anew_ahead(opener: Opener, bao: Bao, mount: str) -> None:
    """Batch tokens are of this kind."""
    auth = approle(bao, bao.policy_for(mount), opener.folder, token_type="batch")
    store = opener.open(auth, mount)
    await store.fetch(PATH)
    await opener.clock.advance(0.71 * 3600)
    await until_told(opener, store, "store_login", 2)
    assert opener.count("store_login_renewed") == 0


async def test_a_login_that_was_revoked_is_made_anew_in_the_middle_of_a_reading(
    opener: Opener, bao: Bao, mount: str
) -> None:
    """The reading does not fail."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    await store.fetch(PATH)
    revoke(bao, store)
    assert await value(store) == {"api_key": "one"}
    assert opener.count("store_login") == 2


async def test_what_the_policy_forbids_causes_no_new_login(opener: Opener, bao: Bao, mount: str) -> None:
    """403 comes for both; the server is asked which it is."""
    other = bao.mount(2)
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), other, kv_version=2)
    for _ in range(3):
        with pytest.raises(StoreFailed, match=rf"reading {other}/{PATH} .*permission denied.*policy"):
            await store.fetch(PATH)
    assert opener.count("store_login") == 1


async def test_a_closed_store_has_logged_out(opener: Opener, bao: Bao, mount: str) -> None:
    """No token lives on behind a reload; one from a file is not ours to revoke."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    await store.fetch(PATH)
    token = held(store)
    theirs = bao.token(bao.policy_for(mount))
    by_file = opener.open(TokenFile(token_file=opener.file(theirs)), mount)
    await by_file.fetch(PATH)
    await store.close()
    await by_file.close()
    with pytest.raises(HTTPError):
        bao.ask("GET", "auth/token/lookup-self", token=token)
    assert bao.ask("GET", "auth/token/lookup-self", token=theirs)
    with pytest.raises(StoreFailed, match="closed"):
        await store.fetch(PATH)


# Namespaces, mounts and versions.


async def test_a_namespace_is_a_vault_of_its_own(opener: Opener, bao: Bao) -> None:
    """Login, engine and secrets are all inside; without the namespace none of them is there."""
    namespace = f"team-{secrets.token_hex(4)}"
    bao.ask("POST", f"sys/namespaces/{namespace}")
    mount = bao.mount(2, namespace)
    bao.ask("POST", f"{mount}/data/{PATH}", {"data": {"api_key": "theirs"}}, namespace=namespace)
    auth = approle(bao, bao.policy_for(mount, namespace), opener.folder, namespace)
    assert await value(opener.open(auth, mount, namespace=namespace)) == {"api_key": "theirs"}
    with pytest.raises(StoreFailed, match="the approle login"):
        await opener.open(auth, mount).fetch(PATH)
    with pytest.raises(StoreFailed, match=f"missing at .* is not there in the namespace {namespace}"):
        await opener.open(auth, mount, namespace=namespace).fetch("missing")


@pytest.mark.parametrize("version", [1, 2])
async def test_a_configured_version_is_not_asked_for(version: int, opener: Opener, bao: Bao) -> None:
    """Both ways lead to the same secret."""
    mount = bao.mount(version)
    place = f"{mount}/data/{PATH}" if version == 2 else f"{mount}/{PATH}"
    bao.ask("POST", place, {"data": {"api_key": "one"}} if version == 2 else {"api_key": "one"})
    auth = approle(bao, bao.policy_for(mount), opener.folder)
    assert await value(opener.open(auth, mount)) == {"api_key": "one"}
    assert await value(opener.open(auth, mount, kv_version=version)) == {"api_key": "one"}


async def test_a_mount_that_is_not_there_is_told(opener: Opener, bao: Bao, mount: str) -> None:
    """Vault does not say whether it is missing or hidden, so the sentence names both."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), "nowhere")
    with pytest.raises(StoreFailed, match=r"mounted at nowhere .*\(403\).*is there such a mount.*kv_version"):
        await store.fetch(PATH)


async def test_an_engine_of_another_type_is_told(opener: Opener, bao: Bao) -> None:
    """Nothing lies there to be read."""
    transit = f"transit-{secrets.token_hex(4)}"
    bao.ask("POST", f"sys/mounts/{transit}", {"type": "transit"})
    store = opener.open(approle(bao, bao.policy_for(transit), opener.folder), transit)
    with pytest.raises(StoreFailed, match=f"{transit} at .* is an engine of the type transit"):
        await store.fetch(PATH)


async def test_a_path_with_data_in_front_is_told(opener: Opener, bao: Bao, mount: str) -> None:
    """Vault's own pages show it so."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    with pytest.raises(StoreFailed, match=r'is not there \(404\); write it without "data/" in front'):
        await store.fetch(f"data/{PATH}")


async def test_a_wrong_kv_version_is_told(opener: Opener, bao: Bao, mount: str) -> None:
    """The server notices it for version 2 alone."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount, kv_version=1)
    with pytest.raises(StoreFailed, match=r"is not there \(404\); the engine is of version 2"):
        await store.fetch(PATH)


async def test_a_deleted_version_has_a_sentence_of_its_own(opener: Opener, bao: Bao, mount: str) -> None:
    """It can be undeleted; a destroyed one cannot."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    version = (await store.fetch(PATH)).version
    bao.ask("DELETE", f"{mount}/data/{PATH}")
    assert await store.has_changed(PATH, version)
    with pytest.raises(StoreFailed, match=rf"version 1 of {mount}/{PATH} at .* was deleted at 20.*undelete"):
        await store.fetch(PATH)
    bao.ask("POST", f"{mount}/undelete/{PATH}", {"versions": [1]})
    assert not await store.has_changed(PATH, version)
    bao.ask("PUT", f"{mount}/destroy/{PATH}", {"versions": [1]})
    assert await store.has_changed(PATH, version)
    with pytest.raises(StoreFailed, match=r"version 1 of .* was destroyed"):
        await store.fetch(PATH)


async def test_a_version_with_an_end_to_come_is_no_change(opener: Opener, bao: Bao, mount: str) -> None:
    """`delete_version_after` sets a time of deletion that is in the future."""
    bao.ask("POST", f"{mount}/metadata/{PATH}", {"delete_version_after": "24h"})
    bao.ask("POST", f"{mount}/data/{PATH}", {"data": {"api_key": "two"}})
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    secret = await store.fetch(PATH)
    assert json.loads(secret.reveal()) == {"api_key": "two"}
    assert not await store.has_changed(PATH, secret.version)


async def test_a_secret_that_was_made_anew_has_changed_though_it_counts_from_one(
    opener: Opener, bao: Bao, mount: str
) -> None:
    """`metadata delete` takes the numbers away, too."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    version = (await store.fetch(PATH)).version
    bao.ask("DELETE", f"{mount}/metadata/{PATH}")
    bao.ask("POST", f"{mount}/data/{PATH}", {"data": {"api_key": "two"}})
    assert await store.has_changed(PATH, version)


async def test_a_policy_for_data_alone_is_enough(opener: Opener, bao: Bao, mount: str) -> None:
    """Then the value is read to see whether it changed."""
    policy = bao.policy(f'path "{mount}/data/*" {{ capabilities = ["read"] }}')
    store = opener.open(approle(bao, policy, opener.folder), mount)
    version = (await store.fetch(PATH)).version
    assert not await store.has_changed(PATH, version)
    bao.ask("POST", f"{mount}/data/{PATH}", {"data": {"api_key": "two"}})
    assert await store.has_changed(PATH, version)
    assert opener.count("store_login") == 1


async def test_a_previous_version_that_was_deleted_is_none(opener: Opener, bao: Bao, mount: str) -> None:
    """There is nothing to try with the vendor."""
    bao.ask("POST", f"{mount}/data/{PATH}", {"data": {"api_key": "two"}})
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    previous = await store.fetch_previous(PATH)
    assert previous is not None
    assert json.loads(previous.reveal()) == {"api_key": "one"}
    bao.ask("POST", f"{mount}/delete/{PATH}", {"versions": [1]})
    assert await store.fetch_previous(PATH) is None


async def test_a_policy_that_may_only_read_is_told_at_the_write(opener: Opener, bao: Bao, mount: str) -> None:
    """Rotation needs more than reading does."""
    policy = bao.policy(f'path "{mount}/data/*" {{ capabilities = ["read"] }}')
    store = opener.open(approle(bao, policy, opener.folder), mount)
    written = secrets.token_hex(16)
    version = (await store.fetch(PATH)).version
    with pytest.raises(StoreFailed, match=rf"writing {mount}/{PATH} at .*permission denied") as refused:
        await store.put(PATH, "api_key", written.encode(), version)
    assert written not in str(refused.value)


@pytest.mark.parametrize("content", [b"text", b"[1]", b'"text"', b"\xff"])
async def test_a_whole_that_is_no_object_is_refused(content: bytes, opener: Opener, bao: Bao, mount: str) -> None:
    """Vault holds fields; a text of its own needs the name of one."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    version = (await store.fetch(PATH)).version
    with pytest.raises(StoreFailed, match=r"is (not JSON|no JSON object), so it has no fields"):
        await store.put(PATH, None, content, version)
    with pytest.raises(StoreFailed, match="not UTF-8"):
        await store.put(PATH, "api_key", b"\xff", version)


# The server.


async def test_a_sealed_server_is_told_and_heals(opener: Opener, bao: Bao, mount: str) -> None:
    """Somebody has to unseal it, and no restart of the pod helps."""
    store = opener.open(approle(bao, bao.policy_for(mount), opener.folder), mount)
    version = (await store.fetch(PATH)).version
    bao.ask("PUT", "sys/seal")
    try:
        for ask in (store.fetch(PATH), store.has_changed(PATH, version)):
            with pytest.raises(StoreFailed, match=r"it is sealed \(503\)"):
                await ask
    finally:
        bao.unseal()
    assert await value(store) == {"api_key": "one"}


async def test_nothing_of_a_login_is_in_what_the_store_says(opener: Opener, bao: Bao, mount: str) -> None:
    """Neither the token, nor what it was got for, nor a value."""
    auth = approle(bao, bao.policy_for(mount), opener.folder)
    store = opener.open(auth, mount)
    await store.fetch(PATH)
    hidden = [held(store), opener.read(auth.secret_id_file)]
    revoke(bao, store)
    await store.fetch(PATH)
    hidden.append(held(store))
    said = json.dumps(opener.notices, default=repr) + repr(vars(store)) + repr(vars(store._login))
    assert [value for value in hidden if value in said] == []


def held(store: VaultStore) -> str:
    """The token of a store's login."""
    token = store._login._token
    assert token is not None
    return token.reveal().decode()


def revoke(bao: Bao, store: VaultStore) -> None:
    """End a store's login, as an operator would."""
    bao.ask("POST", "auth/token/revoke", {"token": held(store)})


async def until_told(opener: Opener, store: VaultStore, msg: str, count: int = 1) -> None:
    """Wait until the store had this to say; a real server answers in its own time."""
    for _ in range(STEPS_MAX):
        await store._login._tasks.wait(WAIT_MAX)
        if opener.count(msg) >= count:
            return
        await opener.clock.advance(0)
    raise AssertionError(f"{msg} was not told; {opener.notices}")
