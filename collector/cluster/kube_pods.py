"""The pods of a cluster, and the metadata of the objects that own them, through the `kubernetes` package.

Pods are read whole, because their ends and what they ask for stand outside of their metadata; of everything else only
the metadata is asked for.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gputally.collector.cluster.kube import PARTIAL, KubeApi, body, core, custom, errors, raw
from gputally.collector.cluster.place import KubePlace
from gputally.collector.cluster.pod import WatchedPod, watched_pod
from gputally.collector.cluster.watch import ObjectKind
from gputally.collector.workloads.pod import OwnerFacts, OwnerReference
from gputally.collector.workloads.read_pod import Wanted, read_owner

_JSON = "application/json"
_POD = "Pod"  # the only owner in the core's group that is looked at: a Spark driver, a leader of a group
# What a tenant writes into a reference becomes a part of a URL.
_API_VERSION = re.compile(r"([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?)/(v[a-z0-9]{1,62})", re.ASCII)
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", re.ASCII)

Keep = Callable[[Sequence[WatchedPod]], Sequence[WatchedPod]]  # those that matter, of some
Read = Callable[[str, OwnerReference], OwnerFacts | None]
Plural = Callable[[str, str], str | None]  # of an API version and a kind; None: there is none in a namespace


def open_watched(place: KubePlace, wanted: Wanted, keep: Keep) -> KubeApi[WatchedPod]:
    """The pods of the cluster whose API is there, as far as `keep` wants them; nothing is asked yet."""

    def read(_kind: ObjectKind, items: Sequence[Mapping[str, Any]]) -> Sequence[WatchedPod]:
        return keep([pod for item in items if (pod := watched_pod(item, wanted)) is not None])

    ask = {ObjectKind.POD: core(place, _JSON).list_pod_for_all_namespaces}
    return KubeApi(ask, ask, read)


def open_plurals(place: KubePlace) -> Plural:
    """What asks how the objects of a kind are called in URLs; raises ClusterError, NotThere, Refused."""
    ask = custom(place, _JSON).get_api_resources

    def plural(api_version: str, kind: str) -> str | None:
        known = _API_VERSION.fullmatch(api_version)
        if known is None:
            return None
        with errors(f"the kinds of {api_version}", "get"):
            found = body(ask(known[1], known[3], **raw()))
            named = (one["name"] for one in found["resources"] if one["kind"] == kind and one["namespaced"])
            return next((name for name in named if "/" not in name), None)

    return plural


def open_owners(place: KubePlace, wanted: Wanted, plural: Plural) -> Read:
    """What reads the object that a reference names in a namespace; raises ClusterError, NotThere, Refused."""
    pods, others = core(place, PARTIAL).read_namespaced_pod, custom(place, PARTIAL).get_namespaced_custom_object

    def read(namespace: str, reference: OwnerReference) -> OwnerFacts | None:
        if not _NAME.fullmatch(reference.name):
            return None
        if reference.key == _POD:
            with errors("pods", "get"):
                return read_owner(body(pods(reference.name, namespace, **raw())), wanted)
        name = plural(reference.api_version, reference.kind)
        if name is None:
            return None
        group, _, version = reference.api_version.partition("/")
        with errors(f"{name}.{group}", "get"):
            return read_owner(body(others(group, version, namespace, name, reference.name, **raw())), wanted)

    return read
