"""GCP store: secrets in Google Cloud Secret Manager; a version is Google's own number, the current one is `latest`.

Writing compares first, and Google has no write that does both: of two pods that write after the same version both add
one, and the later stands. Numbers have no gaps, so the later one sees that its own is not the next and says so
(StoreConflict), though its value is the latest then; the other stays readable by its number. For a refresh token that
is harmless as a rule: the provider accepted one of the two renewals only, and who holds the other hears `invalid_grant`
and reads again.
"""

import base64
import re

import msgspec

from sidecar.auth.network import Network
from sidecar.auth.secrets.document import with_field
from sidecar.auth.secrets.gcp import answers
from sidecar.auth.secrets.gcp.config import GcpStoreConfig
from sidecar.auth.secrets.gcp.crc32c import crc32c
from sidecar.auth.secrets.gcp.http import Answer, Http
from sidecar.auth.secrets.gcp.login import KeyFile, Login, Metadata
from sidecar.auth.secrets.store import StoreConflict, StoreFailed
from sidecar.core.clock import Clock
from sidecar.core.secret import Secret

# How many versions back are tried for the one before that can be read. None of them: there is none.
PREVIOUS_MAX = 10

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_RESOURCE = re.compile(r"projects/[a-z0-9.:-]{1,100}(?:/locations/[a-z0-9-]{1,60})?/secrets/[A-Za-z0-9_-]{1,255}")


class GcpStore:
    """One project, asked as one service account."""

    def __init__(self, config: GcpStoreConfig, clock: Clock, network: Network) -> None:
        self.poll_s = float(config.ttl)
        self.stale_max = float(config.stale_max)
        self._config = config
        self._clock = clock
        self._endpoint = config.endpoint.rstrip("/")
        self._http = Http(
            lambda: network.connect(allow_private=config.allow_private, is_once=False),
            lambda: network.context(config.ca_file),
        )
        file = config.credentials_file
        self._login = Login(Metadata() if file is None else KeyFile(file, clock), clock)
        self._may_get = True

    async def fetch(self, path: str) -> Secret:
        """Read the latest version. Raises StoreFailed."""
        return await self._access(path, "latest")

    async def fetch_previous(self, path: str) -> Secret | None:
        """Read the version before that can be read: for a vendor that does not know the latest yet.

        By number and one by one, since a role that may read a version need not be one that may list them.
        """
        latest = int((await self.fetch(path)).version)
        for number in range(latest - 1, max(0, latest - 1 - PREVIOUS_MAX), -1):
            try:
                return await self._access(path, str(number))
            except (answers.NotEnabled, answers.NoSuchSecret):
                continue
        return None

    async def has_changed(self, path: str, version: str) -> bool:
        """Whether the latest version is another than `version`, or there is none. Raises StoreFailed.

        An account that may read but not look (secretAccessor without viewer) reads each time.
        """
        if not self._may_get:
            return True
        where = _where(path)
        try:
            answer = await self._ask("GET", f"{self._resource(path)}/versions/latest", where, "versions.get")
        except answers.NoSuchSecret:
            return True
        except answers.Denied:
            self._may_get = False
            return True
        return answers.version(answer, where) != version

    async def put(self, path: str, field: str | None, value: bytes, version: str) -> str:
        """Add a version that follows `version`, which is "" where none is there yet; see the top of the file.

        A secret that is not there is made, which takes the permission secretmanager.secrets.create. Raises
        StoreConflict when another one is the latest by now, StoreFailed.
        """
        where = _where(path)
        try:
            stored: Secret | None = await self.fetch(path)
        except answers.NoSuchSecret:
            stored = None
        if (stored.version if stored else "") != version:
            raise StoreConflict(f"{where}: another version than {version or 'none'} is the latest")
        content = with_field(stored.reveal() if stored else None, field, value, where)
        try:
            added = await self._add(path, content)
        except answers.NoSuchSecret:
            await self._make(path)
            added = await self._add(path, content)
        if version and int(added) != int(version) + 1:
            raise StoreConflict(
                f"{where}: another wrote at the same time; version {added} is ours and the latest, theirs are between "
                f"it and {version}"
            )
        return added

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()
        await self._login.close()

    async def _add(self, path: str, content: bytes) -> str:
        where = _where(path)
        payload = {"data": base64.b64encode(content).decode(), "dataCrc32c": str(crc32c(content))}
        body = msgspec.json.encode({"payload": payload})
        answer = await self._ask("POST", f"{self._resource(path)}:addVersion", where, "versions.add", body)
        return answers.version(answer, where)

    async def _make(self, path: str) -> None:
        """Make a secret without a version; where its values are kept is left to Google (and to its region's name)."""
        where = _where(path)
        parent, _, name = self._resource(path).rpartition("/secrets/")
        body = msgspec.json.encode({} if "/locations/" in parent else {"replication": {"automatic": {}}})
        try:
            await self._ask("POST", f"{parent}/secrets?secretId={name}", where, "secrets.create", body)
        except answers.AlreadyExists as failure:
            raise StoreConflict(str(failure)) from None

    async def _access(self, path: str, version: str) -> Secret:
        where = _where(path, version)
        resource = f"{self._resource(path)}/versions/{version}:access"
        return answers.accessed(await self._ask("GET", resource, where, "versions.access"), where)

    def _resource(self, path: str) -> str:
        if _NAME.fullmatch(path):
            return f"projects/{self._config.project}/secrets/{path}"
        if _RESOURCE.fullmatch(path):
            return path
        raise StoreFailed(
            f"{_where(path)}: a secret's name there has letters, digits, - and _ alone; "
            "write <environment>-<name>, or projects/<project>/secrets/<name>"
        )

    async def _ask(self, method: str, resource: str, where: str, permission: str, body: bytes | None = None) -> Answer:
        """Give a good answer; a token that is refused is replaced once. Raises StoreFailed."""
        permission = f"secretmanager.{permission}"
        try:
            async with self._clock.timeout_at(self._clock.now() + self._config.timeout):
                token = await self._login.token()
                answer = await self._send(method, resource, where, token, body)
                if answer.status == 401:
                    self._login.drop(token)
                    answer = await self._send(method, resource, where, await self._login.token(), body)
        except TimeoutError:
            raise StoreFailed(f"{where}: no answer within timeout = {self._config.timeout}") from None
        if answer.status == 200:
            return answer
        raise answers.refused(answer, where, permission)

    async def _send(self, method: str, resource: str, where: str, token: Secret, body: bytes | None) -> Answer:
        headers = {"Authorization": f"Bearer {token.reveal().decode()}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return await self._http.exchange(method, f"{self._endpoint}/v1/{resource}", headers, body, where)


def _where(path: str, version: str = "latest") -> str:
    which = "" if version == "latest" else f", version {version},"
    return f"{path}{which} in Google Secret Manager"
