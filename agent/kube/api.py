"""A small reader of the Kubernetes API over the standard library's http.client, for memory's sake.

One GET a connection: the token and the CA are read again each time (both are rotated), and no state outlives a
request. What the API server refuses becomes one of a few errors whose message says what to do.
"""

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

CONNECT_TIMEOUT_S = 10.0
MAX_BODY_BYTES = 64 * 1024 * 1024  # a LIST of one node's pods is a few MiB
MAX_LINE_BYTES = 8 * 1024 * 1024  # one watch event; etcd takes objects of 1.5 MiB
MAX_RETRY_AFTER_S = 300.0  # a longer wish would hide an outage from us
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))  # a dead peer shows within a minute


class KubeApiError(Exception):
    """The API gave no usable answer. The message is one line; `retry_after_s` is the least wait it asked for."""

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreachable(KubeApiError):
    """No connection, or it broke."""


class Busy(KubeApiError):
    """The API server asks to come again later (429), or fails (5xx)."""


class Gone(KubeApiError):
    """What was asked for is too old (410): list again."""


class Missing(KubeApiError):
    """The API server has nothing at that path (404): it may not serve that kind of object."""


class Refused(KubeApiError):
    """The token is not accepted (401), or may not do this (403). Trying again soon is useless."""


def in_cluster_url(host: str, port: str) -> str:
    """The API's address from KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT."""
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def error_of(code: int, message: str, retry_after_s: float = 0.0) -> KubeApiError:
    """The error for an HTTP status, or for the Status object of a watch's ERROR event."""
    text = f"the Kubernetes API answers {code}: {message}"
    if code == 410:
        return Gone(text)
    if code == 401:
        return Refused(f"{text}; is the token a service account token for this API server (--kube-token-file)?")
    if code == 403:
        return Refused(f"{text}; bind the agent's service account to a ClusterRole with list and watch on them")
    if code == 404:
        return Missing(text)
    if code == 429 or code >= 500:
        return Busy(text, min(retry_after_s, MAX_RETRY_AFTER_S))
    return KubeApiError(text)


class KubeApi:
    """The API server at `url`. Raises ValueError where the token would travel in clear text."""

    def __init__(self, url: str, *, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https URL")
        if parts.scheme == "http" and token_file and parts.hostname not in _LOOPBACK:
            raise ValueError(f"the token would travel to {url} in clear text: use https")
        self._url = parts
        self._token_file = token_file
        self._ca_file = ca_file
        self._lock = threading.Lock()
        self._closed = False
        self._socket: socket.socket | None = None

    def read(self, path: str, query: Mapping[str, str], timeout_s: float) -> Any:
        """The JSON document at a path. Raises KubeApiError."""
        with self._get(path, query, timeout_s) as response:
            return decode(_read_all(response))

    def lines(self, path: str, query: Mapping[str, str], timeout_s: float) -> Generator[bytes]:
        """The lines of a stream, until it ends; `timeout_s` is the longest silence. A line cut short is not given.

        Raises KubeApiError.
        """
        with self._get(path, query, timeout_s) as response:
            yield b""  # accepted; nothing said yet
            while line := _read_line(response):
                yield line

    def close(self) -> None:
        """End the request that is under way in another thread, and refuse further ones."""
        with self._lock:
            self._closed = True
            under_way = self._socket
        if under_way is not None:
            _shut(under_way)

    @contextmanager
    def _get(self, path: str, query: Mapping[str, str], timeout_s: float) -> Iterator[http.client.HTTPResponse]:
        headers = self._headers()
        connection = self._connection()
        try:
            connection.connect()
            self._use(connection.sock, timeout_s)
            connection.request("GET", f"{self._url.path.rstrip('/')}{path}?{urlencode(query)}", headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise _refusal(response)
            yield response
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"the Kubernetes API at {self._url.geturl()} cannot be reached: {_reason(error)}"
            ) from error
        finally:
            self._release()
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, self._url.port, timeout=CONNECT_TIMEOUT_S)
        try:
            context = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
        except OSError as error:
            raise Refused(f"cannot read {self._ca_file} (--kube-ca-file): {_reason(error)}") from error
        return http.client.HTTPSConnection(host, self._url.port, timeout=CONNECT_TIMEOUT_S, context=context)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "gputally-agent"}
        if self._token_file:
            headers["Authorization"] = f"Bearer {_token(self._token_file)}"
        return headers

    def _use(self, connected: socket.socket, timeout_s: float) -> None:
        connected.settimeout(timeout_s)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        with self._lock:
            if self._closed:
                raise Unreachable("the Kubernetes API is not asked any more: the reader was closed")
            self._socket = connected

    def _release(self) -> None:
        with self._lock:
            self._socket = None


def _token(path: Path) -> str:
    try:
        token = path.read_text("latin-1").strip()  # takes every byte: what is wrong is said below, without showing it
    except OSError as error:
        raise Refused(f"cannot read {path} (--kube-token-file): {_reason(error)}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise Refused(f"{path} (--kube-token-file) holds no token")
    return token


def decode(text: bytes) -> Any:
    """A JSON document of the API. Raises KubeApiError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise KubeApiError(f"the Kubernetes API sent something that is not JSON: {error}") from error


def _read_all(response: http.client.HTTPResponse) -> bytes:
    body = response.read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        raise KubeApiError(f"the Kubernetes API sent more than {MAX_BODY_BYTES} bytes")
    return body


def _read_line(response: http.client.HTTPResponse) -> bytes:
    """The next whole line; empty at the end of the stream, also where the stream was cut within a line."""
    try:
        line = response.readline(MAX_LINE_BYTES + 1)
    except http.client.IncompleteRead:
        return b""
    if len(line) > MAX_LINE_BYTES:
        raise KubeApiError(f"the Kubernetes API sent an event of more than {MAX_LINE_BYTES} bytes")
    return line if line.endswith(b"\n") else b""


def _refusal(response: http.client.HTTPResponse) -> KubeApiError:
    """The error that a response other than 200 stands for, in the API server's own words where it has some."""
    body = response.read(65536)
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = response.reason or "no reason given"
    asked = response.headers.get("Retry-After", "")
    return error_of(response.status, " ".join(message.split()), float(asked) if asked.isdecimal() else 0.0)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): see --kube-ca-file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _shut(connected: socket.socket) -> None:
    try:
        socket.socket.shutdown(connected, socket.SHUT_RDWR)  # wakes the reader; SSLSocket's own would not be safe here
    except OSError:
        return  # it had ended already
