from sidecar.auth.signing.passthrough import PassthroughCredential
from sidecar.core.body import NO_BODY, Headers
from sidecar.core.call import Call
from sidecar.telemetry.redact import Redactor

OWN: Headers = [(b"Authorization", b"Bearer the-users-own-token"), (b"Cookie", b"session=1")]


def passed(own: Headers, headers: Headers | None = None) -> Headers:
    """Put what the app brought on a call."""
    call = Call("crm", "GET", b"/", headers or [], NO_BODY)
    call.app_credentials = own
    PassthroughCredential().put_on(call)
    return call.headers


def test_the_apps_authorization_goes_on_as_it_is() -> None:
    """Its cookies do not: that is another key of the service's."""
    assert passed(OWN, [(b"Accept", b"*/*")]) == [(b"Accept", b"*/*"), OWN[0]]


def test_it_goes_once_where_forward_names_it_too() -> None:
    """Two Authorization fields are a request that no vendor reads as meant."""
    assert passed(OWN, [OWN[0]]) == [OWN[0]]


def test_without_one_the_call_goes_without() -> None:
    """The vendor says what it thinks of that."""
    assert passed([]) == []


def test_a_second_attempt_has_it_too() -> None:
    """Attempts share the list of headers, so nothing is changed in place."""
    call = Call("crm", "GET", b"/", [], NO_BODY)
    call.app_credentials = OWN
    for attempt in (call.attempt(), call.attempt()):
        PassthroughCredential().put_on(attempt)
        assert attempt.headers == [OWN[0]]
    assert call.headers == []


def test_it_is_in_no_log_line() -> None:
    """No store knows the value, so the name of the header is what masks it."""
    lines = Redactor().headers([*passed(OWN), (b"authorization", b"raw-value-without-a-scheme")])
    assert "token" not in "".join(lines)
    assert "raw" not in "".join(lines)
