"""Pool: several credentials of one kind for one service, from one stored value; each call carries one of them."""

import hashlib
import json
from collections.abc import Callable
from typing import NamedTuple

from sidecar.auth.credential import Credential
from sidecar.auth.schemes import ApiKey, Bearer
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Know, Known
from sidecar.core.secret import Secret

POOL_MAX = 32  # Credentials in one pool. More: the value is refused with a sentence, and the one before goes on.
MARK_BYTES = 4


class PooledCredential(NamedTuple):
    """One credential of a pool."""

    number: int  # From 1: how its limits are named.
    credential: Credential
    mark: str  # The same in every pod, and so short that countless values have it: it tells nothing of this one.


class CredentialPool:
    """Keeps the pool as the stored value has it: a JSON list of texts, or one in each line."""

    def __init__(
        self, auth: Bearer | ApiKey, held: Held, know: Know, changed: Callable[[list[PooledCredential]], None]
    ) -> None:
        self._auth = auth
        self._held = held
        self._know = know
        self._changed = changed
        self._numbers: dict[bytes, int] = {}  # By the value's digest: one that stays keeps its number and its limits.
        self._credentials: dict[bytes, PooledCredential] = {}
        self._problem = ""
        self._let_go = held.on_change(self._take, self._lose)

    @property
    def problem(self) -> str:
        """Say why there is no credential."""
        return self._problem or self._held.problem

    def release(self) -> None:
        """Hear of no further value."""
        self._let_go()
        self._release_all()

    def _release_all(self) -> None:
        for pooled in self._credentials.values():
            pooled.credential.release()

    def _lose(self) -> None:
        self._release_all()
        self._credentials = {}
        self._changed([])

    def _take(self, secret: Secret) -> None:
        values = split(secret.reveal())
        if not 1 <= len(values) <= POOL_MAX:
            found = "holds no credential" if not values else f"holds more than {POOL_MAX} credentials"
            self._problem = f"the value {found}; write a JSON list of texts, or one credential in each line"
            return
        self._problem = ""
        before, self._credentials = self._credentials, {}
        for value in values:
            digest = hashlib.sha256(value).digest()
            known = before.pop(digest, None)
            self._credentials[digest] = known if known is not None else self._make(digest, value, secret.version)
        for gone in before.values():
            gone.credential.release()
        self._numbers = {digest: number for digest, number in self._numbers.items() if digest in self._credentials}
        self._changed(list(self._credentials.values()))

    def _make(self, digest: bytes, value: bytes, version: str) -> PooledCredential:
        taken = set(self._numbers.values())
        number = self._numbers[digest] = next(n for n in range(1, 2 * POOL_MAX + 1) if n not in taken)
        held = Held(self._held.ref, Known(self._know))
        held.put(Secret(value, version))
        mark = hashlib.blake2b(value, digest_size=MARK_BYTES, person=b"sidecar.mark").hexdigest()
        return PooledCredential(number, Credential(self._auth, held, self._know), mark)


def split(value: bytes) -> list[bytes]:
    """Take the stored value apart; each credential once, in its order."""
    texts: list[bytes] = []
    try:
        document = json.loads(value) if value.lstrip().startswith(b"[") else None
    except ValueError:
        document = None  # No JSON, so it is lines.
    if isinstance(document, list):
        texts = [text.encode() for text in document if isinstance(text, str)]
    else:
        texts = value.splitlines()
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))
