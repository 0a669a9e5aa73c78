import base64

import pytest

from sidecar.auth.credential import Credential
from sidecar.auth.schemes import ApiKey, Basic, Bearer, Static, basic
from sidecar.auth.secrets.held import Held
from sidecar.auth.secrets.known import Known
from sidecar.core.body import NO_BODY, Headers
from sidecar.core.call import Call
from sidecar.core.errors import CredentialUnavailable
from sidecar.core.secret import Secret, SecretRef
from sidecar.layers.credentials import credentials
from sidecar.telemetry.redact import MASK, Redactor
from tests.layers.calls import Innermost, through

REF = SecretRef.parse("files:key")
NOBODY = Redactor().know


def entitled(auth: Static, secret: bytes, headers: Headers | None = None, target: bytes = b"/x") -> Call:
    """Put a credential on a call."""
    held = Held(REF, Known(NOBODY))
    credential = Credential(auth, held, NOBODY)
    held.put(Secret(secret, "1"))
    call = Call("crm", "GET", target, headers or [], NO_BODY)
    credential.put_on(call)
    return call


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (Bearer(secret=REF), (b"Authorization", b"Bearer s3")),
        (Bearer(secret=REF, prefix="token "), (b"Authorization", b"token s3")),
        (Bearer(secret=REF, header="X-Token", prefix=""), (b"X-Token", b"s3")),
        (ApiKey(secret=REF), (b"X-Api-Key", b"s3")),
        (ApiKey(secret=REF, name="x-key", prefix="Key "), (b"x-key", b"Key s3")),
        (Basic(secret=REF, username="me"), (b"Authorization", b"Basic bWU6czM=")),
    ],
)
def test_the_field_of_each_scheme(auth: Static, expected: tuple[bytes, bytes]) -> None:
    """Header and prefix are the vendor's choice."""
    assert entitled(auth, b"s3").headers == [expected]


@pytest.mark.parametrize(
    ("auth", "name"), [(Bearer(secret=REF), b"aUTHORIZATION"), (ApiKey(secret=REF, name="X-Key"), b"x-key")]
)
def test_what_the_app_sent_in_its_place_is_replaced(auth: Static, name: bytes) -> None:
    """A placeholder beside the real one would make two credentials, and some vendors take the first."""
    headers: Headers = [(name, b"placeholder"), (b"Accept", b"*/*"), (name.upper(), b"another")]
    call = entitled(auth, b"s3", headers)
    assert [value for key, value in call.headers if key.lower() == name.lower()] == [auth.field(b"s3")[1]]
    assert (b"Accept", b"*/*") in call.headers


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/x", b"/x?key=a%2Fb%2B%26%3D%25"),
        (b"/x?y=[1]&&z=%20", b"/x?y=[1]&z=%20&key=a%2Fb%2B%26%3D%25"),
        (b"/x?key=placeholder&y=1&key=again", b"/x?y=1&key=a%2Fb%2B%26%3D%25"),
        (b"/x?%6bey=placeholder&%6B%65%79=2&y=%6bey", b"/x?y=%6bey&key=a%2Fb%2B%26%3D%25"),
        (b"/x?key", b"/x?key=a%2Fb%2B%26%3D%25"),
        (b"/x?keys=1&akey=2", b"/x?keys=1&akey=2&key=a%2Fb%2B%26%3D%25"),
    ],
)
def test_a_key_in_the_query_is_encoded_and_replaces_the_apps(target: bytes, expected: bytes) -> None:
    """Nothing else of the query changes its bytes."""
    call = entitled(ApiKey(secret=REF, place="query", name="key"), b"a/b+&=%", target=target)
    assert call.target == expected
    assert call.headers == []


def test_basic_takes_names_and_passwords_beyond_ascii() -> None:
    """UTF-8, as RFC 7617 section 2.1 advises; a colon belongs to the password."""
    value = basic("jürgen", "p:ä€".encode())
    assert base64.b64decode(value.removeprefix(b"Basic ")).decode() == "jürgen:p:ä€"


@pytest.mark.parametrize("value", [b"two\r\nX-Lines: 1", b"two\nlines", b"a\0b", b"a\rb"])
@pytest.mark.parametrize("auth", [Bearer(secret=REF), ApiKey(secret=REF), Basic(secret=REF, username="me")])
def test_a_secret_that_no_header_may_hold_is_never_sent(value: bytes, auth: Static) -> None:
    """It would be a header of its own at the vendor, and RFC 7617 section 2 has no control characters in Basic.

    The call says what is wrong, without the value.
    """
    with pytest.raises(CredentialUnavailable, match="line break") as refused:
        entitled(auth, value)
    assert "two" not in str(refused.value)


def test_the_query_takes_any_bytes() -> None:
    """There they are encoded."""
    assert entitled(ApiKey(secret=REF, place="query", name="k"), b"a\nb").target == b"/x?k=a%0Ab"


async def test_a_changed_secret_is_on_the_next_call() -> None:
    """The field is made when the secret changes, and calls take what is there."""
    held = Held(REF, Known(NOBODY))
    layer = credentials(Credential(Bearer(secret=REF), held, NOBODY))
    innermost = Innermost()
    for value in (b"first", b"second"):
        held.put(Secret(value, value.decode()))
        await through(layer, Call("crm", "GET", b"/", [], NO_BODY), innermost)
    assert [call.headers for call in innermost.calls] == [
        [(b"Authorization", b"Bearer first")],
        [(b"Authorization", b"Bearer second")],
    ]


def test_a_good_secret_heals_a_bad_one() -> None:
    """And a bad one after a good one is not sent, nor is the good one that is no longer true."""
    held = Held(REF, Known(NOBODY))
    credential = Credential(Bearer(secret=REF), held, NOBODY)
    call = Call("crm", "GET", b"/", [], NO_BODY)
    with pytest.raises(CredentialUnavailable, match="not been read yet"):
        credential.put_on(call)
    held.put(Secret(b"a\nb", "1"))
    with pytest.raises(CredentialUnavailable, match="line break"):
        credential.put_on(call)
    held.put(Secret(b"good", "2"))
    credential.put_on(call)
    assert call.headers == [(b"Authorization", b"Bearer good")]
    held.put(Secret(b"c\nd", "3"))
    with pytest.raises(CredentialUnavailable, match="line break"):
        credential.put_on(call)


def test_the_log_masks_the_form_that_is_sent() -> None:
    """What Basic makes of name and password is a secret, too; after a change the value before it still is."""
    redactor = Redactor()
    held = Held(REF, Known(NOBODY))
    Credential(Basic(secret=REF, username="me"), held, redactor.know)
    sent = []
    for number in range(3):
        value = f"password-{number}".encode()
        held.put(Secret(value, str(number)))
        sent.append(base64.b64encode(b"me:" + value))
    assert [redactor.text(value) == MASK for value in sent] == [False, True, True]
