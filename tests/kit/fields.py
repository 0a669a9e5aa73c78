"""The fields of a class, whether it runs from its source or compiled."""


def fields_of(kind: type) -> tuple[str, ...]:
    """Give the names that `__slots__` lists; mypyc keeps them under a name of its own."""
    found = getattr(kind, "__slots__", None) or kind.__dict__["__mypyc_attrs__"]
    assert found
    return tuple(found)
