"""Whoever reads the ledger: what may be seen is part of who it is, so that every query can be filtered by it.

A query takes `Reader.namespaces` and `Reader.clusters` as conditions of its own, in the database: None is "all", and
a set, also an empty one, is "these and nothing else". The platform's and the hosts' time belongs to no namespace, so
it is for readers whose `namespaces` is None.
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gputally.collector.auth.errors import Forbidden, Unauthenticated

MAX_TOKEN_BYTES = 16384  # a service account's has about 1,500; a login's with many groups some thousand


class Role(StrEnum):
    """What a reader may do. What may be seen is said by namespaces and clusters."""

    ADMIN = "admin"  # sees and changes: closes months, sets rates and budgets
    VIEWER = "viewer"  # sees


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks, for the log, and what that one may do and see."""

    name: str
    role: Role
    namespaces: frozenset[str] | None  # None: all, and the platform's and the hosts' time besides
    clusters: frozenset[str] | None = None  # None: all; a namespace is one's own only in these clusters

    @property
    def sees_all(self) -> bool:
        """Whether nothing is hidden: what sums over namespaces (/metrics, capacity, the platform) is for these."""
        return self.namespaces is None and self.clusters is None

    def require_admin(self) -> None:
        """Raise Forbidden where this reader may only look."""
        if self.role is not Role.ADMIN:
            raise Forbidden(f"{self.name} may read but not change: this needs the role admin")


class Readers(Protocol):
    """The readers' door."""

    async def authenticate(self, authorization: str | None) -> Reader:
        """Who sends this Authorization header (None: there was none).

        Raises Unauthenticated (401, with `WWW-Authenticate: Bearer`), Forbidden (403) or Undecided (503).
        """


class Anybody:
    """No login: whoever reaches the port may see and do all. For loopback only."""

    async def authenticate(self, authorization: str | None) -> Reader:  # noqa: ARG002 - nobody is asked
        """Always the same reader."""
        return Reader("anybody", Role.ADMIN, None)


def presented_token(authorization: str | None) -> str:
    """The token of `Bearer TOKEN`, or of `Basic` with the token as the password, which is what a browser can send.

    Raises Unauthenticated where there is none.
    """
    scheme, _, text = (authorization or "").partition(" ")
    read = _READ.get(scheme.lower())
    token = read(text.strip()) if read else ""
    if not token or not token.isascii() or not token.isprintable():
        raise Unauthenticated("send a token: Authorization: Bearer TOKEN")
    if len(token) > MAX_TOKEN_BYTES:
        raise Unauthenticated("this is no token: it is too long")
    return token


def _password(text: str) -> str:
    """What stands behind the colon of base64(USER:PASSWORD); the user's name does not matter."""
    try:
        return base64.b64decode(text, validate=True).decode("ascii").partition(":")[2]
    except ValueError:  # also binascii.Error and UnicodeDecodeError
        return ""


_READ: Mapping[str, Callable[[str], str]] = {"bearer": str, "basic": _password}
