"""`queue`: which calls may happen later, and how jobs are tried."""

from typing import Literal
from urllib.parse import urlsplit

from sidecar.core.hosts import is_local_host
from sidecar.core.secret import SecretRef
from sidecar.core.section import Section
from sidecar.core.units import Duration, Rate, Size

_SCHEDULE = tuple(Duration(seconds) for seconds in (1, 5, 30, 120, 600, 1800, 3600))


class QueueConfig(Section, kw_only=True):
    """A line of jobs: those of a service, or of a route that has a section of its own."""

    # When a call becomes a job: "asked": the app said Prefer: respond-async; "unavailable": also when the vendor is
    # not to be had; "always".
    when: Literal["asked", "unavailable", "always"] = "unavailable"
    schedule: tuple[Duration, ...] = _SCHEDULE  # Before each further attempt, up to half of it less; the last repeats.
    age_max: Duration = Duration(86400)  # From its acceptance. Older: a dead letter.
    concurrency: int = 4  # Jobs of the line that run at once, in each pod.
    rate: Rate = Rate.parse("50/s")  # At most so many begin in so much time, in each pod; a vendor that is back heals.
    length_max: int = 100_000  # Jobs that wait or run. Full: 503 queue_full.
    bytes_max: Size = Size(2**30)  # Of these, with their bodies. The same.
    body_max: Size = Size(2**20)  # Of one request. Longer: 413.
    answer_max: Size = Size(256 * 2**10)  # Of the vendor's answer. Longer: the job has its head alone.
    keep_for: Duration = Duration(86400)  # For so long jobs that ended can be asked about;
    dead_for: Duration = Duration(14 * 86400)  # dead letters so long.
    callback: str | None = None  # Of the app: gets each result by POST.
    callback_secret: SecretRef | None = None  # With which that is signed, as Standard Webhooks has it.

    def problems(self) -> list[tuple[str, str]]:
        """Hold the callback to the pod, and the schedule to something."""
        found = []
        if not self.schedule:
            found.append(("schedule", 'write at least one length of time, such as ["1s", "1m"]'))
        if self.callback is not None and not is_the_pods(self.callback):
            found.append(("callback", 'write an address of the app in this pod, such as "http://127.0.0.1:8080/jobs"'))
        if (self.callback is None) != (self.callback_secret is None):
            found.append(
                ("callback_secret", "a result is signed, so that the app knows who sent it: write callback and this")
            )
        return found


def is_the_pods(url: str) -> bool:
    """Whether a URL is one of the app's in this pod."""
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        return False
    is_plain = split.scheme == "http" and split.username is None and not split.fragment and port != 0
    return is_plain and bool(split.hostname) and is_local_host(split.netloc, frozenset())
