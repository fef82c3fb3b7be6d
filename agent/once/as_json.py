"""One look as the documented JSON object. What is not known is null, never 0; 0 was measured."""

import json
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from gputally.accounting.keys import REPLICA, WHOLE_GPU, Holding, Owner
from gputally.accounting.ledger_hour import from_us
from gputally.accounting.states import OwnerKind, Source
from gputally.agent.held import UNKNOWN, Held, HeldInstance
from gputally.agent.once.look import Look, instance_readings
from gputally.agent.sample import DeviceInfo, DeviceSample, GpuProcess, InstanceReading, MigInstance

Json = dict[str, Any]
Owners = Callable[[GpuProcess, Held], Sequence[Owner]]


def as_json_text(look: Look, owners: Owners) -> str:
    """`as_json`, indented for people."""
    return json.dumps(as_json(look, owners), indent=2)


def as_json(look: Look, owners: Owners) -> Json:
    """The look as the documented JSON object."""
    taken = from_us(look.sample.wall_us)
    devices = [_device(sample, look.held[sample.info.uuid], owners) for sample in look.sample.devices]
    return {"node": look.node, "taken_at": taken.isoformat().replace("+00:00", "Z"), "devices": devices}


def _device(sample: DeviceSample, held: Held, owners: Owners) -> Json:
    reading = sample.reading
    return {
        "uuid": sample.info.uuid,
        "index": sample.info.index,
        "model": sample.info.model,
        "mig_enabled": sample.info.mig_enabled,
        "utilization": _utilization(sample),
        "memory_used_bytes": reading.memory_used_bytes if reading else None,
        "ghost_memory_bytes": sample.detail.ghost_memory_bytes if sample.detail else None,
        "power_watts": reading.power_mw / 1000 if reading and reading.power_mw is not None else None,
        "energy_mj": reading.energy_mj if reading else None,
        "source": reading.busy_source.value if reading else Source.NONE.value,
        "partitions": _partitions(sample, held),
        "processes": _processes(sample, held, owners),
    }


def _utilization(sample: DeviceSample) -> int | None:
    """Percent: the driver's own rate, else the newest entry of its buffer."""
    reading = sample.reading
    if reading is None:
        return None
    if reading.utilization_percent is None and reading.busy:
        return reading.busy[-1].percent
    return reading.utilization_percent


# What can be held.


def _partitions(sample: DeviceSample, held: Held) -> list[Json] | None:
    readings = instance_readings(sample)
    if held.instances:
        parts = [each for one in held.instances for each in _of_instance(one, readings.get(one.uuid))]
        rest = 1 - sum((one.share for one in held.instances), Fraction(0))
        return [*parts, *([_partition(WHOLE_GPU, rest, "remainder")] if rest else [])]
    if not held.known:
        return _unknown(sample.info, readings) or None
    return list(_entries(held, WHOLE_GPU, Fraction(1)))


def _unknown(info: DeviceInfo, readings: dict[str, InstanceReading]) -> list[Json]:
    """MIG devices whose holders are not known; how large they are may be."""
    parts = []
    for one in info.instances:
        share = Fraction(one.slices, info.slices) if one.slices and info.slices else None
        part = _partition(one.uuid, share, "unknown")
        parts.append(_described(part, one, readings.get(one.uuid)))
    return parts


def _of_instance(one: HeldInstance, reading: InstanceReading | None) -> Iterator[Json]:
    held = (
        [_partition(one.uuid, one.share, "unknown")] if not one.held.known else _entries(one.held, one.uuid, one.share)
    )
    for part in held:
        yield _described(part, one, reading)


def _described(part: Json, one: HeldInstance | MigInstance, reading: InstanceReading | None) -> Json:
    """What was read of a MIG device; of its replicas nothing is read one by one."""
    part |= {"instance": one.uuid, "profile": one.profile or None}
    if reading and part["id"] == one.uuid:
        graphics = reading.gpm.graphics if reading.gpm else None
        part |= {
            "utilization": None if graphics is None else round(graphics / 10_000),
            "memory_used_bytes": reading.memory_used_bytes,
            "source": (Source.NONE if graphics is None else Source.GPM).value,
        }
    return part


