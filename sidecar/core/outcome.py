"""Outcome: how a call ended, in one of four words."""

from enum import StrEnum


class Outcome(StrEnum):
    """What is counted and logged at the end of each call."""

    SUCCESS = "success"  # The vendor answered below 500, and the app has the last byte.
    FAILURE = "failure"  # The vendor or the way to it went wrong.
    REJECTED = "rejected"  # The sidecar said no; nothing was sent.
    CANCELLED = "cancelled"  # The app hung up first. Never the vendor's failure.
