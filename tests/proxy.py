"""A TCP proxy for tests: it cuts connections, refuses new ones, swallows what is sent, and changes where it leads."""

import contextlib
import os
import socket
import threading
from types import TracebackType

_CHUNK = 65536
_CONNECT_S = 60.0

Place = tuple[str, int] | str  # host and port, or the path of a unix socket


class Proxy:
    """Listens on a port of loopback that the system chooses, and passes everything on to `target`."""

    def __init__(self, target: Place) -> None:
        self.target = target
        self.connections = 0  # that were ever opened through it
        self.sent = 0  # bytes that clients sent through it
        self._refusing = False
        self._cuts = 0  # a connection that was begun before one does not come about after it
        self._passing = threading.Event()
        self._passing.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="proxy", daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._passing.set()
        self.cut()
        self._thread.join(60)

    def cut(self) -> int:
        """End every connection at once, as a cable does; how many there were (each has two ends)."""
        with self._lock:
            self._cuts += 1
            ends, self._open = self._open, set()
        for end in ends:
            _end(end)
        return len(ends) // 2

    def refuse(self, refusing: bool = True) -> None:
        """From now on new connections end at once (or no longer)."""
        self._refusing = refusing

    def hold(self) -> None:
        """From now on nothing is passed on, and nobody is told."""
        self._passing.clear()

    def go_on(self) -> None:
        """Pass on what was held, and all that comes."""
        self._passing.set()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client, self._cuts), daemon=True).start()

    def _serve(self, client: socket.socket, cuts: int) -> None:
        try:
            server = None if self._refusing else _connect(self.target)
        except OSError:
            server = None
        if server is None:
            client.close()
            return
        if not self._opened({client, server}, cuts):
            client.close()
            server.close()
            return
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server, counts=True)
        back.join()
        with self._lock:
            self._open -= {client, server}
        for end in (client, server):
            end.close()

    def _opened(self, ends: set[socket.socket], cuts: int) -> bool:
        """Whether a connection is open from now on: nothing was cut since it was begun, as `cuts` says."""
        with self._lock:
            if self._refusing or cuts != self._cuts:
                return False
            self._open |= ends
            return True

    def _pump(self, source: socket.socket, sink: socket.socket, *, counts: bool = False) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                self._passing.wait()
                self.sent += len(data) * counts
                sink.sendall(data)
        _end(sink)
        _end(source)


def _connect(target: Place) -> socket.socket:
    if not isinstance(target, str):
        return socket.create_connection(target, _CONNECT_S)
    connected = socket.socket(socket.AF_UNIX)
    connected.connect(os.fspath(target))
    return connected


def _end(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)
