"""`[batch]`: the bounds of `POST /_sidecar/batch/{service}`."""

from sidecar.core.section import Section
from sidecar.core.units import Size


class BatchConfig(Section, kw_only=True):
    """How much one batch may be. What is over a bound of the whole gets 413; of one item, that item alone."""

    batches_max: int = 16  # Under way in this pod at once. Full: 503 with Retry-After.
    items_max: int = 10_000  # Of one batch.
    concurrency_max: int = 64  # Items under way at once; 8 unless the batch says otherwise.
    request_max: Size = Size(32 * 2**20)  # The JSON form as a whole, which is held in memory; lines are not.
    line_max: Size = Size(2**20)  # One line of the form in lines.
    body_max: Size = Size(2**20)  # The body of one item's answer.
    answer_max: Size = Size(64 * 2**20)  # The JSON form's answer as a whole; items beyond it are told without body.
