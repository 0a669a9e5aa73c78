"""Config: `[webhooks.<name>]`, what a vendor sends to `POST /<name>`, and how the app gets it."""

import re

from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Duration, Rate, Size
from sidecar.webhooks.scheme import Scheme
from sidecar.webhooks.target import Target

_SCHEDULE = tuple(Duration(seconds) for seconds in (5, 30, 120, 600, 3600, 6 * 3600))
BATCH_MAX = 1000  # Events in one delivery.
URL = re.compile(r"https?://[!-\"$->@-~]+")  # No query and no fragment: the query is the request's own.


class WebhookConfig(Section, kw_only=True):
    """One webhook: received, verified and kept; then delivered to the app, or fetched by it."""

    provider: str | None = None  # Whose form of signature it is: a preset.
    signature: Scheme | None = None  # How it is signed, where there is no preset.
    settings: dict[str, str] = {}  # What the form asks for and is no secret, such as PayPal's webhook_id.
    secret: SecretRef | tuple[SecretRef, ...] = ()  # With which it is verified; several while it rotates.
    secret_from_handshake: bool = (
        False  # The vendor's first handshake brings it: it is put there, where nothing is yet.
    )
    confirm: bool = False  # Ask the URL by which the vendor has a new subscription confirmed (AWS SNS).
    url: str | None = None  # Under which the vendor calls, where it signs that; else as the request says.
    types: tuple[str, ...] = ()  # Of events, such as "invoice.*"; others are acknowledged and dropped. Empty: all.
    deliver_to: Target | None = None  # Of the app. Absent: it fetches its events, GET /_sidecar/events/{name}.
    deliver_secret: SecretRef | None = None  # With which deliveries are signed, as Standard Webhooks has it.
    deliver_timeout: Duration = Duration(30)  # For the app to take one.
    deliver_batch: int = 1  # Events in one delivery; above 1 they go as lines of JSON, and each has an answer.
    concurrency: int = 8  # Deliveries at once, in each pod.
    rate: Rate = Rate.parse("500/s")  # At most so many events begin in so much time, in each pod.
    order_by: str | None = None  # JMESPath into the body: events for which it gives the same keep their order.
    schedule: tuple[Duration, ...] = _SCHEDULE  # Before each further attempt, up to half of it less; the last repeats.
    age_max: Duration = Duration(3 * 86400)  # From its acceptance. Older: a dead letter.
    dedupe_for: Duration = Duration(7 * 86400)  # So long after its delivery the same event is known again;
    dead_for: Duration = Duration(14 * 86400)  # dead letters are kept so long.
    keep_bodies: bool = False  # Of delivered events, for dedupe_for: they can be delivered once more (replay).
    body_max: Size = Size(2**20)  # Of one event. Longer: 413.
    length_max: int = 100_000  # Events that wait. Full: 503.
    bytes_max: Size = Size(2**30)  # Of these, with their headers. The same.

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """All of them, the one in use first."""
        return (self.secret,) if isinstance(self.secret, SecretRef) else self.secret

    def problems(self) -> list[tuple[str, str]]:
        """Hold the keys to each other."""
        found = []
        if not self.schedule:
            found.append(("schedule", 'write at least one length of time, such as ["5s", "1m"]'))
        if self.url is not None and not URL.fullmatch(self.url):
            found.append(("url", 'write it without a query, such as "https://hooks.example.com/stripe"'))
        if self.deliver_batch > BATCH_MAX:
            found.append(("deliver_batch", f"write at most {BATCH_MAX}"))
        if self.deliver_to is None and self.deliver_secret is not None:
            found.append(("deliver_secret", "there is no deliver_to: what the app fetches is not signed"))
        if self.deliver_to is None and self.deliver_batch != 1:
            found.append(("deliver_batch", "there is no deliver_to: who fetches events says how many"))
        if any(not pattern or not pattern.isprintable() for pattern in self.types):
            found.append(("types", 'write types of events, with "*" for any letters, such as "invoice.*"'))
        return found
