"""Parts: secrets that belong together, such as a certificate and its key, taken as one."""

from collections.abc import Callable, Sequence

from sidecar.auth.secrets.held import Held
from sidecar.core.secret import Secret


class Parts:
    """Hands over the values of several held secrets, once all are there, and whenever one of them is another.

    Fields of one stored value are read one after the other; those of different versions are not handed over together.
    What lies in different places cannot be told apart so, and who takes them must look whether they fit. `lose` is
    called when one of them is given up; they are handed over again when it is back.
    """

    def __init__(
        self, held: Sequence[Held], take: Callable[[list[Secret]], None], lose: Callable[[], None] | None = None
    ) -> None:
        self._held = held
        self._take = take
        self._lose = lose
        self._taken: list[bytes] | None = None
        self._is_ready = False
        self._let_go = [each.on_change(self._look, self._lost) for each in held]
        self._is_ready = True
        self._look(None)

    @property
    def problem(self) -> str:
        """Say why there is a part missing, in the store's words."""
        return next((held.problem for held in self._held if held.problem), "its parts are of different versions")

    def release(self) -> None:
        """Hear of no further value."""
        for let_go in self._let_go:
            let_go()

    def _lost(self) -> None:
        if self._lose is not None:
            self._taken = None
            self._lose()

    def _look(self, _: Secret | None) -> None:
        secrets = [held.secret for held in self._held if held.secret is not None]
        if not self._is_ready or len(secrets) < len(self._held):
            return
        versions: dict[tuple[str, str], str] = {}
        for held, secret in zip(self._held, secrets, strict=True):
            place = (held.ref.store, held.ref.path)
            if versions.setdefault(place, secret.version) != secret.version:
                return
        values = [secret.reveal() for secret in secrets]
        if values != self._taken:
            self._taken = values
            self._take(secrets)
