"""Objects as a Kubernetes API shows them: pods of the demo's scenarios, what owns them, nodes and namespaces. Pure.

Versions are microseconds since the epoch.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from gputally.accounting.ledger_hour import from_us
from gputally.agent.simulated.scenario import Container, OwnerObject, Pod, PodRun, Scenario, container_id
from gputally.demo.lives import Life

Object = dict[str, Any]
_UID_SPACE = uuid.UUID("9d1c2b6e-52f4-5a7e-8b1d-0c8e6f4a7d35")  # any fixed value: UIDs are derived, never drawn
_MIB = 2**20
_OUT_OF_MEMORY, _KILLED = "OOMKilled", 137  # a reason, and the exit code after SIGKILL


def pod(life: Life, us: int, resources: Mapping[str, str]) -> Object:
    """The pod as it is at `us`. `resources`: as what its node's device plugin offers each device."""
    run, ended_us = life.run, life.ended_us(us)
    metadata = _metadata(run.name, run.uid, life.start_us)
    metadata |= _described(life.pod, run) | {"namespace": run.namespace, "ownerReferences": _references(life, 0)}
    metadata["resourceVersion"] = str(ended_us or life.start_us)
    containers = [_container(container, resources) for container in life.pod.containers]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": life.node, "containers": containers},
        "status": _status(life, ended_us),
    }


def owner(life: Life, number: int) -> Object:
    """The metadata of one of the owners of a pod, counted from the nearest."""
    found = life.pod.owners[number]
    metadata = _metadata(owner_name(found, life.run), _uid_of(found, life.run), life.start_us)
    metadata |= _described(found, life.run) | {
        "namespace": life.run.namespace,
        "ownerReferences": _references(life, number + 1),
    }
    return {"apiVersion": found.api, "kind": found.kind, "metadata": metadata}


def owner_name(of: OwnerObject, run: PodRun) -> str:
    """What an owner is called in this life of its pod."""
    return run.filled(of.name)


def node(name: str, scenario: Scenario, since_us: int) -> Object:
    """A node with the labels that GPU Feature Discovery writes."""
    return _made("Node", name, _of_gpus(scenario) | {"kubernetes.io/hostname": name}, since_us)


def namespace(name: str, since_us: int) -> Object:
    """A namespace."""
    return _made("Namespace", name, {"kubernetes.io/metadata.name": name}, since_us)


def made(manifest: Object, since_us: int) -> Object:
    """What a manifest makes."""
    given = manifest["metadata"]
    uid = str(uuid.uuid5(_UID_SPACE, f"{manifest['kind']}/{given.get('namespace', '')}/{given['name']}"))
    return manifest | {"metadata": given | _metadata(given["name"], uid, since_us)}


def _made(kind: str, name: str, labels: Mapping[str, str], since_us: int) -> Object:
    metadata = _metadata(name, str(uuid.uuid5(_UID_SPACE, f"{kind}/{name}")), since_us)
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata | {"labels": dict(labels)}}


def _of_gpus(scenario: Scenario) -> dict[str, str]:
    """Of the first GPU, as GPU Feature Discovery does where they differ."""
    gpu = scenario.gpus[0]
    return {
        "nvidia.com/gpu.product": gpu.info.model.replace(" ", "-"),
        "nvidia.com/gpu.count": str(len(scenario.gpus)),
        "nvidia.com/gpu.memory": str(gpu.memory_bytes // _MIB),
        "nvidia.com/gpu.replicas": str(gpu.replicas or 1),
        "nvidia.com/gpu.sharing-strategy": "time-slicing" if gpu.replicas else "none",
    }


def _metadata(name: str, uid: str, since_us: int) -> Object:
    return {"name": name, "uid": uid, "creationTimestamp": _instant(since_us), "resourceVersion": str(since_us)}


def _described(of: Pod | OwnerObject, run: PodRun) -> Object:
    texts = {"labels": of.labels, "annotations": of.annotations}
    return {name: {key: run.filled(text) for key, text in pairs} for name, pairs in texts.items()}


def _references(life: Life, number: int) -> list[Object]:
    """The reference to the owner of this number, which the one before it has; nothing above the last."""
    return [
        {
            "apiVersion": found.api,
            "kind": found.kind,
            "name": owner_name(found, life.run),
            "uid": _uid_of(found, life.run),
            "controller": True,
        }
        for found in life.pod.owners[number : number + 1]
    ]


def _uid_of(of: OwnerObject, run: PodRun) -> str:
    return str(uuid.uuid5(_UID_SPACE, f"{of.api}/{of.kind}/{run.namespace}/{owner_name(of, run)}"))


def _container(of: Container, resources: Mapping[str, str]) -> Object:
    counted = Counter(resources[device_id] for device_id in of.gpus)
    return {"name": of.name, "resources": {"limits": {name: str(count) for name, count in sorted(counted.items())}}}


def _status(life: Life, ended_us: int | None) -> Object:
    began = _instant(life.start_us)
    if ended_us is None:
        phase, state = "Running", {"running": {"startedAt": began}}
    else:
        phase, state = "Failed" if life.pod.fails else "Succeeded", {"terminated": _end(life, ended_us)}
    return {"phase": phase, "startTime": began, "containerStatuses": list(_statuses(life, state))}


def _statuses(life: Life, state: Object) -> Iterable[Object]:
    for container in life.pod.containers:
        told = f"containerd://{container_id(life.run.uid, container.name)}"
        yield {"name": container.name, "containerID": told, "state": state}


def _end(life: Life, ended_us: int) -> Object:
    fails = life.pod.fails
    code = (_KILLED if fails == _OUT_OF_MEMORY else 1) if fails else 0
    return {"exitCode": code, "reason": fails or "Completed", "finishedAt": _instant(ended_us)}


def _instant(us: int) -> str:
    return from_us(us).strftime("%Y-%m-%dT%H:%M:%SZ")
