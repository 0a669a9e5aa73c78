"""Secret: stored material that masks itself everywhere, and the reference by which the config names it."""

import re
from typing import NoReturn

REFERENCE = re.compile(
    r"(?P<store>[a-z][a-z0-9_-]*):(?P<path>[^#\s\x00-\x1f\x7f]+)(?:#(?P<field>[^#\s\x00-\x1f\x7f]+))?"
)


class Secret:
    """A value that shows itself only to `reveal()`; so `grep reveal` lists every place that sees one."""

    __slots__ = ("_value", "version")

    def __init__(self, value: bytes, version: str) -> None:
        self._value = value
        self.version = version  # Names the value in logs without telling it: a store's own version or a time.

    def reveal(self) -> bytes:
        """Give the value. Only credentials call this, at the moment they build a header."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class SecretRef(str):
    """`"<store>:<path>#<field>"`, the only way in which a secret stands in the config."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "SecretRef":
        """Read a reference. Raises ValueError with a sentence; the sentence never repeats what was written,

        since what was written may be the secret itself.
        """
        say = 'write a reference "<store>:<path>#<field>" to a [secrets.<store>] section, such as "files:stripe-key"'
        if not isinstance(text, str):
            raise ValueError(f"a secret is named by a reference; {say}")
        if text.startswith(("env:", "$")):
            raise ValueError(
                f"a secret is never taken from an environment variable, where every process sees it; {say}"
            )
        if REFERENCE.fullmatch(text) is None:
            raise ValueError(f"a secret never stands in the config; {say}")
        return cls(text)

    @property
    def store(self) -> str:
        """The name of the `[secrets.<store>]` section."""
        return self.partition(":")[0]

    @property
    def path(self) -> str:
        """Where in the store."""
        return self.partition(":")[2].partition("#")[0]

    @property
    def field(self) -> str | None:
        """Which field of the stored value; None means all of it."""
        return self.partition("#")[2] or None
