"""Certificates that serve, and those that are refused with a sentence."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from sidecar.kubernetes.certificate import FILE_BYTES_MAX, read_certificate, serving_context

NOW = datetime.now(UTC)  # OpenSSL asks the machine's clock, so the certificates are made by it.
NAME = "sidecar-injector.sidecar-system.svc"


class Files:
    """A certificate's files as a Secret's mount has them, and the authority that issued it."""

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.certificate, self.key = directory / "tls.crt", directory / "tls.key"

    def write(self, *, ends_in: timedelta = timedelta(days=90), kind: trustme.KeyType = trustme.KeyType.ECDSA) -> None:
        """Write one of this authority's."""
        issued = self.authority.issue_cert(
            NAME, not_before=NOW - timedelta(days=100), not_after=NOW + ends_in, key_type=kind
        )
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())


@pytest.fixture
def mounted(tmp_path: Path) -> Files:
    """A good certificate in its files."""
    mounted = Files(tmp_path)
    mounted.write()
    return mounted


def shown(server: ssl.SSLContext) -> bytes:
    """Shake hands with a context, as somebody who takes all kinds of keys, and give the certificate that it shows."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs, ours = client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)
    for side in (theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    certificate = theirs.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


def test_a_certificate_is_read_with_the_time_of_its_end(mounted: Files) -> None:
    """For the metric that an alert stands on."""
    read = read_certificate(mounted.certificate, mounted.key)
    leaf = x509.load_pem_x509_certificate(mounted.certificate.read_bytes())
    assert read.expires_at == leaf.not_valid_after_utc.timestamp()


def test_whoever_connects_is_shown_the_certificate_in_use(mounted: Files) -> None:
    """Also where the next one has a key of another kind: none of before is shown to anybody."""
    mounted.write(kind=trustme.KeyType.RSA)
    first = read_certificate(mounted.certificate, mounted.key)
    context = serving_context(first)
    before = shown(context)
    mounted.write(kind=trustme.KeyType.ECDSA)
    second = read_certificate(mounted.certificate, mounted.key)
    assert shown(context) == before
    context.current = second.context
    assert shown(context) == ssl.PEM_cert_to_DER_cert(
        mounted.certificate.read_text().partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )


def refusal(mounted: Files) -> str:
    """The sentence; nothing of the key is in it."""
    with pytest.raises(ValueError, match="tls") as refused:
        read_certificate(mounted.certificate, mounted.key)
    assert refused.value.__cause__ is None
    sentence = str(refused.value)
    assert "KEY-----" not in sentence.replace("-----BEGIN PRIVATE KEY-----", "")
    return sentence


def test_a_certificate_that_has_ended_is_refused(mounted: Files) -> None:
    """The API server would refuse it, so one that was good is better kept."""
    mounted.write(ends_in=timedelta(days=-1))
    assert refusal(mounted) == f"{mounted.certificate}: nobody would accept it: certificate has expired"


def test_a_key_of_another_certificate_is_refused(mounted: Files) -> None:
    """As it may be found for a moment, while somebody copies one behind the other."""
    key = mounted.key.read_bytes()
    mounted.write()
    mounted.key.write_bytes(key)
    assert "the private key is not that of the certificate" in refusal(mounted)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\xff\xfe", b"x" * (FILE_BYTES_MAX + 1)])
@pytest.mark.parametrize("which", ["certificate", "key"])
def test_what_is_no_pem_is_refused(mounted: Files, which: str, content: bytes) -> None:
    """Of either file."""
    path: Path = getattr(mounted, which)
    path.write_bytes(content)
    assert str(path.parent) in refusal(mounted)


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_missing_file_is_named(mounted: Files, which: str) -> None:
    """The Secret may not be there yet."""
    path: Path = getattr(mounted, which)
    path.unlink()
    assert refusal(mounted) == f"{path} cannot be read: No such file or directory"
