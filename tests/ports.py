"""Ports of loopback that are a test's own, also while nobody listens on them."""

import os
import socket
import weakref


class OwnPort:
    """A port that the system gives to nobody else for as long as this object lives.

    It is bound and never listened on. A server that sets SO_REUSEADDR, as servers do, listens on it beside this; while
    none does, whoever connects is refused.
    """

    def __init__(self) -> None:
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        self.number: int = holder.getsockname()[1]
        weakref.finalize(self, os.close, holder.detach())

    @property
    def address(self) -> str:
        """HOST:PORT, as flags take it."""
        return f"127.0.0.1:{self.number}"
