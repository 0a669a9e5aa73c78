"""What vendors tell, made by hand; and a limiter over it."""

from sidecar.core.advice import Advice, Told
from sidecar.layers.rate_limit.announced import Announced
from sidecar.layers.rate_limit.limiter import Limiter
from sidecar.layers.rate_limit.window import Window

NOW = 1000.0


def silent(now: float = NOW) -> Announced:
    """A vendor that told nothing yet."""
    return Announced(now, hint_max=900, pace_below=0.2, settle=0.02, resource_segments=1)


def limiter(*rates: tuple[str, float, float], burst: float | None = None, replicas: int = 1) -> Limiter:
    """A limiter with windows of its own: (name, count, seconds)."""
    made = Limiter(silent())
    for name, count, seconds in rates:
        made.hold(name, count, seconds, NOW, burst=burst, replicas=replicas)
    return made


def advice(*told: Told, retry_after: float | None = None, is_throttled: bool = False, is_final: bool = False) -> Advice:
    """One answer's."""
    made = Advice()
    made.told = list(told)
    made.retry_after = retry_after
    made.is_throttled = is_throttled
    made.is_final = is_final
    return made


def window(limit: float | None, remaining: float, reset_in: float | None, *, resource: str = "") -> Told:
    """One window."""
    return Told("requests", limit=limit, remaining=remaining, reset_in=reset_in, resource=resource)


class Vendor:
    """Sends attempts through an `Announced` and answers them by hand."""

    def __init__(self) -> None:
        self.announced = silent()

    def send(self, now: float, resource: str = "") -> tuple[float, float, str]:
        """Send an attempt; gives what `answer` needs."""
        return self.announced.take(now, 1.0, resource), now, resource

    def answer(self, sent: tuple[float, float, str], said: Advice, now: float, target: bytes = b"/x") -> float:
        """Answer an attempt."""
        number, sent_at, resource = sent
        self.announced.done(number, sent_at, 1.0, resource, now)
        return self.announced.hear(said, sent_at=sent_at, number=number, cost=1.0, route="", target=target, now=now)

    def tell(self, said: Advice, now: float, target: bytes = b"/x") -> float:
        """Send an attempt and answer it in the same moment."""
        return self.answer(self.send(now), said, now, target)

    def wait(self, now: float, ahead: float = 0.0, resource: str = "") -> float:
        """How long the next attempt waits."""
        return self.announced.wait(now, 1.0, ahead, resource)


def opened(limit: float | None, remaining: float, reset_in: float | None, now: float = NOW) -> Window:
    """A window of which one answer told."""
    told = window(limit, remaining, reset_in)
    made = Window(told, 0.0, -1.0, now, cost=1.0, pace_below=0.2, settle=0.02)
    made.hear(told, now, 1.0, now, since=0.0, is_throttled=False)
    return made
