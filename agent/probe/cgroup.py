"""/proc/<pid>/cgroup text -> container. Pure: no file is opened here.

The kubelet names the pod's cgroup, the runtime the container's below it. The names depend on the cgroup driver
(cgroupfs or systemd), on the runtime, and on the cgroup namespace of the reader, to whom paths outside of it begin with
`/..`; cgroup v1 has a line for each hierarchy, v2 has one. One grammar reads them all, segment by segment.
"""

import re
from collections.abc import Container
from dataclasses import replace
from typing import NamedTuple

from gputally.agent.sample import ContainerRef

__all__ = ["ContainerRef", "JobRef", "job", "parse", "slice_uid", "unit"]

# `<hierarchy>:<controllers>:<path>` (the path may contain colons too); a bare path has nothing before it.
_LINE = re.compile(r"^(?:[0-9]+:([^:/\n]*):)?(.+)$", re.MULTILINE)
_DELETED = " (deleted)"  # the kernel's mark behind the path of a removed cgroup

# systemd slices write a uid with `_`, cgroupfs with `-`; static pods have the hash of their manifest instead.
_POD = re.compile(
    r"(?P<prefix>.*-)?pod(?P<uid>[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?", re.DOTALL
)

# 64 hex digits, or the 32 and a number that ECS on Fargate uses; nothing shorter: it could be anything.
_CONTAINER = re.compile(r"(?:(?P<prefix>[a-z-]+)-)?(?P<id>[0-9a-f]{64}|[0-9a-f]{32}-[0-9]+)(?:\.scope)?")
_SHORTEST_ID = 33

_RUNTIMES = {
    "cri-containerd": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
}
_MONITORS = frozenset({"crio-conmon", "libpod-conmon"})
_QOS_CLASSES = frozenset({"burstable", "besteffort"})
_UNITS = (".service", ".scope", ".slice")
_ODD = re.compile(r"[^A-Za-z0-9:_.\\@-]")  # in no unit's name, but maybe in that of a cgroup of a user's
_LONGEST_UNIT = 253  # as names of Kubernetes; what is longer than a collector takes would cost the whole window

# Below user.slice everything was made by that user: no kubelet's pod is there, whatever a cgroup is called. The slice
# is in sight from the root, or from the root of the reader's cgroup namespace.
_OF_A_USER = re.compile(r"(?:/\.\.)*/user(?:\.slice|-[0-9]+\.slice|@[0-9]+\.service)(?:/.*)?", re.DOTALL)

# Where slurmd makes the cgroups of jobs: on v2 in a scope of its own, on v1 at the root of each hierarchy; with the
# node's name in it where Slurm was built for several slurmd on one machine. Only from the root on (or from the root of
# the reader's cgroup namespace): below user.slice, services and containers anybody may call a cgroup what he likes.
_JOB = re.compile(
    r"(?:/\.\.)*"
    r"(?:(?:/(?!user[.-])[^/]+\.slice)+/(?:[^/]+_)?slurmstepd\.scope|/slurm(?:_[^/]+)?/uid_(?P<uid>[0-9]{1,10}))"
    r"/(?P<name>job_[0-9]{1,10})(?:/.*)?",
    re.DOTALL,
)

_SLICE = re.compile(r"(?:/\.\.)*(?:/user\.slice)?/user-([0-9]{1,10})\.slice(?:/.*)?", re.DOTALL)


class JobRef(NamedTuple):
    """A job of Slurm's: `job_<id>`, and the uid of its user where the path says it (cgroup v1)."""

    name: str
    uid: int | None


def parse(text: str, known: Container[str] = ()) -> ContainerRef | None:
    """The container of a process, from the whole text of its cgroup file or from one bare path; never raises.

    `known` holds the uids of this node's pods. Of several pods in a path (a cluster inside a pod) it is the outermost
    known one (whoever may make cgroups can name one below its own like another pod), else the innermost. None: not in
    a container, or the lines name different pods (or, outside pods, different containers). Lines that agree on the pod
    and not on the container give the pod without a container.
    """
    paths = dict.fromkeys(path for _, path in _LINE.findall(text))  # on v1 a dozen lines mostly say the same
    refs = [ref for path in paths if (ref := _scan(path, known))]
    return _agreed([ref for ref in refs if ref.pod_uid] or refs)


def unit(text: str) -> str:
    """The innermost systemd unit (service, scope or slice) of a process, "" where there is none.

    systemd's own hierarchy is asked first (cgroup v1), then the unified one (v2), then the rest. Users may call cgroups
    what they like: signs that no unit has are escaped as systemd does it, and what is too long is cut.
    """
    paths: dict[str, str] = dict(reversed(_LINE.findall(text)))
    for controllers in ("name=systemd", "", *paths):
        for segment in reversed(paths.get(controllers, "").removesuffix(_DELETED).split("/")):
            if segment.endswith(_UNITS):
                return _ODD.sub(_escaped, segment)[:_LONGEST_UNIT]
    return ""


