"""Agents known by their projected service-account tokens, which name the node that their pod runs on."""

import asyncio
from collections.abc import Collection

from gputally.collector.auth.agent import Call, Identity
from gputally.collector.auth.errors import Forbidden, Unauthenticated, Undecided
from gputally.collector.auth.reader import presented_token
from gputally.collector.auth.token_review import TokenReviews, User
from gputally.collector.auth.vouched import VouchedTokens

# In tokens that the kubelet asked for, since Kubernetes 1.30; one made by hand names no node, and is not taken.
NODE_NAME = "authentication.kubernetes.io/node-name"


class TokenAgents:
    """Takes the pods of these service accounts (NAMESPACE/NAME). `cluster` is the one whose API reviews the tokens.

    While that gives no answer, `vouched` says whom it knew before.
    """

    def __init__(self, reviews: TokenReviews, vouched: VouchedTokens, accounts: Collection[str], cluster: str) -> None:
        self._reviews = reviews
        self._vouched = vouched
        self._usernames = {username(account): account for account in accounts}
        self._cluster = cluster

    async def identify(self, call: Call) -> Identity:
        """The node of the agent's pod. Raises Unauthenticated, Forbidden or Undecided."""
        token = presented_token(_authorization(call))
        if token.count(".") != 2:  # a JWT has three parts: nothing else is worth a question to the API server
            raise Unauthenticated("this is no service account's token")
        decided = asyncio.ensure_future(self._decide(token))
        decided.add_done_callback(_heard)
        return await asyncio.shield(
            decided
        )  # whoever asked may leave before a refusal comes, which counts all the same

    async def _decide(self, token: str) -> Identity:
        try:
            identity = self._identity(await self._reviews.user(token))
        except Undecided:
            known = self._vouched.identity(token)
            if known is None:
                raise
            return known
        except (Unauthenticated, Forbidden):
            self._vouched.forget(token)
            raise
        self._vouched.keep(token, identity)
        return identity

    def _identity(self, user: User) -> Identity:
        if user.username not in self._usernames:
            raise Forbidden(f"{user.username} is not a service account of agents (--agent-service-accounts)")
        return Identity(self._cluster, node_of(user))


def _heard(decided: "asyncio.Future[Identity]") -> None:
    if not decided.cancelled():
        decided.exception()  # told to whoever still waits; nobody may


def username(account: str) -> str:
    """How the API server calls the service account NAMESPACE/NAME."""
    namespace, _, name = account.partition("/")
    return f"system:serviceaccount:{namespace}:{name}"


def node_of(user: User) -> str:
    """The node of the pod that the token is bound to; raises Forbidden where it is bound to none."""
    nodes = user.extra_values(NODE_NAME)
    if len(nodes) != 1 or not nodes[0]:
        raise Forbidden(
            f"the token of {user.username} names no node: it must be projected into the agent's pod by Kubernetes "
            "1.30 or newer"
        )
    return nodes[0]


def _authorization(call: Call) -> str | None:
    values = [value for key, value in call.invocation_metadata() or () if key == "authorization"]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else None
