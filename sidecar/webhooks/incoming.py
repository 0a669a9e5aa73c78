"""Incoming: the words in which the room speaks of a webhook that comes in."""

from sidecar.webhooks.message import Handshake, Incoming, NotVerified, Verified

__all__ = ["Handshake", "Incoming", "NotVerified", "Verified"]
