"""Who sends windows: the node that a certificate or a token names, and what that node may write."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """The one node whose windows somebody may send."""

    cluster: str
    node: str

    def objection(self, cluster: str, node: str) -> str:
        """Why a window that claims this cluster and node is not this one's to send; empty: it is."""
        if (cluster, node) == (self.cluster, self.node):
            return ""
        return (
            f"the window is for node {_short(cluster)}/{_short(node)}, and its sender is known to be "
            f"{self.cluster}/{self.node}: look at the agent's --cluster and --node"
        )


class Call(Protocol):
    """What is known of a gRPC call, as `grpc.aio.ServicerContext` says it."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What the client sent along."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS proved."""


class Agents(Protocol):
    """The agents' door. It is asked again and again during a stream, so that nobody stays who was sent away."""

    async def identify(self, call: Call) -> Identity | None:
        """The node that this call speaks for; None: nobody asks, and any node is believed.

        Raises Unauthenticated, Forbidden or Undecided.
        """


class AnyAgent:
    """No login: whoever reaches the port may write for every node. For loopback, or a network that agents share."""

    async def identify(self, call: Call) -> Identity | None:  # noqa: ARG002 - nobody is asked
        """Nobody in particular."""
        return None


def _short(text: str) -> str:
    """A name that somebody unknown chose, as it may stand in a log."""
    return repr(text[:100])
