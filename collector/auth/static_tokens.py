"""Readers known by tokens in a file (TOML), which holds the tokens' hashes only:

    [[token]]
    name = "grafana"                 # for the log
    sha256 = "9f86d081884c7d65…"     # of the token, 64 hex digits
    role = "viewer"                  # or admin, who may also change

    [[token]]
    name = "team-vision"
    sha256 = "…"
    role = "viewer"
    namespaces = ["vision"]          # sees these only; without it: all
    clusters = ["prod"]              # in these clusters only; without it: in all

A plain hash is enough because tokens are random (32 bytes), and not made up by people.
"""

import hashlib
import hmac
import logging
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gputally.collector.auth.errors import Unauthenticated, Undecided
from gputally.collector.auth.reader import Reader, Role, presented_token

_LOG = logging.getLogger(__name__)

MAX_FILE_BYTES = 1 << 20
MAX_TOKENS = 1000
_FIELDS = frozenset({"name", "sha256", "role", "namespaces", "clusters"})


class TokenFileError(OSError):
    """A file that cannot be used; `mistakes` are all of them, none of which shows a token or a hash."""

    def __init__(self, path: Path, mistakes: Sequence[str]) -> None:
        super().__init__(f"{path}: {'; '.join(mistakes)}")
        self.mistakes = tuple(mistakes)


@dataclass(frozen=True, slots=True)
class StaticToken:
    """One entry of the file."""

    digest: bytes
    reader: Reader


class StaticTokens:
    """The readers of a file, which is read again when it changes.

    A file that became unusable lets nobody in, because what is gone from it may be what somebody had to be kept from.
    """

    def __init__(self, path: Path) -> None:
        """Reads the file; raises TokenFileError."""
        self._path = path
        self._content = read(path)
        self._tokens = parse(path, self._content)
        self._problem = ""

    async def authenticate(self, authorization: str | None) -> Reader:
        """Whose token it is. Raises Unauthenticated, or Undecided while the file cannot be used."""
        self._refresh()
        if self._problem:
            raise Undecided("the file of tokens cannot be used now; the collector's log says why")
        return find(self._tokens, presented_token(authorization))

    def _refresh(self) -> None:
        try:
            content = read(self._path)
            if content != self._content:
                self._content, self._tokens = content, ()
                self._tokens = parse(self._path, content)
        except TokenFileError as error:
            self._say(str(error))
        else:
            if self._tokens:
                self._problem = ""

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            _LOG.error("nobody can log in: %s (--reader-tokens-file)", problem)
        self._problem = problem


def find(tokens: Sequence[StaticToken], token: str) -> Reader:
    """The reader of a token; as long for every token. Raises Unauthenticated."""
    digest = hashlib.sha256(token.encode()).digest()
    matches = [entry.reader for entry in tokens if hmac.compare_digest(entry.digest, digest)]
    if not matches:
        raise Unauthenticated("this token is not known here")
    return matches[0]


def read(path: Path) -> bytes:
    """What the file holds; raises TokenFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TokenFileError(path, [error.strerror or "it cannot be read"]) from error
    if len(content) > MAX_FILE_BYTES:
        raise TokenFileError(path, [f"it is larger than {MAX_FILE_BYTES} bytes"])
    return content


def parse(path: Path, content: bytes) -> tuple[StaticToken, ...]:
    """The entries in a file's content; raises TokenFileError with every mistake in it."""
    try:
        document = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        # Without the cause: it carries the content.
        raise TokenFileError(path, [f"it is no TOML: {_where(error)}"]) from None
    mistakes = list(_mistakes(document))
    if mistakes:
        raise TokenFileError(path, mistakes)
    return tuple(_entry(each) for each in document["token"])


def _where(error: Exception) -> str:
    return str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8, or nested too deeply"


def _mistakes(document: Mapping[str, Any]) -> Iterator[str]:
    entries = document.get("token")
    if set(document) != {"token"} or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        yield "expected [[token]] tables and nothing else"
        return
    if not 0 < len(entries) <= MAX_TOKENS:
        yield f"expected 1 to {MAX_TOKENS} tokens"
    for number, entry in enumerate(entries, 1):
        for mistake in _entry_mistakes(entry):
            yield f"token {number}: {mistake}"
    for field in ("name", "sha256"):
        values = [str(entry.get(field)).lower() for entry in entries]
        if len(set(values)) < len(values):
            yield f"two tokens have the same {field}"


def _entry_mistakes(entry: Mapping[str, Any]) -> Iterator[str]:
    unknown = sorted(set(entry) - _FIELDS)
    if unknown:
        yield f"unknown field {', '.join(unknown)}"
    if not isinstance(entry.get("name"), str) or not entry["name"].isprintable() or not entry["name"]:
        yield "name must be a text"
    if not _is_sha256(entry.get("sha256")):
        yield "sha256 must be 64 hex digits: the SHA-256 of the token, not the token"
    if entry.get("role") not in list(Role):
        yield f"role must be {' or '.join(Role)}"
    for field in ("namespaces", "clusters"):
        if field in entry and not _is_names(entry[field]):
            yield f"{field} must be a list of names"
    if entry.get("role") == Role.ADMIN and "namespaces" in entry:
        yield "an admin sees all namespaces: leave namespaces away, or make it a viewer"


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value.lower()) <= set("0123456789abcdef")


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


def _entry(entry: Mapping[str, Any]) -> StaticToken:
    namespaces, clusters = (frozenset(entry[field]) if field in entry else None for field in ("namespaces", "clusters"))
    reader = Reader(entry["name"], Role(entry["role"]), namespaces, clusters)
    return StaticToken(bytes.fromhex(entry["sha256"]), reader)
