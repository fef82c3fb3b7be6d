"""Readers known to Kubernetes: who may list the pods of a namespace may read what its GPUs did."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from gputally.collector.auth.access_review import AccessReviews
from gputally.collector.auth.memo import SIZE, Memo
from gputally.collector.auth.reader import Reader, Role, presented_token
from gputally.collector.auth.token_review import TokenReviews, User

_LOG = logging.getLogger(__name__)

AT_ONCE = 64  # questions about one reader: far fewer than may wait, so that others are asked about meanwhile
MAX_NAMESPACES = 2000  # asked about for one reader; beyond it a team's reader sees less, never more


class KubeReaders:
    """Takes whom the API server of `cluster` vouches for; they see that cluster's time only.

    `namespaces` are those that the ledger knows of that cluster. What a reader may see is asked anew after at most a
    minute. It lives in one event loop.
    """

    def __init__(
        self,
        reviews: TokenReviews,
        access: AccessReviews,
        cluster: str,
        namespaces: Callable[[], Awaitable[Collection[str]]],
        monotonic_s: Callable[[], float],
        size: int = SIZE,
    ) -> None:
        self._reviews = reviews
        self._access = access
        self._cluster = cluster
        self._namespaces = namespaces
        self._readers: Memo[User, Reader] = Memo(monotonic_s, size)

    async def authenticate(self, authorization: str | None) -> Reader:
        """Whose token it is and what that one may see. Raises Unauthenticated or Undecided."""
        user = await self._reviews.user(presented_token(authorization))
        return await self._readers.ask(user, lambda: self._reader(user))

    async def _reader(self, user: User) -> Reader:
        clusters = frozenset({self._cluster})
        if await self._access.may_list_pods(user, ""):
            role = Role.ADMIN if await self._access.may_change(user) else Role.VIEWER
            return Reader(user.username, role, None, clusters)
        return Reader(user.username, Role.VIEWER, await self._visible(user), clusters)

    async def _visible(self, user: User) -> frozenset[str]:
        known = sorted(await self._namespaces())
        if len(known) > MAX_NAMESPACES:
            _LOG.warning(
                "%d namespaces are more than a reader is asked about: %s sees those of the first %d at most",
                *(len(known), user.username, MAX_NAMESPACES),
            )
            known = known[:MAX_NAMESPACES]
        allowed: list[bool] = []
        for first in range(0, len(known), AT_ONCE):
            some = known[first : first + AT_ONCE]
            allowed += await asyncio.gather(*(self._access.may_list_pods(user, name) for name in some))
        return frozenset(name for name, yes in zip(known, allowed, strict=True) if yes)
