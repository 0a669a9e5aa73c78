"""Answers: what Google says of a secret, read strictly; its refusals in sentences of ours, without its words."""

import base64
import binascii
import re

import msgspec

from sidecar.auth.secrets.gcp.crc32c import crc32c
from sidecar.auth.secrets.gcp.http import Answer
from sidecar.auth.secrets.store import StoreFailed
from sidecar.core.secret import Secret

_WORD = re.compile(r"[A-Z_]{1,60}")
_VERSION = re.compile(r"projects/[^/]+(?:/locations/[^/]+)?/secrets/[^/]+/versions/([0-9]{1,20})")

# What Google refuses, by its status. {permission} is what the question needs.
_STATUSES = {
    401: "Google does not accept our access token; is the node's clock right, and the service account's key enabled?",
    403: "{permission} is not allowed; give our service account a role that has it (secretAccessor, viewer, "
    "secretVersionAdder)",
    404: "there is no such secret, or it has no version",
    409: "somebody else made the secret at the same time",
    429: "the project's quota is used up; raise ttl",
}


class NoSuchSecret(StoreFailed):
    """There is no such secret, or it has no version."""


class AlreadyExists(StoreFailed):
    """Somebody else made it."""


class NotEnabled(StoreFailed):
    """The version is disabled or destroyed."""


class Denied(StoreFailed):
    """Our service account lacks a permission."""


class Unauthorized(StoreFailed):
    """Our access token is not accepted."""


class _Payload(msgspec.Struct):
    data: str = ""
    dataCrc32c: str | int | None = None  # noqa: N815 - Google's name


class _Accessed(msgspec.Struct):
    name: str
    payload: _Payload


class _Version(msgspec.Struct):
    name: str


class _Detail(msgspec.Struct):
    reason: str = ""


class _Error(msgspec.Struct):
    status: str = ""
    details: list[_Detail] = []


class _Refusal(msgspec.Struct):
    error: _Error


def refused(answer: Answer, where: str, permission: str) -> StoreFailed:
    """Give the failure for an answer that is not good."""
    refusal = answer.read(_Refusal)
    error = refusal.error if refusal is not None else _Error()
    if any(detail.reason == "SERVICE_DISABLED" for detail in error.details):
        return Denied(f"{where}: the Secret Manager API is not enabled in the project")
    if error.status == "FAILED_PRECONDITION":
        return NotEnabled(
            f"{where}: the version is disabled or destroyed, and Google does not fall back to the one before; "
            "enable it, or add a version"
        )
    word = error.status if _WORD.fullmatch(error.status) else "no status word"
    say = _STATUSES.get(answer.status, f"Google answered {answer.status} ({word})").format(permission=permission)
    kinds = {401: Unauthorized, 403: Denied, 404: NoSuchSecret, 409: AlreadyExists}
    return kinds.get(answer.status, StoreFailed)(f"{where}: {say}")


def accessed(answer: Answer, where: str) -> Secret:
    """Read a version with its value. Raises StoreFailed; the value stands in no sentence."""
    found = answer.read(_Accessed)
    if found is None:
        raise _not_googles(where)
    try:
        value = base64.b64decode(found.payload.data, validate=True)
    except (binascii.Error, ValueError):
        raise _not_googles(where) from None
    told = found.payload.dataCrc32c
    if told is not None and str(told) != str(crc32c(value)):
        raise StoreFailed(f"{where}: the value does not fit its checksum; it was damaged on the way")
    if not value:
        raise StoreFailed(f"{where}: the value is empty")
    return Secret(value, _number(found.name, where))


def version(answer: Answer, where: str) -> str:
    """Read the number of a version. Raises StoreFailed."""
    found = answer.read(_Version)
    if found is None:
        raise _not_googles(where)
    return _number(found.name, where)


def _number(name: str, where: str) -> str:
    match = _VERSION.fullmatch(name)
    if match is None:
        raise _not_googles(where)
    return match[1]


def _not_googles(where: str) -> StoreFailed:
    return StoreFailed(f"{where}: the answer is not one of Google's; is the endpoint right?")
