"""Batch's settings: where the items of a request and of its answer are, and how the answer says that one failed."""

from sidecar.core.section import Section
from sidecar.core.units import Size
from sidecar.layers.pieces import SAY_PATH, is_path
from sidecar.upstream.hints.expression import Expression

_QUERIES = ("failed", "retryable", "id", "answer_id")


class BatchConfig(Section, kw_only=True):
    """`batch`: off unless it stands there. How often, and after what waits, is `retry`'s to say."""

    request_items: str  # The list in the request's body: "records", "data.items", or "@" for the body itself.
    answer_items: str  # The list in the answer's body, one item for each that was sent.
    failed: str  # JMESPath over an item of the answer: what it finds is true when the item failed.
    retryable: str | None = None  # The same: whether a failed item is worth sending again. Absent: each is.
    id: str | None = None  # JMESPath over an item of the request: what tells it apart. Absent: the place in the list.
    answer_id: str | None = None  # The same over an item of the answer. Absent: as `id`.
    items_max: int = 1000  # A request of more passes as it is.
    body_max: Size = Size(2**20)  # So does a longer request; of a longer answer nothing is sent again.

    def problems(self) -> list[tuple[str, str]]:
        """Give (field, sentence) for each thing that is wrong in this section alone."""
        found = [(field, SAY_PATH) for field in ("request_items", "answer_items") if not is_path(getattr(self, field))]
        for field in _QUERIES:
            text = getattr(self, field)
            if text is not None:
                try:
                    Expression(text)
                except ValueError as error:
                    found.append((field, str(error)))
        if self.answer_id is not None and self.id is None:
            found.append(("answer_id", "it belongs to id, which is not set"))
        return found
