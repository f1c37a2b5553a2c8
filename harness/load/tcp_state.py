"""What the kernel knows of a TCP connection before the event loop does: its end, and what of a request has arrived.

Linux only, as the load hosts are: poll(2) for POLLRDHUP, tcp(7) for TCP_INFO, `struct tcp_info` of linux/tcp.h.
"""

from __future__ import annotations

import asyncio
import select
import socket
import struct

_ENDED = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_ACKED, _SENT, _RETRANSMITTED = 120, 200, 208
"""Offsets of tcpi_bytes_acked, tcpi_bytes_sent and tcpi_bytes_retrans (Linux 4.19 and later), 64 bits each."""
_INFO_BYTES = 216
_CLOSE_NOTIFY_BYTES = 32
"""TLS may have sent this after the request, as a response to the end of the connection; a request is longer."""


def has_ended(transport: asyncio.BaseTransport) -> bool:
    """Whether the connection has ended, by the peer or here, also before its owner is told. Costs 2 µs.

    TLS tells the owner one round of the event loop after the socket is gone.
    """
    own = transport.get_extra_info("socket")
    if own is None or own.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(own.fileno(), select.POLLRDHUP)
    return any(events & _ENDED for _, events in poll.poll(0))


def is_acknowledged(transport: asyncio.BaseTransport) -> bool:
    """Whether the peer's kernel acknowledged all that was sent; True if the kernel here does not say.

    Asked when the peer has ended the connection with FIN. If its process had read the request, the FIN acknowledges it.
    If the connection was closed before the request came, the peer's kernel resets it and never acknowledges. (A peer
    that closes with a request unread resets the connection and sends no FIN: RFC 1122, 4.2.2.13.)
    """
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except (AttributeError, OSError):
        return True
    if len(info) < _INFO_BYTES:
        return True
    acked, sent, retransmitted = (
        struct.unpack_from("=Q", info, offset)[0] for offset in (_ACKED, _SENT, _RETRANSMITTED)
    )
    return bool(sent - retransmitted - (acked - 1) <= _CLOSE_NOTIFY_BYTES)  # acked counts the SYN as one
