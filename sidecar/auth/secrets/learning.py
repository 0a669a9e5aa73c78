"""Learning: the secret that a vendor chooses and sends with a handshake, put where its webhook looks for its secrets.

Nobody signs that handshake: whoever is the first to call is believed. So this happens only where it was asked for
(`secret_from_handshake`), only at a reference where nothing is yet, and once: what is there is never replaced, and a
handshake that brings another secret is refused. Whoever wants another takes the old one away, or names one more place.
"""

import asyncio
import hmac
import json
from collections.abc import Callable, Sequence

from sidecar.auth.secrets.held import Held, field_of
from sidecar.auth.secrets.store import SecretStore, StoreConflict, StoreFailed
from sidecar.core.secret import Secret, SecretRef

WAITING_MAX = 4  # Handshakes at once that bring a secret. Full: 503, so that nobody floods the secret store.
BYTES_MAX = 1024  # Of such a secret; longer, or not one line of ASCII: refused.


class NotKept(Exception):
    """The secret is not kept; the sentence says why, and never what it was. `is_final`: asking again does not help."""

    def __init__(self, sentence: str, *, is_final: bool) -> None:
        super().__init__(sentence)
        self.is_final = is_final


class Learning:
    """The places of one webhook's secrets."""

    def __init__(
        self,
        places: Sequence[Held],
        store_of: Callable[[SecretRef], SecretStore],
        hurry: Callable[[SecretRef], None],
    ) -> None:
        self._places = places
        self._store_of = store_of
        self._hurry = hurry  # Has a reference read anew.
        self._one = asyncio.Lock()
        self._waiting = 0

    async def keep(self, secret: Secret) -> SecretRef:
        """Put it in the first place that has none, and give which; also where it is there already. Raises NotKept."""
        value = secret.reveal()
        text = value.decode("latin-1")
        if not 0 < len(value) <= BYTES_MAX or not (text.isascii() and text.isprintable() and text.strip() == text):
            raise NotKept("the handshake's secret is no line of ASCII", is_final=True)
        for held in self._places:
            if held.secret is not None and hmac.compare_digest(held.secret.reveal(), value):
                return held.ref
        if self._waiting >= WAITING_MAX:
            raise NotKept("too many handshakes bring a secret at once", is_final=False)
        self._waiting += 1
        try:
            async with self._one:
                return await self._keep(value)
        finally:
            self._waiting -= 1

    async def _keep(self, value: bytes) -> SecretRef:
        for held in self._places:
            if held.secret is not None:
                continue
            store = self._store_of(held.ref)
            try:
                there, version = await _found(store, held.ref)
                if there is None:
                    await store.put(held.ref.path, held.ref.field, value, version)
                    there = value
            except StoreConflict:
                raise NotKept(f"somebody else wrote {held.ref} at the same time", is_final=False) from None
            except StoreFailed as failed:
                raise NotKept(
                    f"the handshake's secret could not be written to {held.ref}: {failed}; name a place in a secret "
                    "store that may be written, or put the secret there by hand",
                    is_final=False,
                ) from None
            self._hurry(held.ref)
            if hmac.compare_digest(there, value):
                return held.ref
        raise NotKept(
            "the handshake brings a secret, and there is another one already, which is not replaced; if this is a new "
            "webhook of the vendor's, name one more place in `secret`, or take the old secret away first",
            is_final=True,
        )


async def _found(store: SecretStore, ref: SecretRef) -> tuple[bytes | None, str]:
    """Give what is at a place, or the version under which it may be written; "" writes only where there is nothing."""
    try:
        stored = await store.fetch(ref.path)
    except StoreFailed:
        return None, ""
    try:
        return field_of(stored, ref).reveal(), ""
    except StoreFailed:  # Other fields are there, or this one holds what is no text.
        if _is_taken(stored, ref):
            raise
        return None, stored.version


def _is_taken(stored: Secret, ref: SecretRef) -> bool:
    """Whether something stands in the field that a reference names; it may be no secret, and is not ours to replace."""
    try:
        document = json.loads(stored.reveal())
    except ValueError:
        return True
    return not isinstance(document, dict) or document.get(str(ref.field)) not in (None, "")
