"""Placing: which place a section names, and what keys there are like."""

from collections.abc import Callable

from sidecar.core.clock import Clock
from sidecar.layers.idempotency.config import IdempotencyConfig
from sidecar.layers.idempotency.field import FieldPlace
from sidecar.layers.idempotency.places import HeaderPlace, Place, QueryPlace


def place_of(config: IdempotencyConfig, clock: Clock) -> Place:
    """Give where the vendor looks for the key."""
    if config.header is not None:
        return HeaderPlace(config.header)
    if config.query is not None:
        return QueryPlace(config.query)
    if config.field is None:
        return HeaderPlace("Idempotency-Key")
    return FieldPlace(config.field, int(config.body_max), clock)


def keys_of(
    section: IdempotencyConfig, clock: Clock, make_key: Callable[[], str]
) -> tuple[Place, frozenset[str], int, Callable[[], str]]:
    """Give where keys stand, whose calls get one that is made, how long it is, and what makes it."""
    methods = frozenset(section.methods if section.has_place else ())
    return place_of(section, clock), methods, section.key_max, make_key
