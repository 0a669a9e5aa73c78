"""Answers: what is taken out of Vault's JSON; all else in it is left unread."""

import msgspec


class Grant(msgspec.Struct):
    """A token, as a login or its renewal gives it."""

    client_token: str
    lease_duration: float
    renewable: bool = False

    def __repr__(self) -> str:
        return "Grant(***)"


class Granted(msgspec.Struct):
    """The answer to a login, and to its renewal."""

    auth: Grant


class TokenLife(msgspec.Struct):
    """How long a token lasts; one that never ends has no expire_time."""

    ttl: float
    renewable: bool = False
    expire_time: str | None = None


class LookUp(msgspec.Struct):
    """The answer to the question about our own token."""

    data: TokenLife


class Options(msgspec.Struct):
    """The options of an engine; version 1 may come without."""

    version: str = "1"


class Mount(msgspec.Struct):
    """An engine at its place."""

    type: str
    options: Options | None = None


class Mounts(msgspec.Struct):
    """The answer to the question which engine is mounted."""

    data: Mount


class Plain(msgspec.Struct):
    """A value of version 1 of the engine."""

    data: msgspec.Raw

    def __repr__(self) -> str:
        return "Plain(***)"


class Lent(msgspec.Struct):
    """The answer of an engine that makes credentials; one of another kind has no lease."""

    data: msgspec.Raw
    lease_id: str = ""
    lease_duration: float = 0
    renewable: bool = False

    def __repr__(self) -> str:
        return "Lent(***)"


class Renewed(msgspec.Struct):
    """The answer to the renewal of a credential's lease."""

    lease_duration: float
    renewable: bool = False


class Version(msgspec.Struct):
    """One version of a value of version 2 of the engine."""

    created_time: str
    version: int = 0
    deletion_time: str = ""  # May be in the future: then the value is still there.
    destroyed: bool = False


class Value(msgspec.Struct):
    """A value of version 2; null when it was deleted."""

    data: msgspec.Raw
    metadata: Version

    def __repr__(self) -> str:
        return "Value(***)"


class Versioned(msgspec.Struct):
    """The answer with a value of version 2."""

    data: Value


class Written(msgspec.Struct):
    """The answer to a write to version 2."""

    data: Version


class History(msgspec.Struct):
    """The versions that are kept, by their numbers."""

    current_version: int
    versions: dict[str, Version]


class Metadata(msgspec.Struct):
    """The answer with everything about a value of version 2 but the value."""

    data: History
