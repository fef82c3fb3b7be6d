"""Queues as the APIs of Kueue and Volcano show them, and what the database knows of them."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, Table, select, update

from gputally.collector.cluster.watch import Listing, ObjectKind
from gputally.collector.database.engine import reading, writing
from gputally.collector.database.schema_workload import pod_workload
from gputally.collector.queues.history import QueueHistory
from gputally.collector.queues.quota import read_cluster_queue, read_local_queue, read_volcano_queue

CREATED = "2026-07-01T00:00:00Z"  # tests.windows.START_US
Object = dict[str, Any]
_READ = {"ClusterQueue": read_cluster_queue, "LocalQueue": read_local_queue, "Queue": read_volcano_queue}
_KINDS = {
    "ClusterQueue": ObjectKind.CLUSTER_QUEUE,
    "LocalQueue": ObjectKind.LOCAL_QUEUE,
    "Queue": ObjectKind.QUEUE,
}


def _metadata(name: str, fields: Mapping[str, Any]) -> Object:
    uid, version = fields.get("uid", f"uid-of-{name}"), str(fields.get("version", 1))
    return {
        "name": name,
        "uid": uid,
        "resourceVersion": version,
        "creationTimestamp": fields.get("created", CREATED),
    }


def cluster_queue(name: str = "gpus", nominal: object = "8", **fields: Any) -> Object:
    """A ClusterQueue of one flavor. Fields: uid, version, created, cohort, flavor, held, and those of its quota."""
    flavor = fields.get("flavor", "h100")
    limits = {limit: fields[limit] for limit in ("borrowingLimit", "lendingLimit") if limit in fields}
    resources = [{"name": "nvidia.com/gpu", "nominalQuota": nominal, **limits}]
    held = (
        [{"name": flavor, "resources": [{"name": "nvidia.com/gpu", "total": fields["held"]}]}]
        if "held" in fields
        else []
    )
    group = {"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": flavor, "resources": resources}]}
    cohort = {"cohortName": fields["cohort"]} if "cohort" in fields else {}
    return {
        "kind": "ClusterQueue",
        "metadata": _metadata(name, fields),
        "spec": {**cohort, "resourceGroups": [group]},
        "status": {"flavorsReservation": held},
    }


def local_queue(name: str = "lq", into: str = "gpus", namespace: str = "search", **fields: Any) -> Object:
    """A LocalQueue. Fields: uid, version, created."""
    metadata = {**_metadata(f"{namespace}-{name}", fields), "name": name, "namespace": namespace}
    return {"kind": "LocalQueue", "metadata": metadata, "spec": {"clusterQueue": into}}


def volcano_queue(name: str = "batch", **fields: Any) -> Object:
    """A Queue of Volcano. Fields: uid, version, created, deserved, capability."""
    lists = {of: {"nvidia.com/gpu": fields[of]} for of in ("deserved", "capability") if of in fields}
    return {"kind": "Queue", "metadata": _metadata(name, fields), "spec": {"weight": 1, **lists}}


def put(to: QueueHistory, *raws: Object) -> None:
    """Let a watch show objects."""
    for raw in raws:
        to.put(_KINDS[raw["kind"]], _READ[raw["kind"]](raw))


def delete(to: QueueHistory, raw: Object) -> None:
    """Let a watch show that an object is gone."""
    to.delete(_KINDS[raw["kind"]], _READ[raw["kind"]](raw))


def listed(to: QueueHistory, kind: ObjectKind, version: int, *raws: Object) -> None:
    """Let a list show objects of a kind."""
    to.replace(kind, Listing([_READ[raw["kind"]](raw) for raw in raws], str(version)))


def know(engine: Engine, *raws: Object, cluster: str = "east", now_us: int = 1) -> None:
    """Let queues be known."""
    put(QueueHistory(engine, cluster, lambda: now_us), *raws)


def claim(engine: Engine, name: str, queue: str, source: str, **claims: str) -> None:
    """Let a pod that is known (tests.watched_pods.learn) name a queue, and more."""
    texts = {"queue": queue, **claims}
    sources = json.dumps(dict.fromkeys(texts, source))
    with writing(engine) as connection:
        connection.execute(update(pod_workload).where(pod_workload.c.pod == name).values(**texts, sources=sources))


def rows(engine: Engine, table: Table) -> list[Mapping[str, Any]]:
    """All rows of a table, in the order of its key."""
    with reading(engine) as connection:
        found = connection.execute(select(table).order_by(*table.primary_key)).mappings()
        return [dict(row) for row in found]
