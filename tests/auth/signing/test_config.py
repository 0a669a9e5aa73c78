import pytest

from sidecar.auth.signing.config import AwsSigv4, GithubApp, Hmac, Mtls, Passthrough, Signing, references
from sidecar.core.secret import SecretRef

A, B, C = (SecretRef.parse(f"files:{name}") for name in "abc")


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (Hmac(secret=A, to_sign="{method}"), [A]),
        (AwsSigv4(region="r", service="s3", access_key=A, secret_key=B), [A, B]),
        (AwsSigv4(region="r", service="s3", access_key=A, secret_key=B, session_token=C), [A, B, C]),
        (AwsSigv4(region="r", service="s3", credentials="default"), []),
        (GithubApp(app_id="1", private_key=A, installation_id="2"), [A]),
        (Mtls(certificate=A, private_key=B), [A, B]),
        (Mtls(certificate=A, private_key=B, password=C), [A, B, C]),
        (Passthrough(), []),
    ],
)
def test_every_secret_of_a_section_is_named(auth: Signing, expected: list[SecretRef]) -> None:
    """What is not named here is never read."""
    assert references(auth) == expected