def _escaped(odd: re.Match[str]) -> str:
    """As systemd writes what has no place in a unit's name."""
    return "".join(f"\\x{byte:02x}" for byte in odd[0].encode(errors="surrogatepass"))


def slice_uid(text: str) -> int | None:
    """The user in whose slice a process stands, whatever uid it runs as there; None: in none.

    logind makes the slice as root, and nobody but root takes a process out of it.
    """
    paths = dict.fromkeys(path for _, path in _LINE.findall(text)) if "/user-" in text else ()
    found = {int(match[1]) for path in paths if (match := _SLICE.fullmatch(path))}
    return found.pop() if len(found) == 1 else None


def job(text: str) -> JobRef | None:
    """The Slurm job of a process; None: in none, or the lines name different ones."""
    paths = dict.fromkeys(path for _, path in _LINE.findall(text)) if "/job_" in text else ()
    matches = [match for path in paths if (match := _JOB.fullmatch(path.removesuffix(_DELETED)))]
    found = {JobRef(match["name"], int(match["uid"]) if match["uid"] else None) for match in matches}
    return found.pop() if len(found) == 1 else None


def _scan(path: str, known: Container[str]) -> ContainerRef | None:
    """The container in a path; below user.slice one that a user started, which is no pod's."""
    if not _OF_A_USER.fullmatch(path):
        return _outside(path, known)
    found = _outside(path, ())
    return ContainerRef(None, found.container_id, None, found.runtime, "user") if found and found.container_id else None


def _outside(path: str, known: Container[str]) -> ContainerRef | None:
    pods: list[ContainerRef] = []
    loose: ContainerRef | None = None
    parent = ""
    for segment in path.removesuffix(_DELETED).split("/"):
        name, _, rest = segment.partition(":")  # slice:runtime:id, where only the kubelet is in systemd mode
        if pod := _pod(name, parent):
            pods.append(pod)
        if found := _container(rest.replace(":", "-") or name, parent):
            if not pods:
                loose = found  # the last one counts: those before it are nodes that run in containers
            elif pods[-1].container_id is None and pods[-1].kind == "pod":
                pods[-1] = _inside(pods[-1], found)  # the first one counts: those below it were made by the workload
        parent = segment
    return _billable(pods, known) if pods else loose


def _billable(pods: list[ContainerRef], known: Container[str]) -> ContainerRef:
    return next((pod for pod in pods if pod.pod_uid in known), pods[-1])


def _pod(name: str, parent: str) -> ContainerRef | None:
    match = _POD.fullmatch(name) if "pod" in name else None
    if match is None:
        return None
    prefix = match["prefix"] or ""
    if prefix and "kubepods" not in prefix:
        return None
    level = prefix[:-1].rpartition("-")[2] if prefix else parent
    return ContainerRef(match["uid"].replace("_", "-"), None, _qos(level), None, "pod")


def _qos(level: str) -> str:
    """The class that the level above the pod stands for. Guaranteed pods have no level of their own.

    A level that is out of the reader's sight is not the same as none.
    """
    if level in _QOS_CLASSES:
        return level
    return "guaranteed" if level == "kubepods" else "unknown"


def _container(name: str, parent: str) -> ContainerRef | None:
    match = _CONTAINER.fullmatch(name) if len(name) > _SHORTEST_ID else None
    if match is None:
        return None
    prefix = match["prefix"]
    if prefix in _MONITORS:
        return ContainerRef(None, None, None, None, "monitor")
    if prefix is None:
        # A bare id does not tell its runtime, but below /docker it can only be Docker's.
        runtime = "docker" if parent == "docker" else "unknown"
        return ContainerRef(None, match["id"], None, runtime, "container")
    if prefix not in _RUNTIMES:
        return None
    return ContainerRef(None, match["id"], None, _RUNTIMES[prefix], "container")


def _inside(pod: ContainerRef, found: ContainerRef) -> ContainerRef:
    kind = "monitor" if found.kind == "monitor" else "pod"
    return ContainerRef(pod.pod_uid, found.container_id, pod.qos, found.runtime, kind)


def _agreed(refs: list[ContainerRef]) -> ContainerRef | None:
    """What all lines say together; a line that says less does not contradict one that says more."""
    if len(refs) < 2:
        return refs[0] if refs else None
    if len({ref.pod_uid for ref in refs}) > 1:
        return None
    fullest = max(refs, key=lambda ref: (ref.container_id is not None, ref.qos != "unknown"))
    if len({ref.container_id for ref in refs} - {None}) < 2:
        return fullest
    return replace(fullest, container_id=None, runtime=None) if fullest.pod_uid else None
