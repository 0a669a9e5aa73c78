"""Document: a stored JSON object, of which one field is replaced while the others stay as they are, byte for byte."""

import msgspec

from sidecar.auth.secrets.store import StoreFailed


def with_field(stored: bytes | None, field: str | None, value: bytes, where: str = "the stored value") -> bytes:
    """Give the object with `value` as the text of `field`; without a field the value itself. Raises StoreFailed.

    Numbers and texts of the other fields are not read, so none of them is rounded or written in another way. Nothing
    stored is an object without fields; `where` names it in the sentence of a failure.
    """
    if field is None:
        return value
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise StoreFailed(f"{where} cannot hold in its field {field} what is not UTF-8") from None
    fields = fields_of(stored, where) if stored else {}
    fields[field] = msgspec.Raw(msgspec.json.encode(text))
    return msgspec.json.encode(fields)


def fields_of(stored: bytes, where: str = "the stored value") -> dict[str, msgspec.Raw]:
    """Take an object apart. Raises StoreFailed when it is none; the sentence never repeats it."""
    try:
        return msgspec.json.decode(stored, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        raise StoreFailed(f"{where} is no JSON object, so it has no fields") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Not chained: the error of the JSON reader may repeat the document.
        raise StoreFailed(f"{where} is not JSON, so it has no fields") from None
