"""How much of the store's room is used, for the metric."""

from sidecar.storing import used


def test_the_share_is_that_of_a_file_with_a_bound() -> None:
    """Of the store's own, or of its fallback's; memory clears itself when it is full, and Valkey has its own bounds."""
    file = {"kind": "sqlite", "used_bytes": 50, "bytes_max": 200}
    assert used(file) == [((), 0.25)]
    assert used({"kind": "valkey", "up": True, "fallback": file}) == [((), 0.25)]
    assert used({"kind": "valkey", "up": True}) == []
    assert used({"kind": "memory", "up": True, "used_bytes": 9}) == []
