"""Listed: the items of a batch in lines, read one at a time; a line that is no item says why."""

from typing import NamedTuple

from sidecar.core.body import Body
from sidecar.core.errors import BadRequest, BodyTooLarge, SidecarError
from sidecar.queue.batch.config import BatchConfig
from sidecar.queue.batch.item import Broken, Item, read
from sidecar.queue.batch.lines import Lines


class Listed(NamedTuple):
    """An item, and where it stands."""

    item: Item | SidecarError  # An error: the line is no item.
    id: str | None
    number: int  # From 0.


class ListedItems:
    """Gives the items of a body of lines; no line is read before it is asked for."""

    def __init__(self, body: Body, config: BatchConfig) -> None:
        self._config = config
        self._lines = Lines(body, int(config.line_max))
        self._count = 0

    async def next(self) -> Listed | None:
        """Give the next one; None at the end.

        Raises what the request's body failed with, BodyTooLarge after the last one allowed.
        """
        line = await self._lines.next()
        if line is None:
            return None
        number, most = self._count, self._config.items_max
        if number >= most:
            raise BodyTooLarge(f"the batch has more than batch.items_max = {most} items; the rest was not read")
        self._count += 1
        if not line:
            return Listed(BodyTooLarge(f"the line is over batch.line_max = {self._config.line_max}"), None, number)
        item = read(line)
        if isinstance(item, Broken):
            where = item.where.removeprefix(".")
            return Listed(
                BadRequest(f"the line is no item: {where}{': ' if where else ''}{item.what}"), item.id, number
            )
        return Listed(item, item.id, number)
