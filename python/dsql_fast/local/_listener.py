"""The listening socket."""

from __future__ import annotations

import socket

HOST_ADDRESS = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """Bind to loopback, and to nothing else: the keys are for tests, the data is nobody's.

    Args:
        port: 0 for any that is free.

    Raises:
        OSError: If it is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST_ADDRESS, port))
        # As deep as it gets: the test of a full burst opens a thousand connections at once.
        listener.listen(4096)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
