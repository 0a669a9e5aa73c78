"""Review: what the API server asks (AdmissionReview v1), and the answer in the form that it takes."""

import base64

import msgspec

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
NAME_MAX = 253  # Characters of a uid or a namespace. More: refused; Kubernetes has none that are longer.
WARNING_MAX = 256  # Characters; the API server cuts off what is longer. Over it: cut here, at a mark that shows it.


class MalformedReview(Exception):
    """What came is no question that we know; the sentence says why, and quotes nothing of it."""


class Resource(msgspec.Struct, frozen=True):
    """What kind of thing is written, such as `pods` of the core group."""

    group: str = ""
    version: str = ""
    resource: str = ""


class Request(msgspec.Struct, frozen=True, rename="camel"):
    """The question; of all that it has, what is looked at. The object stays as it came until somebody reads it."""

    uid: str
    operation: str
    resource: Resource
    namespace: str = ""
    name: str = ""
    sub_resource: str = ""
    dry_run: bool | None = None
    object: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def creates_pod(self) -> bool:
        """Whether a pod is to come into being."""
        is_pod = not self.resource.group and self.resource.resource == "pods"
        return is_pod and self.operation == "CREATE" and not self.sub_resource


class _Question(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    request: Request | None = None


class _Response(msgspec.Struct, rename="camel", omit_defaults=True):
    uid: str
    allowed: bool
    patch_type: str = ""
    patch: str = ""
    warnings: tuple[str, ...] = ()


class _Answer(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    response: _Response


_decode = msgspec.json.Decoder(_Question).decode
_encode = msgspec.json.Encoder().encode


def read_review(body: bytes | bytearray) -> Request:
    """Read the question. Raises MalformedReview."""
    try:
        question = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedReview(f"the body is no AdmissionReview: {error}") from None
    except RecursionError:
        raise MalformedReview("the body is no AdmissionReview: it is nested too deeply") from None
    if question.kind != KIND or question.api_version != API_VERSION:
        raise MalformedReview(f"the body is no {KIND} of {API_VERSION}; other versions are not spoken here")
    if question.request is None:
        raise MalformedReview("the AdmissionReview has no request")
    if not question.request.uid:
        raise MalformedReview("the request of the AdmissionReview has no uid")
    if len(question.request.uid) > NAME_MAX or len(question.request.namespace) > NAME_MAX:
        raise MalformedReview(
            f"the uid or the namespace of the request of the AdmissionReview is over {NAME_MAX} characters"
        )
    return question.request


def answer(uid: str, patch: bytes = b"", warning: str = "") -> bytes:
    """Write the answer: allowed, whatever else is true; with a JSON patch, or with a warning to whoever asked."""
    response = _Response(uid, allowed=True)
    if patch:
        response.patch_type, response.patch = "JSONPatch", base64.b64encode(patch).decode()
    if warning:
        response.warnings = (bounded(warning),)
    return _encode(_Answer(API_VERSION, KIND, response))


def bounded(warning: str) -> str:
    """Keep a warning to the length that arrives."""
    return warning if len(warning) <= WARNING_MAX else warning[: WARNING_MAX - 3] + "..."
