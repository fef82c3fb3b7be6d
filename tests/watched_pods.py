"""Pods as a watch of the API shows them, for tests of whose work they are."""

from typing import Any

from sqlalchemy import Engine, insert

from gputally.collector.cluster.pod import watched_pod
from gputally.collector.cluster.pod_row import row_of
from gputally.collector.database.engine import writing
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.workloads.read_pod import Wanted
from gputally.collector.workloads.workload import Evidence, Workload

CREATED = "2026-07-01T00:00:00Z"
Object = dict[str, Any]


def gpu_pod(name: str = "train-0", namespace: str = "search", **fields: Any) -> Object:
    """A pod that asks for GPUs. Fields: uid, version, gpus (0: none), owner, labels, annotations, status."""
    resources = {"limits": {"nvidia.com/gpu": str(fields["gpus"])}} if fields.setdefault("gpus", 1) else {}
    owner = fields.get("owner")
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": fields.get("uid", f"uid-of-{name}"),
            "resourceVersion": str(fields.get("version", 1)),
            "creationTimestamp": CREATED,
            "labels": fields.get("labels", {}),
            "annotations": fields.get("annotations", {}),
            "ownerReferences": [owner] if owner else [],
        },
        "spec": {"containers": [{"name": "main", "resources": resources}]},
        "status": fields.get("status", {"phase": "Running", "startTime": "2026-07-01T00:00:05Z"}),
    }


def owner(kind: str = "PyTorchJob", name: str = "bert", api: str = "kubeflow.org/v1", uid: str = "") -> Object:
    """A reference to the controller of a pod."""
    return {"apiVersion": api, "kind": kind, "name": name, "uid": uid or f"uid-of-{name}", "controller": True}


def failed(reason: str = "OOMKilled", at: str = "2026-07-01T01:00:00Z", code: int = 137) -> Object:
    """The status of a pod whose one container ended so."""
    ended = {"exitCode": code, "reason": reason, "finishedAt": at}
    phase = "Failed" if code else "Succeeded"
    statuses = [{"name": "main", "state": {"terminated": ended}}]
    return {"phase": phase, "startTime": "2026-07-01T00:00:05Z", "containerStatuses": statuses}


def learn(
    engine: Engine,
    name: str,
    label: str,
    *,
    namespace: str = "search",
    uid: str = "",
    cluster: str = "east",
    seen_us: int = 1,
    status: Object | None = None,
    **fields: Any,
) -> None:
    """Let a pod be known to be the work of `kind.platform/name`, since `seen_us`; `fields` are its workload's."""
    kind, _, of = label.partition("/")
    kind, _, platform = kind.partition(".")
    told = {} if status is None else {"status": status}
    pod = watched_pod(gpu_pod(name, namespace, uid=uid or f"uid-of-{name}", **told), Wanted())
    assert pod is not None
    work = Workload(namespace, platform or "kubernetes", kind, of, None, Evidence.OWNER, "test", **fields)
    with writing(engine) as connection:
        connection.execute(insert(pod_workload).values(row_of(cluster, pod, work, complete=True, now_us=seen_us)))
