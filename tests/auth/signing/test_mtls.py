import pytest

from sidecar.auth.signing.mtls import ClientCertificate
from sidecar.core.body import NO_BODY
from sidecar.core.call import Call
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from tests.auth.signing.keeping import Told, held


class Context:
    """Stands in for a TLS context: a pair fits if certificate and key have the same number."""

    def __init__(self) -> None:
        self.shown: list[tuple[bytes, ...]] = []

    def show(self, certificate: bytes, private_key: bytes, password: bytes = b"") -> None:
        """Take a pair that fits."""
        if certificate[-1:] != private_key[-1:]:
            raise ValueError("the private key is not that of the client certificate")
        self.shown.append((certificate, private_key, password))


def call() -> Call:
    """Make a call."""
    return Call("bank", "GET", b"/", [], NO_BODY)


def test_it_is_shown_as_soon_as_all_parts_are_read() -> None:
    """Until then calls say what is missing; the call itself is not changed."""
    certificate, key, password = held(), held(), held()
    context, told = Context(), Told()
    mine = ClientCertificate(certificate, key, password, context, told)
    with pytest.raises(CredentialUnavailable, match="client certificate for bank failed: the secret has not been read"):
        mine.put_on(call())
    for part, value in ((certificate, b"cert-1"), (key, b"key-1"), (password, b"open")):
        assert context.shown == []
        part.put(Secret(value, "v7"))
    assert context.shown == [(b"cert-1", b"key-1", b"open")]
    entitled = call()
    mine.put_on(entitled)
    assert entitled.headers == []
    assert told.lines == [("info", "client_certificate_shown", {"secret": "files:key", "version": "v7"})]


def test_a_rotation_in_two_steps_shows_the_new_pair_once_it_fits() -> None:
    """In between the pair before stays, calls go on, and the log says why; connections are told once."""
    certificate, key = held(b"cert-1"), held(b"key-1", SecretRef.parse("files:tls-key"))
    context, told = Context(), Told()
    mine = ClientCertificate(certificate, key, None, context, told)
    rotations: list[int] = []
    mine.on_rotated(lambda: rotations.append(len(context.shown)))
    certificate.put(Secret(b"cert-2", "2"))
    mine.put_on(call())
    assert rotations == []
    assert told.lines[-1][:2] == ("warning", "client_certificate_unusable")
    key.put(Secret(b"key-2", "2"))
    mine.put_on(call())
    assert rotations == [2]
    assert context.shown == [(b"cert-1", b"key-1", b""), (b"cert-2", b"key-2", b"")]


def test_what_never_fitted_is_an_error_and_no_call_goes() -> None:
    """Without a certificate the vendor would refuse it anyway, in words that help nobody."""
    told = Told()
    mine = ClientCertificate(held(b"cert-1"), held(b"key-2"), None, Context(), told)
    with pytest.raises(CredentialUnavailable, match="not that of the client certificate"):
        mine.put_on(call())
    assert told.lines[0][0] == "error"


def test_a_service_that_is_gone_hears_of_nothing() -> None:
    """Its context may be another service's by then."""
    certificate, key = held(b"cert-1"), held(b"key-1")
    context = Context()
    mine = ClientCertificate(certificate, key, None, context, Told())
    mine.release()
    certificate.put(Secret(b"cert-of-1", "2"))
    key.put(Secret(b"key-of-1", "2"))
    assert len(context.shown) == 1
