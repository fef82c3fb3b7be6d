"""A certificate names one node, exactly, and nothing is guessed from the rest of it."""

import asyncio
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gputally.collector.auth.agent import Identity
from gputally.collector.auth.certificate import CertifiedAgents, parse_uri
from gputally.collector.auth.errors import Forbidden, Unauthenticated


class Proved:
    """A call whose client showed a certificate with these alternative names."""

    def __init__(self, *, dns: Iterable[str] = (), uris: Iterable[str] = ()) -> None:
        self._proved = {"peer_dns": [name.encode() for name in dns], "peer_uri": [uri.encode() for uri in uris]}

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        return {**self._proved, "x509_common_name": [b"gpu-9"]}

    def invocation_metadata(self) -> None:
        return None


def identify(cluster: str | None, **names: Iterable[str]) -> Identity:
    return asyncio.run(CertifiedAgents(cluster).identify(Proved(**names)))


def test_a_uri_names_cluster_and_node() -> None:
    assert identify(None, uris=["gputally://prod/gpu-1.example"]) == Identity("prod", "gpu-1.example")


def test_a_dns_name_is_a_node_of_the_collectors_own_cluster() -> None:
    assert identify("prod", dns=["gpu-1"]) == Identity("prod", "gpu-1")


def test_a_uri_wins_over_dns_names_and_other_uris() -> None:
    """A certificate may serve other purposes too."""
    assert identify("prod", dns=["a", "b"], uris=["spiffe://x/y", "gputally://prod/n"]) == Identity("prod", "n")


def test_a_certificate_of_another_cluster_is_forbidden() -> None:
    with pytest.raises(Forbidden, match=r"cluster dev.* takes prod only"):
        identify("prod", uris=["gputally://dev/gpu-1"])


def test_a_dns_name_without_a_cluster_is_not_enough() -> None:
    with pytest.raises(Unauthenticated, match="names no cluster"):
        identify(None, dns=["gpu-1"])


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"dns": ["a", "b"]},
        {"dns": ["*.example"]},
        {"uris": ["gputally://prod/a", "gputally://prod/b"]},
        {"uris": ["gputally://prod/a", "gputally://prod/b"], "dns": ["a"]},
        {"uris": ["spiffe://prod/a"]},
    ],
)
def test_a_certificate_that_names_no_or_several_nodes_is_nobodys(names: dict[str, list[str]]) -> None:
    """Its common name is never read."""
    with pytest.raises(Unauthenticated, match="names one node"):
        identify("prod", **names)


@pytest.mark.parametrize(
    "uri",
    [
        "gputally://prod",
        "gputally:///n",
        "gputally://prod/",
        "gputally://p/a/b",
        "gputally:n",
        "gputally://p/n?x",
        "gputally://p/n#x",
        "GPUTALLY://p/n",
        "gputally://p//n",
        "gputally://[p/n",
    ],
)
def test_a_uri_that_is_not_quite_one_is_refused(uri: str) -> None:
    with pytest.raises(Unauthenticated, match="is not gputally://CLUSTER/NODE"):
        parse_uri(uri)


@given(st.text(max_size=40))
def test_a_uri_reads_back_as_it_is_written(text: str) -> None:
    """No two texts are one node."""
    try:
        identity = parse_uri(f"gputally://{text}")
    except Unauthenticated:
        return
    assert f"{identity.cluster}/{identity.node}" == text


@given(st.text(max_size=300), st.text(max_size=300))
def test_only_ones_own_node_is_not_objected_to(cluster: str, node: str) -> None:
    identity = Identity("prod", "gpu-1")
    objection = identity.objection(cluster, node)
    assert (objection == "") == ((cluster, node) == ("prod", "gpu-1"))
    assert len(objection) < 2000
    assert objection.isprintable() or not objection
