"""Ask the Kubernetes API to review something: one POST of a JSON document, answered by the same with a status.

Over the standard library's http.client: two kinds of POST do not justify the memory of a client for the whole API.
The collector's own token and the API's CA are read again for each request, because both are rotated.
"""

import asyncio
import http.client
import json
import logging
import ssl
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gputally.collector.auth.errors import Undecided

_LOG = logging.getLogger(__name__)

TIMEOUT_S = 5.0  # for each step of a request; the API server itself gives a webhook authenticator no longer
THREADS = 8
MAX_WAITING = 1024  # requests that wait for a thread; more than that many strangers at once are sent away
MAX_BODY_BYTES = 1 << 20  # a review is a few KiB
CREATED = 201


class KubeApi:
    """The API server at `url`; it lives in one event loop, and asks in threads of its own.

    `token_file` is the collector's own token: it needs `create` on tokenreviews and subjectaccessreviews
    (ClusterRole system:auth-delegator). `ca_file` proves who answers; None: the system's authorities.
    """

    def __init__(self, url: str, token_file: Path | None, ca_file: Path | None) -> None:
        self._url = urlsplit(url)
        self._token_file = token_file
        self._ca_file = ca_file
        self._threads = ThreadPoolExecutor(THREADS, "kube-api")
        self._waiting = 0
        self.turned_away = 0  # requests beyond MAX_WAITING

    async def review(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The `status` of the review that a POST creates; raises Undecided, which says why on one line."""
        if self._waiting >= MAX_WAITING:
            self.turned_away += 1
            raise Undecided("too many credentials wait to be reviewed: come again later")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._review, path, json.dumps(document).encode())
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Ask nothing more; what is under way ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _review(self, path: str, body: bytes) -> Mapping[str, Any]:
        try:
            code, answer = self._post(path, body)
        except (OSError, http.client.HTTPException) as error:
            raise Undecided(f"the Kubernetes API at {self._url.geturl()} gives no answer: {_reason(error)}") from error
        if code != CREATED:
            raise Undecided(_refusal(code))
        try:
            status = json.loads(answer)["status"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Undecided("the Kubernetes API answered with something that is no review") from error
        if not isinstance(status, dict):
            raise Undecided("the Kubernetes API answered with something that is no review")
        return status

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request("POST", self._url.path.rstrip("/") + path, body, self._headers())
            response = connection.getresponse()
            return response.status, response.read(MAX_BODY_BYTES)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, self._url.port, timeout=TIMEOUT_S)
        context = ssl.create_default_context(cafile=str(self._ca_file) if self._ca_file else None)
        return http.client.HTTPSConnection(host, self._url.port, timeout=TIMEOUT_S, context=context)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "gputally-collector"}
        if self._token_file:
            headers["Authorization"] = f"Bearer {read_token(self._token_file)}"
        return headers


def read_token(path: Path) -> str:
    """The token in a file, checked here: http.client would show what it cannot send. Raises OSError, Undecided."""
    token = path.read_text("latin-1").strip()
    if not token.isascii() or not token.isprintable() or not token:
        raise Undecided(f"{path} holds no token")
    return token


def _refusal(code: int) -> str:
    if code == http.client.UNAUTHORIZED:
        return "the Kubernetes API does not accept the collector's own token (--kube-token-file)"
    if code == http.client.FORBIDDEN:
        return (
            "the collector may not ask the Kubernetes API for reviews: bind its service account to the ClusterRole "
            "system:auth-delegator"
        )
    return f"the Kubernetes API answered a review with HTTP {code}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): see --kube-ca-file"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename})" if error.filename else error.strerror
    return str(error) or type(error).__name__
