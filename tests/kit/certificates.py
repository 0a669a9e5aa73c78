"""Certificates of a test authority, made at run time: for vendors that speak TLS on loopback."""

import ssl
from pathlib import Path

import trustme


class Authority:
    """A certificate authority that only one test trusts."""

    def __init__(self) -> None:
        self._authority = trustme.CA(organization_name="the tests of the sidecar")

    def write_to(self, path: Path) -> Path:
        """Write the authority's certificate, for `ca_file`."""
        self._authority.cert_pem.write_to_path(str(path))
        return path

    def server(self, *names: str) -> ssl.SSLContext:
        """Give a server's context for `names` (host names or addresses; localhost and 127.0.0.1 if none)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(context)
        return context

    def take_over(self, server: ssl.SSLContext) -> None:
        """Have a server that runs show a certificate of this authority's to whoever connects from now on."""
        self._authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)

    def write_server(self, certificate: Path, key: Path) -> None:
        """Write what a server of another's make wants: its certificate for localhost with its chain, and its key."""
        issued = self._authority.issue_cert("localhost", "127.0.0.1")
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key.touch(mode=0o600)
        issued.private_key_pem.write_to_path(str(key))

    def pems(self, *names: str) -> tuple[bytes, bytes, bytes]:
        """Give a certificate for `names` with its chain, its key, and the authority's own certificate, all as PEM.

        For servers of another's make, and for clients that show one.
        """
        issued = self._authority.issue_cert(*names)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return chain, issued.private_key_pem.bytes(), self._authority.cert_pem.bytes()

    def client(self) -> ssl.SSLContext:
        """Give a client's context that trusts this authority alone."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context
