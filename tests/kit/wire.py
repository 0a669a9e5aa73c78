"""What both ends of a raw connection can do to it, besides sending bytes."""

import asyncio
import contextlib
import socket
import struct

LINGER_OFF = struct.pack("ii", 1, 0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer gets RST: it learns nothing about what was still on the way."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.family != socket.AF_UNIX:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_OFF)
    writer.transport.abort()


async def send(writer: asyncio.StreamWriter, raw: bytes) -> None:
    """Send bytes, and return when the kernel has all of them. Raises ConnectionError."""
    if writer.transport.is_closing():
        raise ConnectionResetError("the connection is closed")
    writer.transport.set_write_buffer_limits(high=0)
    writer.write(raw)
    await writer.drain()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close, and wait until the socket is gone; a peer that was faster is no fault."""
    writer.close()
    with contextlib.suppress(ConnectionError, TimeoutError):
        await writer.wait_closed()
