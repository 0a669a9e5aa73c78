"""Batch: which items of one request went well, and which are worth sending again. Pure: no clock, no I/O."""

from collections.abc import Iterator

from sidecar.layers.batch.config import BatchConfig
from sidecar.layers.pieces import Misfit, id_text, read
from sidecar.upstream.hints.expression import Expression, is_true

STEP = 200  # Items judged in one go, a few microseconds each; then other calls have their turn.


class Verdicts:
    """How an answer's items are judged; compiled at load."""

    __slots__ = ("answer_id", "failed", "id", "retryable")

    def __init__(self, config: BatchConfig) -> None:
        self.failed: Expression = Expression(config.failed)
        self.retryable: Expression | None = None if config.retryable is None else Expression(config.retryable)
        self.id: Expression | None = None if config.id is None else Expression(config.id)
        self.answer_id: Expression | None = self.id if config.answer_id is None else Expression(config.answer_id)


class Batch:
    """The items of one request, each with the last answer that the vendor gave for it.

    An item whose answer said that it went well is never due again. Raises Misfit for items that cannot be told apart.
    """

    __slots__ = ("_failed", "_places", "_verdicts", "answers", "due", "is_in_order", "items")

    def __init__(self, verdicts: Verdicts, items: list[bytes]) -> None:
        self.items = items
        self.answers: list[bytes] = []
        self.due: list[int] = list(range(len(items)))  # What is to be sent now, in the order asked.
        self.is_in_order = True  # The first answer had its items in the order asked.
        self._verdicts = verdicts
        self._failed: set[int] = set()
        self._places: dict[str, int] = {}
        if verdicts.id is not None:
            for place, item in enumerate(items):
                self._places[id_text(_search(verdicts.id, read(item)))] = place
            if len(self._places) < len(items):
                raise Misfit("two items of the request have the same id")

    @property
    def failed(self) -> int:
        """How many items failed, as far as is known."""
        return len(self._failed)

    def to_send(self) -> list[bytes]:
        """Give the items that are due."""
        return [self.items[place] for place in self.due]

    def take(self, answers: list[bytes]) -> Iterator[None]:
        """Take the answer to what was due, and see what is due now; pauses after each STEP.

        Raises Misfit, with nothing taken, when the answer does not have exactly one item for each that was sent.
        """
        sent = self.due
        if len(answers) != len(sent):
            raise Misfit(f"the answer has {len(answers)} items for the {len(sent)} that were sent")
        by_id = self._verdicts.answer_id
        waiting = set(sent)
        places: list[int] = []
        failed: list[int] = []
        due: list[int] = []
        for number, answer in enumerate(answers):
            document = read(answer)
            place = sent[number] if by_id is None else self._places.get(id_text(_search(by_id, document)), -1)
            if place not in waiting:
                raise Misfit("the answer names an item that was not sent, or one twice")
            waiting.discard(place)
            places.append(place)
            if is_true(_search(self._verdicts.failed, document)):
                failed.append(place)
                if self._verdicts.retryable is None or is_true(_search(self._verdicts.retryable, document)):
                    due.append(place)
            if number % STEP == STEP - 1:
                yield
        assert not waiting, "as many answers as items, and each for another one"
        self._settle(places, answers, failed, due)

    def _settle(self, places: list[int], answers: list[bytes], failed: list[int], due: list[int]) -> None:
        if not self.answers:
            self.answers = [b""] * len(self.items)
            self.is_in_order = places == self.due
        for place, answer in zip(places, answers, strict=True):
            self.answers[place] = answer
        self._failed.difference_update(places)
        self._failed.update(failed)
        self.due = sorted(due)
        assert self._failed.issuperset(self.due), "only what failed is sent again"


def _search(query: Expression, document: object) -> object:
    try:
        return query.search(document)
    except ValueError as error:
        raise Misfit(str(error)) from None
