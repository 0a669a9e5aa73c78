import ssl

import pytest

from sidecar.auth.oauth.certificate import CertifiedContext, load
from sidecar.auth.oauth.token import TokenRefused
from tests.auth.oauth.asking import pem, private_key
from tests.kit.certificates import Authority


def fresh() -> ssl.SSLContext:
    """Give an empty context."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def test_a_certificate_gets_in_without_a_file() -> None:
    """And a changed one makes a new context: connections under way keep theirs."""
    first, second = (Authority().pems("client")[:2] for _ in range(2))
    certified = CertifiedContext(fresh)
    context = certified.get(*first)
    assert certified.get(*first) is context
    assert certified.get(*second) is not context


def test_other_authorities_make_a_new_context() -> None:
    """Whoever is trusted by the file as it is now."""
    pair = Authority().pems("client")[:2]
    certified, before, now = CertifiedContext(fresh), object(), object()
    context = certified.get(*pair, before)
    assert certified.get(*pair, before) is context
    assert certified.get(*pair, now) is not context


@pytest.mark.parametrize("wrong", ["key", "other key", "certificate", "encrypted"])
def test_what_does_not_fit_is_told_without_showing_it(wrong: str) -> None:
    """Nothing is asked on a terminal, and the context is made anew next time."""
    certificate, key, _ = Authority().pems("client")
    if wrong == "key":
        key = b"s3cr3t"
    elif wrong == "other key":
        key = pem(private_key("ES256"))
    elif wrong == "certificate":
        certificate = b"s3cr3t"
    else:
        key = key.replace(b"BEGIN", b"BEGIN ENCRYPTED").replace(b"END", b"END ENCRYPTED")
    with pytest.raises(TokenRefused, match="no certificate with its key") as refused:
        load(fresh(), certificate, key)
    assert "s3cr3t" not in str(refused.value)
    assert refused.value.__context__ is None


def test_an_authority_that_cannot_be_read_is_told() -> None:
    """By the sentence of the part that reads it."""

    def unreadable() -> ssl.SSLContext:
        raise ValueError("ca.pem cannot be read: gone")

    with pytest.raises(TokenRefused, match=r"ca\.pem cannot be read"):
        CertifiedContext(unreadable).get(b"a", b"b")
