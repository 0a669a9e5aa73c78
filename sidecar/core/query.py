"""Query: one parameter put into a request target, in place of whatever stands there under its name."""

from urllib.parse import unquote_to_bytes


def put(target: bytes, name: bytes, value: bytes) -> bytes:
    """Give the target with `name=value` at the end of its query; both are encoded already.

    What the app sent under this name goes, however the name is encoded: of two values, some vendors take the first.
    Nothing else of the query changes its bytes.
    """
    path, _, query = target.partition(b"?")
    plain = unquote_to_bytes(name)
    kept = [pair for pair in query.split(b"&") if pair and _plain(pair.partition(b"=")[0]) != plain]
    return path + b"?" + b"&".join([*kept, name + b"=" + value])


def _plain(name: bytes) -> bytes:
    return unquote_to_bytes(name) if b"%" in name else name