def _entries(held: Held, name: str, share: Fraction) -> Iterator[Json]:
    """One place: each that holds a part of it, and what is left."""
    taken = Fraction(0)
    for holding in held.holdings:
        taken += holding.share
        yield _partition(holding.partition, holding.share * share, "held", _holders(holding))
    if held.contest:
        taken += held.contest.share
        listed = sorted(held.contest.owners, key=lambda owner: owner.text)
        yield _partition(name, held.contest.share * share, "two-holders", [_holder(owner) for owner in listed])
    if held.unused_share:
        taken += held.unused_share
        yield _partition(name, held.unused_share * share, "claim-unused")
    if taken < 1:
        yield _partition(REPLICA if taken else name, (1 - taken) * share, "free")


def _partition(name: str, share: Fraction | None, state: str, holders: Sequence[Json] = ()) -> Json:
    return {
        "id": name,
        "instance": None,
        "profile": None,
        "share": None if share is None else float(share),
        "state": state,
        "holders": list(holders),
        "utilization": None,
        "memory_used_bytes": None,
        "source": None,
    }


def _holders(holding: Holding) -> list[Json]:
    """A pod holds a claim as one; the containers that list it are named."""
    return [_holder(owner) for owner in holding.containers or (holding.owner,)]


def _holder(owner: Owner) -> Json:
    return {
        "namespace": owner.namespace,
        "pod": owner.pod,
        "container": owner.container,
        "pod_uid": owner.pod_uid or None,
    }


# Who is on it.


def _processes(sample: DeviceSample, held: Held, owners: Owners) -> list[Json] | None:
    if sample.detail is None or sample.detail.processes is None:
        return None
    return [_process(process, sample, held, owners) for process in sample.detail.processes]


def _process(process: GpuProcess, sample: DeviceSample, held: Held, owners: Owners) -> Json:
    known = process.process
    container = known.container if known else None
    part = held.part(process.instance) if held.known else UNKNOWN
    owner = _owner(process, part, owners)
    pod = owner if owner and owner.kind is OwnerKind.POD else None
    percent = _process_utilization(process.pid, sample)
    return {
        "pid": process.pid,
        "type": process.kind.value,
        "instance": process.instance or None,
        "memory_bytes": process.memory_bytes,
        "utilization": percent,
        "source": (Source.NONE if percent is None else Source.PROCESS_SAMPLES).value,
        "exists": known is not None,
        "user": known.user or None if known else None,
        "unit": known.unit or None if known else None,
        "command": known.command or None if known else None,
        "kind": container.kind if container else ("none" if known else None),
        "pod_uid": container.pod_uid if container else None,
        "container_id": container.container_id if container else None,
        "namespace": pod.namespace if pod else None,
        "pod": pod.pod if pod else None,
        "container": pod.container or None if pod else None,
        "reserved": _is_reserved(owner, part),
    }


def _process_utilization(pid: int, sample: DeviceSample) -> int | None:
    """Percent since the last query; a process that the driver does not mention was idle, if it mentions any."""
    busy = sample.detail.busy if sample.detail else None
    if busy is None:
        return None
    return next((entry.percent for entry in busy if entry.pid == pid), 0)


def _owner(process: GpuProcess, part: Held, owners: Owners) -> Owner | None:
    """Whose process it is; a pod's process that cannot be named, on what one owner wholly holds, is taken for his."""
    found = owners(process, part)
    if len(found) == 1:
        return found[0]
    pods = {(owner.kind, owner.namespace, owner.pod, owner.pod_uid) for owner in found}
    if len(pods) == 1:
        (kind, namespace, pod, uid) = pods.pop()
        return Owner(kind, namespace, pod, "", uid)
    in_pod = process.process is not None and process.process.container is not None
    if not found and in_pod and len(part.holdings) == 1 and part.holdings[0].share == 1:
        return part.holdings[0].owner
    return None


def _is_reserved(owner: Owner | None, part: Held) -> bool | None:
    """Whether who runs it holds what it runs on; None where either is not known. False: an intruder, or a monitor."""
    if owner is None or not part.known:
        return None
    return part.as_held(owner) in part.listed
