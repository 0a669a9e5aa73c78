"""Query: one parameter put into a request target, in place of whatever stands there under its name; or taken out."""

from urllib.parse import unquote_to_bytes


def put(target: bytes, name: bytes, value: bytes) -> bytes:
    """Give the target with `name=value` at the end of its query; both are encoded already.

    What the app sent under this name goes, however the name is encoded: of two values, some vendors take the first.
    Nothing else of the query changes its bytes.
    """
    path, _, query = target.partition(b"?")
    return path + b"?" + b"&".join([*_others(query, name), name + b"=" + value])


def without(target: bytes, name: bytes) -> bytes:
    """Give the target without the parameter `name`, which is encoded already; a target without it as it is."""
    path, _, query = target.partition(b"?")
    kept = _others(query, name)
    if len(kept) == len([pair for pair in query.split(b"&") if pair]):
        return target
    return path + b"?" + b"&".join(kept) if kept else path


def _others(query: bytes, name: bytes) -> list[bytes]:
    plain = unquote_to_bytes(name)
    return [pair for pair in query.split(b"&") if pair and _plain(pair.partition(b"=")[0]) != plain]


def _plain(name: bytes) -> bytes:
    return unquote_to_bytes(name) if b"%" in name else name
