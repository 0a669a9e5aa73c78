"""Passthrough: the app's own Authorization goes on to the vendor; see the section for what that means."""

from sidecar.core.call import Call


class PassthroughCredential:
    """Puts back what the door took off; holds nothing."""

    __slots__ = ()

    def put_on(self, call: Call) -> None:
        """Put the app's own `Authorization` on. Its cookies stay here: `forward` is for those."""
        own = [field for field in call.app_credentials if field[0].lower() == b"authorization"]
        # Where `forward` names Authorization, too, it is there already, and goes once.
        call.headers = [field for field in call.headers if field[0].lower() != b"authorization"] + own

    def release(self) -> None:
        """Let go of nothing."""
