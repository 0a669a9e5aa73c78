"""Fetched: what a vendor has on its own host, keys first of all, and which hosts these may be.

Nothing is fetched here: the machine says which URL it needs, and is handed what stands there.
"""

import re

from sidecar.core.section import Section
from sidecar.webhooks.key import Public, public_key
from sidecar.webhooks.message import NotVerified
from sidecar.webhooks.place import Place
from sidecar.webhooks.reading import Reading

URL_MAX = 1024  # Characters. Longer: refused; it would be a cache's key.

# No user info, no port but 443, no backslash, nothing that two parsers of URLs read in two ways.
_URL = re.compile(r"https://([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::443)?/[A-Za-z0-9._~/%?=&+:-]*")
HOST = re.compile(r"(?:\*|\{region\}|[a-z0-9-]+)(?:\.(?:\{region\}|[a-z0-9-]+))+")
_LABEL = {"*": "[a-z0-9-]+", "{region}": "[a-z]{2}(?:-[a-z]+)+-[0-9]"}


class FetchedConfig(Section, kw_only=True):
    """Where the key is, or what a handshake has asked."""

    url: str  # The URL itself, or the place in the message that names it, such as "header:PAYPAL-CERT-URL".
    hosts: tuple[str, ...]  # Where `url` may lead: "api.example.com", "*.example.com" (one label), "{region}" of AWS.
    path: str = "/.*"  # What its path has to match, as a regular expression.

    def problems(self) -> list[tuple[str, str]]:
        """Say what is no URL, place or host."""
        found = [("hosts", f"{host!r} is no host") for host in self.hosts if not HOST.fullmatch(host)]
        if not self.hosts:
            found.append(("hosts", "write the vendor's hosts: else whoever sends a webhook chooses what is asked"))
        try:
            re.compile(self.path)
            if self.url.startswith("https:"):
                if not found and Fetched(self).refusal(self.url) is not None:
                    found.append(("url", "this leads to none of hosts"))
            else:
                Place(self.url)
        except re.error:
            found.append(("path", "this is no regular expression"))
        except ValueError as error:
            found.append(("url", str(error)))
        return found


class Fetched:
    """Says which URL a message's key is at, or which one it wants to be asked."""

    def __init__(self, config: FetchedConfig) -> None:
        self._fixed = config.url if config.url.startswith("https:") else None
        self._place = None if self._fixed else Place(config.url)
        self._path = re.compile(config.path)
        patterns = (
            r"\.".join(_LABEL.get(label) or re.escape(label) for label in host.split(".")) for host in config.hosts
        )
        self._host = re.compile("|".join(patterns))

    def url(self, reading: Reading) -> str:
        """Give the URL. Raises NotVerified when the message names none, or one that is not the vendor's."""
        if self._place is None:
            assert self._fixed is not None
            return self._fixed
        value = reading.get(self._place)
        if value is None:
            raise NotVerified(f"{self._place.text} is missing")
        url = value.decode("latin-1")
        refusal = self.refusal(url)
        if refusal is not None:
            raise NotVerified(f"the URL at {self._place.text} {refusal}")
        return url

    def refusal(self, url: str) -> str | None:
        """Say why a URL is not asked; None when it is the vendor's."""
        match = _URL.fullmatch(url) if len(url) <= URL_MAX else None
        if match is None:
            return "is no plain https URL"
        if not self._host.fullmatch(match[1]):
            return "leads to a host that is not the vendor's"
        if not self._path.fullmatch("/" + url.split("/", 3)[3]):
            return "has a path that is not the vendor's"
        return None


def certificate_key(raw: bytes, algorithm: str, encoding: str, now: float) -> Public:
    """Take the key out of a certificate in PEM, the first if there is a chain. Raises ValueError.

    That it is the vendor's is vouched for by the TLS of the host that it was fetched from.
    """
    from cryptography import x509  # noqa: PLC0415  # Only those who verify by certificates.
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    try:
        certificate = x509.load_pem_x509_certificate(raw)
        der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception as error:  # noqa: BLE001  # Of many kinds.
        raise ValueError(f"what was fetched is no certificate ({type(error).__name__})") from None
    if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
        raise ValueError("the certificate is not valid now")
    return public_key(der, algorithm, encoding)
