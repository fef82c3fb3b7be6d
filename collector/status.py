"""The collector's HTTP side: /metrics for Prometheus, /healthz and /readyz for whoever restarts and routes."""

import logging
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import ClassVar
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from gputally.collector.address import Address

_LOG = logging.getLogger(__name__)
_TEXT = "text/plain; charset=utf-8"
_SLOW_CLIENT_S = 10  # a client that neither sends nor reads for so long is cut off


class StatusServer:
    """Serves until it is closed. `problems` says what keeps the collector from working; none of them: ready."""

    def __init__(self, listen: Address, registry: CollectorRegistry, problems: Callable[[], Sequence[str]]) -> None:
        """Listens at once; raises OSError where it cannot."""

        class Handler(_Handler):
            pages: ClassVar[_Pages] = _Pages(registry, problems)

        class Server(ThreadingHTTPServer):
            address_family = AF_INET6 if ":" in listen.host else ThreadingHTTPServer.address_family

            def handle_error(self, _request: object, client_address: object) -> None:
                _LOG.warning("a request of %s could not be answered", client_address, exc_info=True)

        self._listen = listen
        try:
            self._server = Server((listen.host, listen.port), Handler)
        except OSError as error:
            raise OSError(f"cannot listen on {listen.text} (--http-listen): {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)

    @property
    def address(self) -> Address:
        """Where it listens, with the port that the system chose for port 0."""
        return Address(self._listen.host, self._server.server_port)

    def start(self) -> None:
        """Answer requests, each in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._thread.ident is not None:
            self._server.shutdown()
        self._server.server_close()


class _Pages:
    """What stands on each path."""

    def __init__(self, registry: CollectorRegistry, problems: Callable[[], Sequence[str]]) -> None:
        self._registry = registry
        self._problems = problems

    def get(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Status, content type and body of a path."""
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return 200, content_type, encode(self._registry)
        if path == "/healthz":
            return 200, _TEXT, b"ok\n"
        if path == "/readyz":
            problems = self._problems()
            return (503 if problems else 200), _TEXT, ("\n".join(problems or ["ready"]) + "\n").encode()
        return 404, _TEXT, b"here are /metrics, /healthz and /readyz\n"


class _Handler(BaseHTTPRequestHandler):
    pages: ClassVar[_Pages]
    timeout = _SLOW_CLIENT_S
    server_version = "gputally-collector"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a request."""
        status, content_type, body = self.pages.get(urlsplit(self.path).path, self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in http.server
        """A scrape every few seconds is not news."""
        _LOG.debug(format, *args)
