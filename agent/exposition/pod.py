"""Families of containers: what each is charged for, what it holds now, and since when without using it."""

from collections.abc import Iterator

from gputally.agent.exposition.family import MICRO, Family, counter, gauge, put
from gputally.agent.snapshot import Snapshot

_LABELS = ("namespace", "pod", "container", "uuid")


def pod_families(snapshot: Snapshot) -> Iterator[Family]:
    """Of every container that had a device within the last ten minutes, and what is held now."""
    yield from _counters(snapshot)
    yield from _holdings(snapshot)
    yield from _infos(snapshot)


def _counters(snapshot: Snapshot) -> Iterator[Family]:
    time = counter("pod_gpu_seconds", "Time that a container held or used a device, by state", *_LABELS, "state")
    energy = counter("pod_energy_joules", "Energy that a container is charged for", *_LABELS)
    unreserved = counter(
        "pod_unreserved_gpu_seconds",
        "Time that a container used of what nobody held; part of state used",
        *_LABELS,
    )
    intruder = counter(
        "pod_intruder_gpu_seconds", "Time that a container used of what somebody else held; in no state", *_LABELS
    )
    memory = gauge("pod_gpu_memory_bytes", "Memory that a container's processes hold on a device", *_LABELS)
    for pod in snapshot.pods:
        labels = (pod.namespace, pod.pod, pod.container, pod.uuid)
        for state, us in pod.time_us.items():
            put(time, (*labels, state.value), us, MICRO)
        put(energy, labels, pod.energy_mj, 1000)
        put(unreserved, labels, pod.unreserved_us, MICRO)
        put(intruder, labels, pod.intruder_us, MICRO)
        put(memory, labels, pod.memory_bytes)
    yield from (time, energy, unreserved, intruder, memory)


def _holdings(snapshot: Snapshot) -> Iterator[Family]:
    labels = (*_LABELS, "partition")
    share = gauge("pod_gpu_share_ratio", "How much of a device a container holds", *labels)
    held = gauge("pod_gpu_held_seconds", "How long the agent has seen a container hold what it holds now", *labels)
    spell = gauge(
        "pod_gpu_idle_spell_seconds",
        "Measured time without use since a container last used what it holds: 0 while it does, absent where not known",
        *labels,
    )
    for each in snapshot.spells:
        key = (each.namespace, each.pod, each.container, each.uuid, each.partition)
        put(share, key, float(each.share))
        put(held, key, each.held_us, MICRO)
        put(spell, key, each.spell_us, MICRO)
    yield from (share, held, spell)


def _infos(snapshot: Snapshot) -> Iterator[Family]:
    info = gauge(
        "pod_info",
        "A pod that holds something, with the object that manages it and its label gputally.io/idle-alert; "
        "its value is 1",
        "namespace",
        "pod",
        "workload_kind",
        "workload",
        "idle_alert",
    )
    start = gauge("pod_start_timestamp_seconds", "When the kubelet took a pod on that holds something", *_LABELS[:2])
    for pod in snapshot.pod_infos:
        put(info, (pod.namespace, pod.pod, pod.workload_kind, pod.workload, pod.idle_alert), 1)
        put(start, (pod.namespace, pod.pod), pod.started_us, MICRO)
    yield from (info, start)
