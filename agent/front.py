"""The pages from the first second on: while the agent waits for its spool they say so, then they show its counts."""

import logging
from collections.abc import Callable

from gputally.agent.http import CannotListen, HttpServer
from gputally.agent.quantity import Address
from gputally.agent.snapshot import Snapshot

_log = logging.getLogger(__name__)


class Front:
    """Serves one snapshot after the other on one address. One thread calls it."""

    def __init__(self, listen: Address, node: str, *, dcgm_names: bool) -> None:
        self._listen = listen
        self._node = node
        self._dcgm_names = dcgm_names
        self._snapshot: Callable[[], Snapshot] = lambda: Snapshot(node)
        self._server: HttpServer | None = None

    def wait(self, reason: str) -> None:
        """Alive, but not ready, and why. Where the address is taken, maybe by whom is waited for, nothing is served."""
        waiting = Snapshot(self._node, not_ready=(reason,))
        self._snapshot = lambda: waiting
        try:
            self._serve()
        except CannotListen as error:
            _log.debug("%s", error)

    def show(self, snapshot: Callable[[], Snapshot]) -> None:
        """What `snapshot` returns is served from now on. Raises CannotListen."""
        self._snapshot = snapshot
        self._serve()

    def close(self) -> None:
        """Stop answering. Closing what never served is harmless."""
        if self._server:
            self._server.close()

    def _serve(self) -> None:
        if self._server:
            return
        self._server = HttpServer(self._listen, lambda: self._snapshot(), dcgm_names=self._dcgm_names)
        self._server.start()
        _log.info("serving /metrics, /healthz and /readyz on port %d", self._server.port)
