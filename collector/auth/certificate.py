"""Agents known by their certificates. TLS has proved that the agents' CA signed it; here it is read.

The certificate's alternative names hold one URI `gputally://CLUSTER/NODE`, or else one DNS name, which is the node's
name in the collector's own cluster. The subject is not read: what it holds was never a name to rely on.
"""

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from gputally.collector.auth.agent import Call, Identity
from gputally.collector.auth.errors import Forbidden, Unauthenticated

SCHEME = "gputally"


class CertifiedAgents:
    """Takes whom a client certificate names. `cluster` is the only one that may write here; None: each its own."""

    def __init__(self, cluster: str | None) -> None:
        self._cluster = cluster

    async def identify(self, call: Call) -> Identity:
        """The node in the certificate. Raises Unauthenticated, or Forbidden for a node of another cluster."""
        identity = self._read(call.auth_context())
        if self._cluster is not None and identity.cluster != self._cluster:
            raise Forbidden(
                f"the certificate is of cluster {identity.cluster}, and this collector takes {self._cluster} only"
            )
        return identity

    def _read(self, proved: Mapping[str, Iterable[bytes]]) -> Identity:
        ours = [name for name in _texts(proved, "peer_uri") if name.lower().startswith(f"{SCHEME}:")]
        if len(ours) == 1:
            return parse_uri(ours[0])
        names = _texts(proved, "peer_dns")
        if ours or len(names) != 1 or "*" in names[0]:
            raise Unauthenticated(
                f"a certificate that names one node is needed: one URI {SCHEME}://CLUSTER/NODE, or one DNS name, "
                "among its alternative names"
            )
        if self._cluster is None:
            raise Unauthenticated(
                f"the certificate names no cluster: issue it for {SCHEME}://CLUSTER/{names[0]}, "
                "or give the collector its --cluster"
            )
        return Identity(self._cluster, names[0])


def parse_uri(text: str) -> Identity:
    """The node of `gputally://CLUSTER/NODE`; raises Unauthenticated."""
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    node = parts.path.removeprefix("/")
    if text != f"{SCHEME}://{parts.netloc}/{node}" or not parts.netloc or not node or "/" in node:
        raise Unauthenticated(f"the certificate's name {text[:100]!r} is not {SCHEME}://CLUSTER/NODE")
    return Identity(parts.netloc, node)


def _texts(proved: Mapping[str, Iterable[bytes]], kind: str) -> list[str]:
    return [name.decode("utf-8", "replace") for name in proved.get(kind, ())]
