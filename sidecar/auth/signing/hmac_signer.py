"""HMAC: a keyed hash (RFC 2104) over what the config's template takes from the request."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate

from sidecar.auth.secrets.held import Held
from sidecar.auth.signing.config import Hmac
from sidecar.auth.signing.received import received
from sidecar.auth.signing.template import Template
from sidecar.core.call import Call
from sidecar.core.clock import Clock
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.headers import find_all
from sidecar.core.secret import Secret

_BODY = frozenset({"body", "body_sha256", "body_sha256:base64"})


class HmacSigner:
    """Signs the calls of one service; `authority` and `base_path` are its base URL's, as they are sent."""

    def __init__(
        self,
        config: Hmac,
        held: Held,
        clock: Clock,
        make_nonce: Callable[[], str],
        *,
        authority: bytes,
        base_path: bytes,
    ) -> None:
        self._config = config
        self._held = held
        self._clock = clock
        self._make_nonce = make_nonce
        self._authority = authority
        self._base_path = base_path
        self._to_sign = Template(config.to_sign)
        self._value = (config.header.encode(), Template(config.value))
        self._headers = [(name.encode(), Template(text)) for name, text in config.headers.items()]
        named = frozenset[str]().union(self._to_sign.names, self._value[1].names, *(t.names for _, t in self._headers))
        self.needs_body = not named.isdisjoint(_BODY)
        self._named = named
        self._fields = sorted(name for name in named if name.startswith("header:"))
        self._replaced = frozenset([config.header.lower().encode(), *(name.lower() for name, _ in self._headers)])
        self._sends_date = "date" in named and b"date" not in self._replaced
        if self._sends_date:
            self._replaced |= {b"date"}
        self._key: bytes | None = None
        self._problem = ""
        self._let_go = held.on_change(self._prepare, self._lose)

    def release(self) -> None:
        """Hear of no further value: the service goes away."""
        self._let_go()

    def put_on(self, call: Call) -> None:
        """Sign a call whose body is not signed. Raises CredentialUnavailable with the step that failed."""
        assert not self.needs_body, "a template names the body: await sign(call)"
        self._put(call, b"")

    async def sign(self, call: Call) -> None:
        """Sign a call. Raises CredentialUnavailable, and what `received` raises where the body is signed."""
        self._put(call, await received(call, self._config.body_max, self._clock) if self.needs_body else b"")

    def _prepare(self, secret: Secret) -> None:
        try:
            self._key = _decoded(secret.reveal(), self._config.secret_encoding)
        except ValueError:
            # Not chained: the error of the reader may hold a piece of the value.
            self._key = None
            self._problem = f"the secret is not {self._config.secret_encoding}, as secret_encoding says"

    def _lose(self) -> None:
        self._key = None
        self._problem = ""

    def _put(self, call: Call, body: bytes) -> None:
        key = self._key
        if key is None:
            problem = self._problem or self._held.problem
            raise CredentialUnavailable(f"reading the secret for {call.service} from its store failed: {problem}")
        values = self._values(call, body)
        # An SDK's placeholder is replaced, never added to.
        headers = [field for field in call.headers if field[0].lower() not in self._replaced]
        headers += [(name, template.fill(values)) for name, template in self._headers]
        if self._sends_date:
            headers.append((b"Date", values["date"]))
        for place in self._fields:
            field = place.removeprefix("header:").encode()
            values[place] = self._authority if field == b"host" else b", ".join(find_all(headers, field))
        digest = hmac.digest(key, self._to_sign.fill(values), self._config.algorithm)
        values["signature"] = digest.hex().encode() if self._config.encoding == "hex" else base64.b64encode(digest)
        name, template = self._value
        headers.append((name, template.fill(values)))
        call.headers = headers

    def _values(self, call: Call, body: bytes) -> dict[str, bytes]:
        named = self._named
        target = self._base_path + call.target
        path, _, query = target.partition(b"?")
        values = {
            "method": call.method.encode(),
            "target": target,
            "path": path,
            "query": query,
            "key_id": self._config.key_id.encode(),
            "body": body,
        }
        if "timestamp" in named:
            values["timestamp"] = _timestamp(self._clock.wall(), self._config.timestamp)
        if "date" in named:
            values["date"] = formatdate(self._clock.wall(), usegmt=True).encode()
        if "nonce" in named:
            values["nonce"] = self._make_nonce().encode()
        if self.needs_body:
            digest = hashlib.sha256(body)
            values["body_sha256"] = digest.hexdigest().encode()
            values["body_sha256:base64"] = base64.b64encode(digest.digest())
        return values


def _timestamp(wall: float, unit: str) -> bytes:
    if unit == "rfc3339":
        return datetime.fromtimestamp(int(wall), UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    return str(int(wall * 1000) if unit == "ms" else int(wall)).encode()


def _decoded(value: bytes, encoding: str) -> bytes:
    """Give the key. Raises ValueError; so does an empty key, which everybody knows."""
    if encoding == "hex":
        key = bytes.fromhex(value.decode("ascii").strip())
    elif encoding == "base64":
        plain = value.strip().translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
        key = binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    else:
        key = value
    if not key:
        raise ValueError("empty")
    return key
