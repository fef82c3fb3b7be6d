"""A receiver of webhooks: a real HTTP server on a loopback port, with answers that a test lines up."""

import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "/services/T0/B0/quite-a-secret"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request is answered with."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "ok"


class WebhookReceiver:
    """Answers with what `replies` holds, in order, and then with 200. While `silent`, it answers nothing."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.replies: list[Reply] = []
        self.bodies: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.silent = threading.Event()
        self._ending = threading.Event()
        self._scheme = "https" if tls else "http"
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}{SECRET}"

    @property
    def titles(self) -> list[str]:
        """Of the messages that arrived, in order."""
        return [body["title"] for body in self.bodies]

    @property
    def levels(self) -> list[str]:
        return [body["level"] for body in self.bodies]

    def close(self) -> None:
        self._ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Handle one request."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.paths.append(handler.path)
        self.headers.append(dict(handler.headers))
        if self.silent.is_set():
            self._ending.wait()
            return
        reply = self.replies.pop(0) if self.replies else Reply()
        if reply.status < 300:
            self.bodies.append(json.loads(body))
        handler.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(reply.body.encode())


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A sender that hangs up is what some tests want."""


def _handler(receiver: WebhookReceiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self)

        def do_GET(self) -> None:
            receiver.paths.append(f"GET {self.path}")
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
