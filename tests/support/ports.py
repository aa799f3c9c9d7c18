"""A port for a program that has to be told one."""

from __future__ import annotations

import random
import socket

# Below those that systems give to whoever asks for any: a test beside this one cannot get it before
# the program binds it. (Linux: 32768 to 60999, macOS and Windows: from 49152.)
_PORTS = range(20_000, 32_000)

# The global generator may be seeded alike in all of pytest's workers.
_random = random.SystemRandom()


def free_port() -> int:
    """Return a port of the loopback interface that nothing listens on."""
    while True:
        port = _random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
