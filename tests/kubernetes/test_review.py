"""Questions that are none, and the form of the answers."""

import json

import pytest

from sidecar.kubernetes.review import WARNING_MAX, MalformedReview, answer, read_review
from tests.kit.admission import body, review_of

CANARY = "CANARY"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "the body is no AdmissionReview: "),
        (b"CANARY", "the body is no AdmissionReview: JSON is malformed"),
        (b'{"kind":"CANARY', "the body is no AdmissionReview: "),
        (b'{"kind":"\xff"}', "the body is no AdmissionReview: "),
        (b'"CANARY"', "the body is no AdmissionReview: Expected `object`, got `str`"),
        (b"{}", "the body is no AdmissionReview of admission.k8s.io/v1"),
        (
            b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{}}',
            "the body is no AdmissionReview: ",
        ),
        (
            b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}',
            "the body is no AdmissionReview of admission.k8s.io/v1; other versions are not spoken here",
        ),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}', "the AdmissionReview has no request"),
        (b"[" * 200_000, "the body is no AdmissionReview: "),
        (b'{"x":' * 200_000, "the body is no AdmissionReview: it is nested too deeply"),
    ],
    ids=["empty", "word", "cut", "utf8", "string", "object", "v1beta1", "v1beta1 bare", "no request", "list", "deep"],
)
def test_what_is_no_review_is_told_in_a_sentence(text: bytes, sentence: str) -> None:
    """It quotes nothing of what came."""
    with pytest.raises(MalformedReview) as refused:
        read_review(text)
    assert str(refused.value).startswith(sentence)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("uid", "", "the request of the AdmissionReview has no uid"),
        ("uid", "u" * 254, "the uid or the namespace of the request of the AdmissionReview is over 253 characters"),
        (
            "namespace",
            "n" * 254,
            "the uid or the namespace of the request of the AdmissionReview is over 253 characters",
        ),
        ("uid", 7, "the body is no AdmissionReview: Expected `str`, got `int` - at `$.request.uid`"),
        ("operation", None, "the body is no AdmissionReview: Expected `str`, got `null` - at `$.request.operation`"),
        ("resource", "pods", "the body is no AdmissionReview: Expected `object`, got `str` - at `$.request.resource`"),
    ],
)
def test_what_a_request_must_have_is_told(key: str, value: object, sentence: str) -> None:
    """Without it no answer means anything."""
    review = review_of("pod")
    review["request"][key] = value
    with pytest.raises(MalformedReview, match="AdmissionReview") as refused:
        read_review(body(review))
    assert str(refused.value) == sentence


def test_fields_that_come_with_a_later_kubernetes_do_no_harm() -> None:
    """They are skipped."""
    review = review_of("pod")
    review["request"]["novelty"] = review["novelty"] = {"a": [1, None]}
    assert read_review(body(review)).namespace == "shop"


def test_a_warning_is_cut_where_the_api_server_would_cut_it() -> None:
    """With a mark, and a short one stays whole."""
    (long,) = json.loads(answer("u", warning="x" * 1000))["response"]["warnings"]
    assert long == "x" * (WARNING_MAX - 3) + "..."
    assert json.loads(answer("u", warning="x" * WARNING_MAX))["response"]["warnings"] == ["x" * WARNING_MAX]


def test_the_plain_answer_has_nothing_but_what_is_needed() -> None:
    """An empty patch would be an error to the API server."""
    assert json.loads(answer("u")) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "u", "allowed": True},
    }
