"""Failures: what AWS and its SDK say, in sentences of ours.

Only codes and names are taken over. The words of AWS and of the SDK stay out: a refused value is quoted in them, and a
failed log-in may hold what came instead of an answer.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from sidecar.auth.secrets.store import StoreFailed

_CODE = re.compile(r"[A-Za-z0-9._:-]{1,80}")
_ACCESS = "give this pod's role the permission for it, and kms:Decrypt for a key of your own"
_OURS = "are the pod's role and its service account bound, and is the clock of the node right?"

# What AWS answers, by its code. {action} is the API's name of what was asked.
_CODES = {
    "AccessDeniedException": f"{{action}} is not allowed; {_ACCESS}",
    "AccessDenied": f"{{action}} is not allowed; {_ACCESS}",
    "ResourceNotFoundException": "there is no such secret, or no version of it has the stage asked for",
    "ExpiredTokenException": "AWS says that our own credentials have expired; they are looked up anew",
    "ExpiredToken": "AWS says that our own credentials have expired; they are looked up anew",
    "UnrecognizedClientException": f"AWS does not know our own credentials; {_OURS}",
    "InvalidClientTokenId": f"AWS does not know our own credentials; {_OURS}",
    "InvalidSignatureException": f"AWS does not accept our signature; {_OURS}",
    "SignatureDoesNotMatch": f"AWS does not accept our signature; {_OURS}",
    "InvalidIdentityToken": f"AWS does not accept the pod's web identity token; {_OURS}",
    "IDPRejectedClaim": f"AWS does not accept the pod's web identity token; {_OURS}",
    "DecryptionFailure": "KMS does not decrypt it; may the pod's role use the key (kms:Decrypt)?",
    "EncryptionFailure": "KMS does not encrypt it; may the pod's role use the key (kms:GenerateDataKey)?",
    "InvalidRequestException": "AWS refuses {action} in the secret's present state; is it marked for deletion?",
    "InvalidParameterException": "AWS refuses a parameter of {action}; is the secret's name right?",
    "ValidationException": "AWS refuses a parameter of {action}; is the secret's name right?",
    "LimitExceededException": "a quota of the account is used up",
    "ThrottlingException": "AWS asks for fewer questions; raise ttl",
    "InternalServiceError": "AWS failed by itself; it is asked again",
    "InternalServiceErrorException": "AWS failed by itself; it is asked again",
}

# What the SDK raises before there is an answer, by the name of the class.
_KINDS = {
    "NoCredentialsError": "no AWS credentials were found; bind a role to the pod's service account",
    "PartialCredentialsError": "the AWS credentials that were found are not whole",
    "CredentialRetrievalError": "AWS credentials could not be had{provider}; bind a role to the pod's service account",
    "MetadataRetrievalError": "the server that hands out the pod's credentials did not answer rightly",
    "EndpointConnectionError": "{host} cannot be reached",
    "ConnectTimeoutError": "{host} did not answer in time",
    "ReadTimeoutError": "{host} did not answer in time",
    "ConnectionClosedError": "{host} broke off",
    "SSLError": "no TLS session with {host}; does its certificate verify, and does ca_file fit?",
    "ProxyConnectionError": "the proxy cannot be reached",
    "ProfileNotFound": "there is no such profile in the SDK's files",
    "ResponseParserError": "the answer is not one of AWS's; is endpoint_url right?",
    "InvalidConfigError": "the SDK's settings are not whole; is AWS_ROLE_ARN set beside AWS_WEB_IDENTITY_TOKEN_FILE?",
    "HTTPClientError": "the question could not be sent; can ca_file be read?",
    "NoRegionError": 'no region is known; write region = "..." in the section',
}

# Another look at the environment may find better ones: files are written anew, roles are bound later.
_STALE = frozenset(("ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"))


class NoSuchSecret(StoreFailed):
    """There is no such secret, or no version with the stage asked for."""


class Denied(StoreFailed):
    """The pod's role lacks a permission."""


class VersionExists(StoreFailed):
    """A version with our token is there already, with another value."""


class StaleLogin(StoreFailed):
    """Our own credentials are missing or no longer good: look them up anew."""


def failed(path: str, action: str, error: Exception) -> StoreFailed:
    """Give the failure for what the SDK raised, which is one of `sdk_errors`."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):
        return _answered(path, getattr(error, "operation_name", action), response)
    where = f"{path} in AWS Secrets Manager"
    if isinstance(error, TimeoutError) and error.errno is None:
        return StoreFailed(f"{where}: no answer within the store's timeout")
    if isinstance(error, OSError):
        what = f"{error.filename} cannot be read" if error.filename else "the network failed"
        return StoreFailed(f"{where}: {what}: {error.strerror or 'no reason is given'}")
    kind = type(error).__name__
    known: dict[str, Any] = getattr(error, "kwargs", {})
    provider = known.get("provider")
    sentence = _KINDS.get(kind, f"the AWS SDK failed with {kind}").format(
        host=_host(known.get("endpoint_url")), provider=f" from {provider}" if provider else ""
    )
    is_stale = kind in {"NoCredentialsError", "PartialCredentialsError"}
    return (StaleLogin if is_stale else StoreFailed)(f"{where}: {sentence}")


def _answered(path: str, action: str, response: dict[str, Any]) -> StoreFailed:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    shown = code if _CODE.fullmatch(code) else "no code"
    other = f"AWS answered {status} to {{action}} ({shown})"
    if status == 403:
        other += "; does the policy of a VPC endpoint or a proxy stand in the way?"
    sentence = f"{path} in AWS Secrets Manager: {_CODES.get(code, other).format(action=action)}"
    if code == "ResourceNotFoundException":
        return NoSuchSecret(sentence)
    if code in {"AccessDeniedException", "AccessDenied"} or (status == 403 and code not in _CODES):
        return Denied(sentence)
    if code == "ResourceExistsException":
        return VersionExists(sentence)
    if code in _STALE:
        return StaleLogin(sentence)
    return StoreFailed(sentence)


def _host(url: object) -> str:
    """Name only the host: the path of a credentials' URL is for this pod alone."""
    return (urlsplit(url).hostname if isinstance(url, str) else None) or "AWS"
