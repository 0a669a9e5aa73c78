from sidecar.auth.signing.parts import Parts
from sidecar.core.secret import Secret, SecretRef
from tests.auth.signing.keeping import held

ONE, TWO = SecretRef.parse("main:pair#one"), SecretRef.parse("main:pair#two")


def test_fields_of_one_stored_value_are_taken_in_one_version() -> None:
    """They are read one after the other, and the new half with the old half is no credential."""
    first, second = held(ref=ONE), held(ref=TWO)
    taken: list[list[bytes]] = []
    parts = Parts([first, second], lambda secrets: taken.append([secret.reveal() for secret in secrets]))
    assert "not been read" in parts.problem
    first.put(Secret(b"a", "1"))
    assert taken == []
    second.put(Secret(b"b", "1"))
    first.put(Secret(b"c", "2"))
    assert taken == [[b"a", b"b"]]
    assert "different versions" in parts.problem
    second.put(Secret(b"d", "2"))
    assert taken == [[b"a", b"b"], [b"c", b"d"]]


def test_parts_of_different_places_are_taken_as_they_come() -> None:
    """Their versions say nothing about each other."""
    first, second = held(b"a"), held(ref=TWO)
    taken: list[list[bytes]] = []
    Parts([first, second], lambda secrets: taken.append([secret.reveal() for secret in secrets]))
    second.put(Secret(b"b", "other"))
    first.put(Secret(b"c", "2"))
    assert taken == [[b"a", b"b"], [b"c", b"b"]]


def test_the_same_values_are_taken_once() -> None:
    """All may be there at the beginning, and a store may write the same once more."""
    first, second = held(b"a"), held(b"b", TWO)
    taken: list[int] = []
    parts = Parts([first, second], lambda secrets: taken.append(len(secrets)))
    first.put(Secret(b"a", "2"))
    assert taken == [2]
    parts.release()
    first.put(Secret(b"z", "3"))
    assert taken == [2]
