"""What is refused as a fragment, with where and why; all at once."""

import json
from typing import Any

import pytest

from sidecar.kubernetes.fragment import FragmentError, read_fragment
from tests.kit.admission import Json, fragment, fragment_data

PORT = "container.ports[0].containerPort"


def refused(data: object) -> list[tuple[str, str]]:
    """Give the problems of a fragment that is refused."""
    with pytest.raises(FragmentError) as error:
        read_fragment(data if isinstance(data, bytes) else json.dumps(data).encode())
    return error.value.problems


def test_a_fragment_is_taken_as_it_stands() -> None:
    """What the chart rendered goes into pods unchanged."""
    data = fragment_data()
    read = fragment()
    assert (read.container, list(read.volumes)) == (data["container"], data["volumes"])
    assert read.ports == {(4002, "TCP"), (4003, "TCP")}
    assert read.may_be_in("shop")
    assert not read.may_be_in("shops")
    assert fragment(namespaces=("*",)).may_be_in("anywhere")


def test_the_optional_keys_may_be_missing() -> None:
    """A config without volumes, say."""
    container = {"name": "sidecar", "image": "i"}
    read = read_fragment(json.dumps({"namespaces": ["a"], "native": False, "container": container}).encode())
    assert (read.volumes, read.app_volume_mounts, read.ports) == ((), (), frozenset())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "this is not JSON: "),
        (b"{", "this is not JSON: "),
        (b'"\xff"', "this is not JSON: "),
        (b"[" * 200_000, "this is nested too deeply"),
        (b"[]", "write an object in braces"),
        (b"null", "write an object in braces"),
    ],
)
def test_what_is_no_object_is_told(text: bytes, sentence: str) -> None:
    """The path is the file's alone."""
    ((path, why),) = refused(text)
    assert path == ""
    assert why.startswith(sentence)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """Each with its path; whoever mends a fragment mends it once."""
    problems = refused(
        {
            "nativ": True,
            "namespaces": ["shop", "Shop", 7],
            "container": {"name": "app"},
            "volumes": [{"name": "a"}, {"name": "a"}, {}],
            "annotations": {"a": 1},
            "appVolumeMounts": [{"name": "b", "mountPath": "/x"}, {"name": "a", "mountPath": "/x/"}, {"name": "a"}],
        }
    )
    assert [path for path, _ in problems] == [
        "native",
        "nativ",
        "namespaces[2]",
        "annotations[...]",
        "volumes[1].name",
        "volumes[2]",
        "container.name",
        "container.image",
        "appVolumeMounts[0].name",
        "appVolumeMounts[1].mountPath",
        "appVolumeMounts[2]",
    ]
    told = dict(problems)
    assert told["native"] == "is missing; write true or false"
    assert told["nativ"].startswith("is not known here; known are: namespaces, native, container")
    assert told["namespaces[2]"] == "expected `str`, got `int`"
    assert told["volumes[2]"] == "object missing required field `name`"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"namespaces": []}, "namespaces"),
        ({"namespaces": ["a b"]}, "namespaces[0]"),
        ({"namespaces": ["shop-"]}, "namespaces[0]"),
        ({"namespaces": "*"}, "namespaces"),
        ({"native": "true"}, "native"),
        ({"native": False}, "container.restartPolicy"),
        ({"container": []}, "container"),
        ({"container": {"name": "sidecar", "image": "i", "restartPolicy": "OnFailure"}}, "container.restartPolicy"),
        ({"container": {"name": "sidecar", "image": "", "restartPolicy": "Always"}}, "container.image"),
        ({"container": {"name": "sidecar", "image": "i", "ports": [{"containerPort": ""}]}}, PORT),
        ({"volumes": []}, "appVolumeMounts[0].name"),
        ({"volumes": {}}, "volumes"),
        ({"podSecurityContext": []}, "podSecurityContext"),
        ({"annotations": None}, "annotations"),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong_is_told_with_its_path(changes: Json, path: str) -> None:
    """What would have the API server refuse every pod that this is put into, or lets nobody have it."""
    data: dict[str, Any] = {**fragment_data(), **changes}
    assert path in [where for where, _ in refused(data)]
