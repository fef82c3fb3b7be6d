"""TokenReview: the API server says whose token this is (authentication.k8s.io/v1).

Observed on Kubernetes 1.36: a refusal is HTTP 201 with no `authenticated` key; a review that names no audience accepts
tokens that were made for others, so ours is always sent and must come back; an empty token is HTTP 400, so none is
sent; a deleted pod's token stays valid for a few seconds.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gputally.collector.auth.errors import Unauthenticated, Undecided
from gputally.collector.auth.memo import SIZE, Memo

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
AWAY_S = 2.0  # for so long after the API gave no answer it is not asked again
_MAX_DETAIL = 300  # characters of the API server's own words


class Api(Protocol):
    """What is needed of the Kubernetes API: `kube_api.KubeApi` here."""

    async def review(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The status of a review; raises Undecided."""


@dataclass(frozen=True, slots=True)
class User:
    """Whose token it is, in the API server's words. `extra` of a service account's token names its pod and node."""

    username: str
    uid: str
    groups: tuple[str, ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]

    def extra_values(self, key: str) -> tuple[str, ...]:
        """The values of one key of `extra`; none where it is absent."""
        return dict(self.extra).get(key, ())


class TokenReviews:
    """Whose tokens they are, remembered for at most a minute by the token's hash; the token itself is not kept.

    `audience` is who the tokens must be made for. `monotonic_s` is the clock. It lives in one event loop.
    """

    def __init__(self, api: Api, audience: str, monotonic_s: Callable[[], float], size: int = SIZE) -> None:
        self._api = api
        self._audience = audience
        self._monotonic_s = monotonic_s
        self._users: Memo[bytes, User] = Memo(monotonic_s, size)
        self._away: tuple[float, str] = (float("-inf"), "")

    async def user(self, token: str) -> User:
        """Whose token it is. Raises Unauthenticated, or Undecided while the API gives no answer."""
        return await self._users.ask(hashlib.sha256(token.encode()).digest(), lambda: self._review(token))

    async def _review(self, token: str) -> User:
        until_s, why = self._away
        if self._monotonic_s() < until_s:
            raise Undecided(why)
        try:
            status = await self._api.review(PATH, request(token, self._audience))
        except Undecided as error:
            self._away = (self._monotonic_s() + AWAY_S, str(error))
            raise
        return parse(status, self._audience)


def request(token: str, audience: str) -> dict[str, object]:
    """The document that asks whose token this is."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }


def parse(status: Mapping[str, Any], audience: str) -> User:
    """The user in a review's status; raises Unauthenticated where the API server does not vouch for the token."""
    if status.get("authenticated") is not True:
        why = str(status.get("error") or "it gives no reason")[:_MAX_DETAIL]
        raise Unauthenticated(f"the Kubernetes API does not accept the token: {why}")
    if audience not in _strings(status.get("audiences")):
        raise Unauthenticated(f"the token was not made for the audience {audience}")
    user = status.get("user")
    if not isinstance(user, dict) or not isinstance(user.get("username"), str) or not user["username"]:
        raise Unauthenticated("the Kubernetes API accepts the token, but does not say whose it is")
    return User(user["username"], str(user.get("uid", "")), _strings(user.get("groups")), _extra(user.get("extra")))


def _extra(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    items: Sequence[tuple[object, object]] = list(value.items()) if isinstance(value, dict) else []
    return tuple(sorted((str(key), _strings(values)) for key, values in items))


def _strings(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()
