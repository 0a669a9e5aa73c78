from collections.abc import Callable, Iterable

from sidecar.auth.pool import CredentialPool, PooledCredential
from sidecar.auth.schemes import Bearer
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.core.secret import Secret, SecretRef

REF = SecretRef.parse("files:keys")


def test_what_is_masked_for_a_pool_is_forgotten_with_it() -> None:
    """The table of masks is bounded, so a pool that is lost, or changes, may not fill it up."""
    masked: list[bytes] = []

    def know(patterns: Iterable[bytes]) -> Callable[[], None]:
        added = list(patterns)
        masked.extend(added)

        def forget() -> None:
            for one in added:
                masked.remove(one)

        return forget

    seen: list[list[PooledCredential]] = []
    held = Held(REF, Known(know))
    pool = CredentialPool(Bearer(secret=REF), held, know, seen.append)
    for number in range(5):
        held.put(Secret(b"made-up-%d\nmade-up-%d" % (number, number + 1), str(number)))
        assert len(masked) == 2
    assert len({pooled.number for pooled in seen[-1]}) == 2
    held.lose()
    assert (masked, seen[-1]) == ([], [])
    held.put(Secret(b"made-up", "6"))
    pool.release()
    assert not masked
