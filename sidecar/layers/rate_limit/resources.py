"""Resources: which part of a vendor's API a call belongs to, where the vendor keeps a limit for each (GitHub, Okta).

Only the answer tells it, so the next call of the same route with the same first path segments is taken to be alike.
"""

from typing import Final

REMEMBERED_MAX: Final = 256  # Full: what was told longest ago is forgotten, and its calls wait for common limits only.


class Resources:
    """The resource last told, by route and the first path segments."""

    __slots__ = ("_segments", "_told")

    def __init__(self, segments: int) -> None:
        self._segments = segments
        self._told: dict[str, str] = {}  # In the order in which they were told.

    def find(self, route: str, target: bytes) -> str:
        """Give the resource of a call; "" when it is not known, or when the vendor has none."""
        if not self._told:
            return ""
        return self._told.get(self._key(route, target), "")

    def learn(self, route: str, target: bytes, resource: str) -> None:
        """Remember what an answer told."""
        told = self._told
        key = self._key(route, target)
        if told.pop(key, None) is None and len(told) >= REMEMBERED_MAX:
            del told[next(iter(told))]
        told[key] = resource

    def _key(self, route: str, target: bytes) -> str:
        path = target.partition(b"?")[0].decode("latin-1")
        return "/".join([route, *path.strip("/").split("/")[: self._segments]])

    def __len__(self) -> int:
        return len(self._told)
