"""Which questions the Kubernetes API answers to the agent's service account: each kind of object, each verb."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from gputally.agent.doctor.finding import Finding, fail, ok, warn
from gputally.agent.kube.api import Gone, KubeApi, KubeApiError, Missing, Refused
from gputally.agent.kube.slices import DRIVER
from gputally.agent.release import asks_for_release

NAME = "kubernetes-api"
_TIMEOUT_S = 5.0
_VERSIONS = ("v1", "v1beta2", "v1beta1")
_NO_LIST = "something else answers there than the Kubernetes API: no list of {}"
_DRA = ("resourceslices", "resourceclaims")
_FORBIDDEN = "the Kubernetes API answers 403"  # how agent/kube/api.py begins; 401 is no matter of verbs
_ROLE = "bind its service account to a ClusterRole with list and watch on"


@dataclass(frozen=True, slots=True)
class Access:
    """What came of asking for one kind of object. `refused`: the verb that is not allowed, and the API's words.

    `items`: those of the list, None where there is none. `served`: the cluster knows such objects.
    """

    kind: str
    items: Sequence[Mapping[str, Any]] | None = None
    refused: str = ""
    words: str = ""
    served: bool = True


@dataclass(frozen=True, slots=True)
class Answers:
    """What the API said of each kind; `error`: why it said nothing at all."""

    pods: Access = Access("pods")
    nodes: Access = Access("nodes")
    dra: tuple[Access, ...] = ()
    error: str = ""

    @property
    def releases_driver(self) -> bool:
        """Whether the node's annotation asks the agent to let go of the driver."""
        return any(asks_for_release(node) for node in self.nodes.items or ())

    @property
    def offers_dra(self) -> bool:
        """Whether a DRA driver offers GPUs of this node; no, where that is not known."""
        return any(access.items for access in self.dra if access.kind == _DRA[0])


def ask(url: str | None, make: Callable[[], KubeApi], node: str) -> Answers | None:
    """Ask for all that the agent watches; None: the API is not used."""
    if url is None:
        return None
    try:
        api = make()
        pods = _access(api, "pods", ("/api/v1/pods",), f"spec.nodeName={node}")
        nodes = _access(api, "nodes", ("/api/v1/nodes",), f"metadata.name={node}")
        slices = _access(api, _DRA[0], _paths(_DRA[0]), f"spec.nodeName={node},spec.driver={DRIVER}")
        claims = _access(api, _DRA[1], _paths(_DRA[1]), "")
    except KubeApiError as error:
        return Answers(error=str(error))
    return Answers(pods, nodes, (slices, claims))


def _paths(kind: str) -> tuple[str, ...]:
    return tuple(f"/apis/resource.k8s.io/{version}/{kind}" for version in _VERSIONS)


def _access(api: KubeApi, kind: str, paths: Sequence[str], selector: str) -> Access:
    """List and watch; raises KubeApiError where the API answers nobody, or does not know us."""
    for path in paths:
        try:
            return _listed(api, kind, path, {"fieldSelector": selector} if selector else {})
        except Missing:
            continue
    return Access(kind, served=False)


def _listed(api: KubeApi, kind: str, path: str, query: Mapping[str, str]) -> Access:
    try:
        answer = api.read(path, {**query, "limit": "500"}, _TIMEOUT_S)
    except Refused as error:
        return _refused(kind, "list", error)
    try:
        items, version = tuple(answer["items"] or ()), str(answer["metadata"]["resourceVersion"])
    except (KeyError, TypeError) as error:
        raise KubeApiError(_NO_LIST.format(kind)) from error
    watch = {**query, "watch": "1", "timeoutSeconds": "1", "resourceVersion": version}
    try:
        with closing(api.lines(path, watch, _TIMEOUT_S)) as lines:
            next(lines)
    except Refused as error:
        return _refused(kind, "watch", error)
    except Gone:
        return Access(kind, items)  # it may be watched; the version is too old by now
    return Access(kind, items)


def _refused(kind: str, verb: str, error: Refused) -> Access:
    """A verb that is not allowed; raises the error where the API server does not know who asks."""
    if not str(error).startswith(_FORBIDDEN):
        raise error
    return Access(kind, refused=verb, words=str(error).rpartition("; ")[0])


def check(
    answers: Callable[[], Answers | None], node: str, has_claims: Callable[[], bool], *, kubernetes: bool
) -> Iterator[Finding]:
    """Judge what it answers; `kubernetes`: reservations are asked for, so pods have to be named."""
    said = answers()
    if said is None:
        yield _not_asked(kubernetes=kubernetes)
    elif said.error:
        yield fail(NAME, f"{said.error}", "see --kube-api, --kube-token-file, --kube-ca-file and network policies")
    else:
        yield _pods(said.pods)
        yield _node(said.nodes, node)
        yield from (_dra(access, in_use=has_claims) for access in said.dra)


def _not_asked(*, kubernetes: bool) -> Finding:
    if kubernetes:
        return warn(
            NAME,
            "not asked: pods have no UID, and those without a reservation no name",
            "set --kube-api in-cluster, or the API's URL",
        )
    return ok(NAME, "not asked (--kube-api off)")


def _pods(pods: Access) -> Finding:
    if pods.refused:
        return fail(NAME, f"may not {pods.refused} pods: {pods.words}", f"{_ROLE} pods")
    if not pods.items:
        return warn(NAME, "no pod is on this node by the API", "see whether --node is the node's name (spec.nodeName)")
    return ok(NAME, f"may list and watch pods; on this node: {len(pods.items)}")


def _node(nodes: Access, name: str) -> Finding:
    if nodes.refused:
        return warn(
            NAME,
            f"may not {nodes.refused} nodes: only a signal can make the agent let go of the driver",
            f"{_ROLE} nodes",
        )
    if not nodes.items:
        return fail(NAME, f"the cluster has no node {name}", "set --node from spec.nodeName (GPUTALLY_NODE)")
    return ok(NAME, f"may list and watch nodes: {name} is one")


def _dra(access: Access, *, in_use: Callable[[], bool]) -> Finding:
    if not access.served:
        return ok(NAME, f"serves no {access.kind}: no DRA in this cluster")
    if not access.refused:
        return ok(NAME, f"may list and watch {access.kind}")
    if in_use():
        return fail(NAME, f"may not {access.refused} {access.kind}, and DRA claims hold GPUs here", f"{_ROLE} them")
    return ok(NAME, f"may not {access.refused} {access.kind}; no DRA claim holds a GPU of this node")
