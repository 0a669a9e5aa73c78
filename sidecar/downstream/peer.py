"""Peer of a connection: asked once, when it is made; the kernel answers, not the app."""

import asyncio
import socket
import struct

from sidecar.core.peer import Peer

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid.


def peer_of(transport: asyncio.BaseTransport) -> Peer | None:
    """Give who connected to a Unix socket; None on TCP, and where the kernel has no SO_PEERCRED."""
    sock = transport.get_extra_info("socket")
    option = getattr(socket, "SO_PEERCRED", None)
    if sock is None or option is None or sock.family != socket.AF_UNIX:
        return None
    pid, uid, gid = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size))
    return Peer(uid, gid, pid)
