import copy
import pickle
import secrets
import traceback

import msgspec
import pytest

from sidecar.core.secret import Secret, SecretRef


@pytest.fixture
def canary() -> str:
    """What must be found nowhere."""
    return secrets.token_hex(16)


def test_a_secret_shows_itself_only_when_it_is_revealed(canary: str) -> None:
    """Every usual way of making text from an object gives the mask."""
    secret = Secret(canary.encode(), "v1")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r}", "{}".format(secret), "%s" % secret, repr([secret])]  # noqa: UP031, UP032
    assert all(canary not in text for text in shown)
    assert all("***" in text for text in shown)
    assert secret.reveal() == canary.encode()
    assert secret.version == "v1"


def test_a_secret_is_not_pickled_copied_or_encoded(canary: str) -> None:
    """What would carry it to another place is refused."""
    secret = Secret(canary.encode(), "v1")
    for carry in (pickle.dumps, copy.copy, copy.deepcopy, msgspec.json.encode):
        with pytest.raises(TypeError) as refused:
            carry(secret)
        assert canary not in str(refused.value)


def test_a_traceback_with_locals_does_not_show_a_secret(canary: str) -> None:
    """Tools that print local variables use repr."""
    secret = Secret(canary.encode(), "v1")
    try:
        raise ValueError(secret)
    except ValueError as error:
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "Secret(***)" in told
    assert f"'{secret.version}'" not in told


def test_a_secret_has_no_dict_to_look_into(canary: str) -> None:
    """`vars` is what serializers try first."""
    with pytest.raises(TypeError):
        vars(Secret(canary.encode(), "v1"))


@pytest.mark.parametrize(
    ("text", "store", "path", "field"),
    [
        ("files:stripe-key", "files", "stripe-key", None),
        ("main:production/stripe#api_key", "main", "production/stripe", "api_key"),
        ("main:{environment}/crm#client_secret", "main", "{environment}/crm", "client_secret"),
        ("aws:arn:aws:secretsmanager:eu-west-1:1:secret:x", "aws", "arn:aws:secretsmanager:eu-west-1:1:secret:x", None),
    ],
)
def test_a_reference_has_store_path_and_field(text: str, store: str, path: str, field: str | None) -> None:
    """The field may be absent: then it is all of the value."""
    reference = SecretRef.parse(text)
    assert (reference.store, reference.path, reference.field) == (store, path, field)
    assert reference == text


def test_a_reference_to_an_environment_variable_is_refused_with_the_reason() -> None:
    """People try this first."""
    for text in ("env:STRIPE_KEY", "$STRIPE_KEY", "${STRIPE_KEY}"):
        with pytest.raises(ValueError, match=r"environment variable.*write a reference"):
            SecretRef.parse(text)


@pytest.mark.parametrize(
    "wrap", ["{}", "Bearer {}", "env:{}", "${}", "{} ", "FILES:{}", ":{}", "files:", "files:{} x", "a:b#{}#c"]
)
def test_a_refused_text_is_never_repeated(wrap: str, canary: str) -> None:
    """What stands there may be the secret itself, and the sentence goes to a log."""
    with pytest.raises(ValueError, match="write a reference") as refused:
        SecretRef.parse(wrap.format(canary))
    assert canary not in "".join(traceback.format_exception(refused.value)).replace("SecretRef.parse", "")


@pytest.mark.parametrize("given", [None, 7, ["files:key"], {"store": "files"}])
def test_what_is_no_text_is_no_reference(given: object) -> None:
    """TOML has other types."""
    with pytest.raises(ValueError, match="named by a reference"):
        SecretRef.parse(given)
