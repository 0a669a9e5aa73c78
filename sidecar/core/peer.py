"""Peer: who is at the other end of a Unix socket, as the kernel knows it (SO_PEERCRED, unix(7))."""

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """A process: its user, its group, and its id as we see it: 0 where containers do not see each other's."""

    uid: int
    gid: int
    pid: int
