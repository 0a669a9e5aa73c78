"""`login` of `oauth2_refresh_token`: where and how somebody consents."""

import re
from typing import Literal

from sidecar.auth.oauth.url import TokenUrl
from sidecar.core.section import Section

PORT_MAX = 65535
PATH = re.compile(r"/[A-Za-z0-9._~/-]*")
# What the flow itself says; a value from the config in its place would take its protection away.
OURS = frozenset({
    "response_type", "client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method", "code_verifier",
    "request", "request_uri", "response_mode",
})  # fmt: skip


class LoginConfig(Section, kw_only=True):
    """What `sidecar login` needs beside the token endpoint; the running sidecar uses none of it."""

    authorize_url: TokenUrl | None = None  # Where the browser goes (RFC 6749 section 3.1).
    device_url: TokenUrl | None = None  # Where a code to type is asked for (RFC 8628 section 3.1).
    issuer: str | None = None  # `iss` of the redirect has to be this (RFC 9207). Absent: the vendor does not send it.
    redirect_host: Literal["127.0.0.1", "localhost", "[::1]"] = "127.0.0.1"  # As it is registered at the vendor.
    redirect_port: int = 0  # 0: any free one, which RFC 8252 wants vendors to allow; some want the registered one.
    redirect_path: str = "/callback"
    scopes: tuple[str, ...] | None = None  # Absent: those of the service.
    params: dict[str, str] = {}  # Further parameters, such as { access_type = "offline", prompt = "consent" }.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = []
        if self.authorize_url is None and self.device_url is None:
            found.append(("authorize_url", "write where somebody consents: this or device_url"))
        for name in ("authorize_url", "device_url"):
            url: TokenUrl | None = getattr(self, name)
            if url is not None and not url.is_tls and url.host not in {"localhost", "127.0.0.1", "::1"}:
                found.append((name, "somebody types a password there; write an https URL"))
        if not 0 <= self.redirect_port <= PORT_MAX:
            found.append(("redirect_port", f"{self.redirect_port} is no port; write 1 to {PORT_MAX}, or 0 for any"))
        if not PATH.fullmatch(self.redirect_path):
            found.append(("redirect_path", 'write a path of letters and digits, such as "/callback"'))
        found += [(f"params.{name}", "the login says this itself") for name in sorted(OURS & self.params.keys())]
        return found
