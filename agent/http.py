"""/metrics, /healthz and /readyz, from the last snapshot. A slow client costs a slot, never the agent."""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gputally.agent.exposition.text import CONTENT_TYPE, render
from gputally.agent.quantity import Address
from gputally.agent.snapshot import Snapshot

_log = logging.getLogger(__name__)

_SLOTS = 16  # requests at one time; Prometheus and the kubelet need three
_WAIT_S = 3600.0  # for a client: nobody has to look around meanwhile, as `close` wakes the thread
_PATIENCE_S = 5.0  # a client that sends or takes nothing for so long is dropped
_TEXT = "text/plain; charset=utf-8"


class CannotListen(Exception):
    """The address cannot be used. The message is one line that says what to do."""


class HttpServer:
    """Serves what `snapshot` returns (which must be quick and never touch the driver), in threads of its own."""

    def __init__(self, listen: Address, snapshot: Callable[[], Snapshot], *, dcgm_names: bool = False) -> None:
        handler = type("Handler", (_Handler,), {"snapshot": staticmethod(snapshot), "dcgm_names": dcgm_names})
        try:
            self._server = _Server(listen, handler)
        except OSError as error:
            raise CannotListen(f"cannot listen on {listen}: {error.strerror}; see --http-listen") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_WAIT_S,), name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port in use, which the system chose where port 0 was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering. Closing what was never started is harmless."""
        if self._thread.is_alive():
            self._server.wake()
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # an answer under way must not hold up the end

    def __init__(self, listen: Address, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self._slots = threading.BoundedSemaphore(_SLOTS)
        super().__init__((listen.host, listen.port), handler)

    def wake(self) -> None:
        """Let nobody in any more, and have whoever waits for clients look around."""
        with suppress(OSError):  # closed twice
            self.socket.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        # The base class looks the host's name up in DNS here, which can take seconds and serves nobody.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._slots.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except RuntimeError:  # no thread could be started: nobody else gives the slot back
                self._slots.release()
                raise
        else:
            _log.warning("http: too many requests at one time; one from %s is dropped", client_address[0])
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        _log.info("http: a request from %s was cut short", client_address[0], exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    snapshot: Callable[[], Snapshot]
    dcgm_names: bool
    timeout = _PATIENCE_S
    server_version = "gputally-agent"
    sys_version = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            text = render(self.snapshot(), dcgm_names=self.dcgm_names)
            self._answer(HTTPStatus.OK, text, CONTENT_TYPE)
        elif path == "/healthz":
            self._answer(HTTPStatus.OK, b"alive\n")
        elif path == "/readyz":
            self._ready(self.snapshot().not_ready)
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"/metrics\n/healthz\n/readyz\n")

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _ready(self, reasons: tuple[str, ...]) -> None:
        if reasons:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(f"{reason}\n" for reason in reasons).encode())
        else:
            self._answer(HTTPStatus.OK, b"ready\n")

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = _TEXT) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        _log.debug("http: %s " + format, self.address_string(), *args)
