"""Asked: the JSON form of a batch, read as a whole; what is wrong with its shape is told all at once."""

import msgspec

from sidecar.core.errors import BadRequest, BodyTooLarge
from sidecar.queue.batch.item import Broken, Item, read, said

PROBLEMS_MAX = 20  # More: the rest is counted.
ENTRIES_MAX = 200_000  # Commas in a batch that is looked at item by item. More: only the first problem is told.


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """A batch whose shape is right."""

    items: list[Item]
    concurrency: int | None = None  # None: it does not say.


class _Shape(msgspec.Struct):
    items: list[msgspec.Raw]


_decode = msgspec.json.Decoder(Asked).decode
_decode_shape = msgspec.json.Decoder(_Shape).decode


def read_asked(content: bytes, items_max: int, concurrency_max: int) -> Asked:
    """Read a batch. Raises BadRequest with every problem, BodyTooLarge for too many items."""
    try:
        asked = _decode(content)
    except UnicodeDecodeError:
        raise BadRequest("the batch is not UTF-8") from None
    except RecursionError:
        raise BadRequest("the batch is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise wrong(_every_problem(content, error)) from None
    except msgspec.DecodeError as error:
        raise BadRequest(f"the batch cannot be read: {said(error)[1]}") from None
    if len(asked.items) > items_max:
        raise BodyTooLarge(f"{len(asked.items)} items are more than batch.items_max = {items_max}")
    broken = [f"items[{index}].body: not UTF-8" for index, item in enumerate(asked.items) if not item.is_text()]
    if broken:
        raise wrong(broken)
    most = concurrency_max
    if asked.concurrency is not None and not 1 <= asked.concurrency <= most:
        raise wrong([f"concurrency: a number from 1 to {most} (batch.concurrency_max)"])
    return asked


def _every_problem(content: bytes, first: msgspec.ValidationError) -> list[str]:
    """Look at each item by itself, for the decoder stops at the first that is wrong."""
    where, what = said(first)
    found = [f"{where.removeprefix('.') or 'the batch'}: {what}"]
    if not where.startswith(".items[") or content.count(b",") > ENTRIES_MAX:
        return found
    try:
        items = [read(raw) for raw in _decode_shape(content).items]
    except (msgspec.DecodeError, RecursionError):
        return found
    every = [f"items[{index}]{item.where}: {item.what}" for index, item in enumerate(items) if isinstance(item, Broken)]
    return every or found


def wrong(problems: list[str]) -> BadRequest:
    """Give the error that tells what is wrong with a batch, of which nothing was done."""
    error = BadRequest(f"the batch is not of the right shape, and nothing of it was sent: {problems[0]}")
    more = len(problems) - PROBLEMS_MAX
    error.problems = (*problems[:PROBLEMS_MAX], *([f"and {more} more"] if more > 0 else []))
    return error
