"""Credential: a scheme with its secret, ready for requests; prepared when the secret changes, not per call."""

from sidecar.auth.schemes import ApiKey, Static
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Know, Known
from sidecar.core import query
from sidecar.core.call import Call
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret
from sidecar.telemetry.redact import TooManyValues

_FORBIDDEN = frozenset(b"\r\n\0")


class Credential:
    """Puts the credential of one service on its calls, in place of whatever the app sent there."""

    def __init__(self, auth: Static, held: Held, know: Know) -> None:
        self._auth = auth
        self._held = held
        self._known = Known(know)
        self._field: tuple[bytes, bytes] | None = None
        self._problem = ""
        self._is_query = isinstance(auth, ApiKey) and auth.place == "query"
        self._key = auth.field(b"")[0].lower()
        self._let_go = held.on_change(self._prepare, self._lose)

    def _prepare(self, secret: Secret) -> None:
        value = secret.reveal()
        if not self._is_query and _FORBIDDEN.intersection(value):
            self._field = None
            self._problem = "the secret holds a line break or NUL, which no header may hold; store it without"
            return
        field = self._auth.field(value)
        try:
            self._known.add([field[1].rpartition(b" ")[2]])
        except TooManyValues as failure:
            self._field = None
            self._problem = str(failure)
            return
        self._field = field

    def _lose(self) -> None:
        self._field = None
        self._problem = ""

    def release(self) -> None:
        """Hear of no further value: the service goes away. Calls under way go on with what is here."""
        self._let_go()
        self._known.forget()

    def put_on(self, call: Call) -> None:
        """Put the credential on. Raises CredentialUnavailable with the step that failed."""
        if self._field is None:
            problem = self._problem or self._held.problem
            raise CredentialUnavailable(f"reading the secret for {call.service} from its store failed: {problem}")
        if self._is_query:
            call.target = query.put(call.target, *self._field)
            return
        key = self._key
        # An SDK's placeholder is replaced, never added to.
        call.headers = [field for field in call.headers if field[0].lower() != key]
        call.headers.append(self._field)
