"""The HTTP edge: one POST to the operator's URL. The URL is a secret, and stands in no error.

Over the standard library's urllib, which knows the proxies that the environment names. Of its handlers only those are
used that send: none follows a redirect, none asks for a password.
"""

import http.client
import ssl
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from gputally.collector.notify.answer import Answer, Failure, judged
from gputally.collector.notify.message import clean

TIMEOUT_S = 10.0  # for each step: to connect, to encrypt, for each piece of the answer
_MOST_URL = 2048  # bytes
_MOST_BODY = 1024  # bytes of the answer, for people


class WebhookUrlError(ValueError):
    """The file holds no URL that can be used; the message does not repeat it."""


class Webhook:
    """Sends to the URL in `url_file`, which is read again each time; `now_s` is the wall clock, for Retry-After."""

    def __init__(self, url_file: Path, timeout_s: float = TIMEOUT_S, now_s: Callable[[], float] = time.time) -> None:
        self._url_file = url_file
        self._timeout_s = timeout_s
        self._now_s = now_s

    def send(self, body: bytes) -> Answer:
        """What became of a message; failures are answers as well."""
        try:
            url = read_url(self._url_file)
        except (OSError, WebhookUrlError) as error:
            return Answer(Failure.ADDRESS, f"--webhook-url-file {self._url_file}: {_file_reason(error)}")
        try:
            return self._post(url, body)
        # HTTPException: what answers speaks no HTTP. Its text may quote the request.
        except (OSError, http.client.HTTPException) as error:
            return Answer(Failure.UNREACHABLE, _reason(error))

    def _post(self, url: str, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json", "User-Agent": "gputally-collector"}
        request = urllib.request.Request(url, body, headers, method="POST")  # noqa: S310 - read_url lets http(s) pass only
        with _opener(url).open(request, timeout=self._timeout_s) as response:
            text = response.read(_MOST_BODY).decode("utf-8", "replace")
            return judged(response.status, _shown(text, url), response.headers.get("Retry-After", ""), self._now_s())


def read_url(path: Path) -> str:
    """The URL in a file; raises OSError, WebhookUrlError."""
    text = path.read_text("latin-1")[: _MOST_URL + 1].strip()
    if not text or len(text) > _MOST_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise WebhookUrlError("it holds no URL")
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise WebhookUrlError("it holds no URL") from error
    if not usable:
        raise WebhookUrlError("expected a URL that begins with https:// or http://")
    if parts.username is not None or parts.fragment:
        raise WebhookUrlError("the URL may have neither a user nor a fragment (#)")
    return text


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Made for each message, so that authorities and proxies are those of now."""
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(urllib.request.HTTPHandler())
    if urlsplit(url).scheme == "https":
        opener.add_handler(urllib.request.HTTPSHandler(context=ssl.create_default_context()))
    return opener


def _shown(body: str, url: str) -> str:
    """The receiver's words for the terminal; one that repeats the request repeats the secret."""
    secret = urlsplit(url)
    for part in (url, secret.path, secret.query):
        if len(part) > 1:
            body = body.replace(part, "…")
    return clean(" ".join(body.split()), _MOST_BODY)


def _file_reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _reason(error: BaseException) -> str:
    """In words that are known to hold no URL."""
    inner = getattr(error, "reason", error)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {inner.verify_message}"
    if isinstance(inner, TimeoutError):
        return "no answer in time"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return f"no answer that can be read ({type(inner).__name__})"
