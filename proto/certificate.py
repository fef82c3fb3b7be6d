"""From when until when a certificate is good, read from its PEM (X.509: RFC 5280, in DER) without another library.

Only to tell people in time that one ends: TLS decides by itself whom it believes.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
_LONG = 0x80  # of a length: its other bits say how many bytes hold it
_VERSION = 0xA0  # the tag of what old certificates leave out
_TWO_DIGITS = 0x17  # the tag of a time with a year of two digits: 50 is 1950, 49 is 2049


@dataclass(frozen=True, slots=True)
class Validity:
    """Seconds since the epoch."""

    begins_s: int
    ends_s: int


def validity(pem: bytes) -> Validity | None:
    """That of the certificate which ends first, of a chain; None where one cannot be read, or none is there."""
    try:
        found = [_validity(base64.b64decode(body)) for body in _PEM.findall(pem)]
    except (ValueError, IndexError, binascii.Error):
        return None
    return min(found, key=lambda each: each.ends_s, default=None)


def _validity(der: bytes) -> Validity:
    """Raises ValueError or IndexError for what is no certificate."""
    (_, certificate), *_ = _elements(der)
    (_, body), *_ = _elements(certificate)
    parts = _elements(body)
    _serial, _algorithm, _issuer, (_, times), *_ = parts[parts[0][0] == _VERSION :]
    begins, ends = _elements(times)
    return Validity(_seconds(*begins), _seconds(*ends))


def _elements(content: bytes) -> Sequence[tuple[int, bytes]]:
    """Tag and content of each element; raises IndexError where the bytes end too early."""
    found, at = [], 0
    while at < len(content):
        tag, length, at = content[at], content[at + 1], at + 2
        if length & _LONG:
            size = length & ~_LONG
            length, at = int.from_bytes(content[at : at + size]), at + size
        found.append((tag, content[at : at + length]))
        at += length
    return found


def _seconds(tag: int, content: bytes) -> int:
    text = content.decode("ascii")
    if tag == _TWO_DIGITS:
        text = ("19" if text >= "50" else "20") + text
    return int(datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp())
