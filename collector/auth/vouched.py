"""Tokens that the API server vouched for: while it gives no answer they are believed, until they end.

An outage of the API server stops no intake so. Nobody new comes in meanwhile, and a token that the API server has
refused is not kept. No token of its cluster can be revoked while that server is away.
"""

import base64
import binascii
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gputally.collector.auth.agent import Identity
from gputally.collector.auth.memo import SIZE

_NEVER_S = 1 << 53  # past it a float cannot tell seconds apart
LONGEST_S = 3600.0  # after the last time that it was vouched for, however long the token lasts


@dataclass(frozen=True, slots=True)
class _Vouched:
    identity: Identity
    vouched_s: float
    ends_s: float


class VouchedTokens:
    """Whose tokens they were, by the token's SHA-256. The one that was vouched for first goes first beyond `size`.

    `monotonic_s` and `wall_s` are clocks: a token says when it ends in the time of day.
    """

    def __init__(self, monotonic_s: Callable[[], float], wall_s: Callable[[], float], size: int = SIZE) -> None:
        self._monotonic_s = monotonic_s
        self._wall_s = wall_s
        self._size = size
        self._known: OrderedDict[bytes, _Vouched] = OrderedDict()

    def keep(self, token: str, identity: Identity) -> None:
        """The API server vouches for it. One that does not say when it ends is not kept."""
        key, now_s = _key(token), self._monotonic_s()
        known = self._known.pop(key, None)
        ends_s = known.ends_s if known else self._ends_s(token, now_s)
        if ends_s is not None:
            self._known[key] = _Vouched(identity, now_s, ends_s)
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    def forget(self, token: str) -> None:
        """The API server refuses it, or what it stands for."""
        self._known.pop(_key(token), None)

    def identity(self, token: str) -> Identity | None:
        """Whose it was, where it may still be believed."""
        known = self._known.get(_key(token))
        if known is None or self._monotonic_s() >= min(known.ends_s, known.vouched_s + LONGEST_S):
            return None
        return known.identity

    def _ends_s(self, token: str, now_s: float) -> float | None:
        expires_s = expiry_s(token)
        return None if expires_s is None else now_s + expires_s - self._wall_s()


def expiry_s(token: str) -> int | None:
    """When a JWT ends, seconds since the epoch, by its claim `exp` (RFC 7519); None where it has none.

    Its signature is not looked at: only what is said of a token that the API server accepted may be believed.
    """
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        return None
    expires_s = claims.get("exp") if isinstance(claims, dict) else None
    return expires_s if isinstance(expires_s, int) and 0 <= expires_s < _NEVER_S else None


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
