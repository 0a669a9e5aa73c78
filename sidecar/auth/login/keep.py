"""Keep: the refresh token goes into the secret store, where the running sidecars find it."""

from collections.abc import Callable

from sidecar.auth.login.failed import LoginFailed
from sidecar.auth.oauth.token import Token
from sidecar.auth.secrets.store import SecretStore, StoreFailed
from sidecar.core.clock import Clock
from sidecar.core.secret import SecretRef

TRIES_MAX = 5  # A store that is away for a moment, or another writer. Then the consent was for nothing.
PAUSE = 1.0  # Seconds between two tries.

Say = Callable[[str], None]


async def look(store: SecretStore, ref: SecretRef, say: Say) -> None:
    """Say before anybody consents what is at the place; a store that is away shows here."""
    try:
        stored = await store.fetch(ref.path)
    except StoreFailed as failed:
        say(f"Nothing can be read at {ref} now ({failed}); what you get will be written there as the first.")
        return
    say(f"What is at {ref} now, version {stored.version}, will be replaced.")


async def keep(store: SecretStore, ref: SecretRef, token: Token, clock: Clock) -> str:
    """Write the token's refresh token, and give its version. Raises LoginFailed.

    Whatever is there is replaced, also when another pod wrote a moment ago: the consent that was given last counts.
    """
    if token.refresh_token is None:
        raise LoginFailed(
            "the vendor gave an access token, and no refresh token with it; ask for one: most want a scope "
            '(offline_access, offline) or a parameter (login.params = { access_type = "offline", prompt = "consent" })'
        )
    problem = ""
    for number in range(TRIES_MAX):
        if number:
            await clock.sleep(PAUSE)
        try:
            return await store.put(ref.path, ref.field, token.refresh_token.reveal(), await _version(store, ref))
        except StoreFailed as failed:  # Or a StoreConflict: what is read anew next is theirs.
            problem = str(failed)
    raise LoginFailed(f"the refresh token could not be written to {ref}, and is lost: {problem}; log in once more")


async def _version(store: SecretStore, ref: SecretRef) -> str:
    """Give the version to replace; "" where none can be read: then a store writes only where there is none."""
    try:
        return (await store.fetch(ref.path)).version
    except StoreFailed:
        return ""
