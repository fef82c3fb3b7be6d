"""What became of a message that was sent, and what to do about one that was not taken."""

import http
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum

_OK = range(200, 300)
_MOVED = range(300, 400)
_BROKEN = range(500, 600)
_BUSY = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_EARLY, http.HTTPStatus.TOO_MANY_REQUESTS)
# The address or the right to use it is at fault, and not the message: somebody may mend that.
_ADDRESS = (
    http.HTTPStatus.UNAUTHORIZED,
    http.HTTPStatus.FORBIDDEN,
    http.HTTPStatus.NOT_FOUND,
    http.HTTPStatus.METHOD_NOT_ALLOWED,
    http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    http.HTTPStatus.GONE,
)
_FIRST_WAIT_S = 15
_LONGEST_WAIT_S = 600
LONGEST_ASKED_S = 3600  # a receiver may ask for more than that, and is asked again all the same


class Failure(StrEnum):
    """Why a message did not arrive."""

    UNREACHABLE = "unreachable"  # no connection, no answer in time, a certificate that is not trusted
    BUSY = "busy"  # asked to come later
    BROKEN = "broken"  # the receiver failed
    REDIRECT = "redirect"  # sent elsewhere, where messages do not go
    ADDRESS = "address"  # the URL or its secret is not, or no longer, good; or its file cannot be used
    MESSAGE = "message"  # the receiver does not want this message: sending it again would not help


@dataclass(frozen=True, slots=True)
class Answer:
    """`failure` is None where it was taken. `said`: what happened in words, without the URL. `body`: how the receiver
    put it, for whoever runs the test. `after_s`: how long the receiver asks to wait."""

    failure: Failure | None
    said: str
    body: str = ""
    after_s: int | None = None

    @property
    def again(self) -> bool:
        """Whether the message is to be sent again."""
        return self.failure not in (None, Failure.MESSAGE)


def judged(status: int, body: str, retry_after: str, now_s: float) -> Answer:
    """An HTTP answer; `retry_after` is the header, seconds or a date, and may be empty."""
    failure = _failure(status)
    said = f"HTTP {status} {_phrase(status)}".rstrip()
    if failure is Failure.REDIRECT:
        said += ", which is not followed: the URL has to be the last one itself"
    return Answer(
        failure, said, body, _asked_s(retry_after, now_s) if failure in (Failure.BUSY, Failure.BROKEN) else None
    )


def wait_s(failures: int, after_s: int | None) -> int:
    """How long to wait after so many failures in a row: ever longer, and at least as long as was asked for."""
    own = min(_FIRST_WAIT_S << min(failures - 1, 10), _LONGEST_WAIT_S)
    return max(own, min(after_s or 0, LONGEST_ASKED_S))


def _failure(status: int) -> Failure | None:
    if status in _OK:
        return None
    if status in _BUSY:
        return Failure.BUSY
    if status in _MOVED:
        return Failure.REDIRECT
    if status in _ADDRESS:
        return Failure.ADDRESS
    return Failure.BROKEN if status in _BROKEN else Failure.MESSAGE


def _phrase(status: int) -> str:
    """The standard's words, not the receiver's: these might be anything."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _asked_s(text: str, now_s: float) -> int | None:
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        return max(0, round(parsedate_to_datetime(text).timestamp() - now_s))
    except (ValueError, TypeError, OverflowError):
        return None
