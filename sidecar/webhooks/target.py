"""Target: where the app takes its events, by HTTP on loopback or on a Unix socket."""

from sidecar.core.address import Address
from sidecar.layers.defer.config import is_the_pods

_SAY = (
    'write an address of the app in this pod, such as "http://127.0.0.1:8080/hooks/stripe" or '
    '"unix:/run/app.sock:/hooks/stripe"'
)


class Target(str):
    """`http://127.0.0.1:8080/hooks` or `unix:/run/app.sock:/hooks`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> "Target":
        """Read it. Raises ValueError with a sentence that says what to write."""
        if not isinstance(text, str):
            raise ValueError(_SAY)
        target = cls(text)
        if text.startswith("unix:"):
            Address.parse(f"unix:{target.socket}")
        if not is_the_pods(target.url) or any(not "!" <= letter <= "~" for letter in target.url):
            raise ValueError(_SAY)
        return target

    @property
    def socket(self) -> str:
        """The path of the Unix socket; "" for none."""
        return self.removeprefix("unix:").partition(":")[0] if self.startswith("unix:") else ""

    @property
    def url(self) -> str:
        """What is asked for there."""
        if not self.startswith("unix:"):
            return str(self)
        return "http://localhost" + (self.removeprefix("unix:").partition(":")[2] or "/")
