"""Authorization: the request that the browser carries to the vendor, and the redirect that comes back for it.

Authorization code with PKCE (RFC 7636, S256), for every client: it binds the code to this very process, whoever else
sees the redirect. `state` binds the redirect to the request, `iss` to the vendor (RFC 9207).
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import parse_qsl, urlencode, urlsplit

from sidecar.auth.login.config import LoginConfig
from sidecar.auth.login.failed import LoginFailed, NotOurs, shown

RANDOM_BYTES = 32  # 43 characters: the length that RFC 7636 section 4.1 recommends, and the least that it allows.
REDIRECT_MAX = 16 * 1024  # Characters. Longer: refused.
FIELDS_MAX = 64
CODE_MAX = 4096  # Characters of a code that was typed in.

Fields = list[tuple[str, str]]


class Authorization:
    """One request; used once."""

    __slots__ = ("_config", "_state", "_verifier", "redirect_uri")

    def __init__(
        self, config: LoginConfig, redirect_uri: str, draw: Callable[[int], str] = secrets.token_urlsafe
    ) -> None:
        self._config = config
        self.redirect_uri = redirect_uri
        self._state = draw(RANDOM_BYTES)
        self._verifier = draw(RANDOM_BYTES)

    def __repr__(self) -> str:
        return f"Authorization({self.redirect_uri})"

    def url(self, client_id: str, scope: str) -> str:
        """Give where the browser goes; nothing in it has to be kept from the one who sees it."""
        assert self._config.authorize_url is not None
        fields = {"response_type": "code", "client_id": client_id, "redirect_uri": self.redirect_uri}
        if scope:
            fields["scope"] = scope
        fields |= self._config.params
        fields |= {"state": self._state, "code_challenge": challenge(self._verifier), "code_challenge_method": "S256"}
        joint = "&" if "?" in self._config.authorize_url else "?"
        return f"{self._config.authorize_url}{joint}{urlencode(fields)}"

    def code(self, redirect: str) -> str:
        """Give the code of a redirect, a URL or a request target. Raises NotOurs, LoginFailed."""
        fields = _fields(redirect)
        if not hmac.compare_digest(fields.get("state", "").encode(), self._state.encode()):
            raise NotOurs("the redirect does not carry the state of this login; begin anew, in this browser")
        self._check_issuer(fields.get("iss"))
        if "error" in fields:
            _refused(fields["error"], fields.get("error_description", ""))
        code = fields.get("code", "")
        if not code:
            raise LoginFailed("the redirect holds neither a code nor an error; is authorize_url right?")
        return code

    def typed(self, text: str) -> str:
        """Give the code of what somebody pasted: the whole address of the redirect, or the code alone.

        A code alone comes without state and issuer; that it is for this login is what PKCE sees to, at the token
        endpoint. Raises LoginFailed.
        """
        text = text.strip()
        if not text:
            raise LoginFailed("nothing was pasted")
        if text.startswith(("http://", "https://")):
            return self.code(text)
        if len(text) > CODE_MAX or not text.isascii() or not text.isprintable() or " " in text:
            raise LoginFailed("this is neither the address of the redirect nor a code")
        return text

    def parameters(self, code: str) -> Fields:
        """Give what the token endpoint is asked with (RFC 6749 section 4.1.3)."""
        return [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", self._verifier),
        ]

    def _check_issuer(self, given: str | None) -> None:
        wanted = self._config.issuer
        if wanted is None:
            return
        if given is None:
            raise NotOurs(
                "the redirect does not say who issued it (iss, RFC 9207), though login.issuer is set; remove the key "
                "if the vendor does not send it"
            )
        if given != wanted:
            raise NotOurs(f"the redirect was issued by {shown(given)}, not by {wanted} (login.issuer)")


def challenge(verifier: str) -> str:
    """Give what is shown of a verifier before it is shown itself (RFC 7636 section 4.2, S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _fields(redirect: str) -> dict[str, str]:
    """Read the query of a redirect. Raises NotOurs; what stands twice is somebody's trick."""
    if len(redirect) > REDIRECT_MAX:
        raise NotOurs("the redirect is longer than any")
    try:
        pairs = parse_qsl(urlsplit(redirect).query, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise NotOurs("the redirect cannot be read") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise NotOurs("the redirect names a parameter twice")
    return fields


def _refused(error: str, description: str) -> NoReturn:
    said = f"{shown(error)}: {shown(description)}" if description else shown(error)
    if error == "access_denied":
        raise LoginFailed(f"the vendor was told not to allow it ({said})")
    raise LoginFailed(f"the vendor refused the request: {said}; it judges client_id, scopes and the redirect address")
