"""`gputally-agent --once`: what is on this node's GPUs now, with the pods that hold them, as a table or as JSON.

Unknown values are null in JSON and a dash in the table; they are never 0.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gputally.accounting.keys import WHOLE_GPU, Owner
from gputally.accounting.ledger_hour import from_us
from gputally.accounting.states import OwnerKind, Source
from gputally.agent.grants import ReservationPoller
from gputally.agent.held import NOBODY, UNKNOWN, Held
from gputally.agent.message import Failure
from gputally.agent.sample import DeviceSample, GpuProcess, ProcessBusy, Sample
from gputally.agent.supervisor import Supervisor

_SECOND_US = 1_000_000
_PATIENCE_US = 60_000_000
_HEADER = ("GPU", "MODEL", "UTIL", "MEMORY", "POWER", "POD", "RESERVED", "PID")
Json = dict[str, Any]
Owners = Callable[[GpuProcess, Held], Sequence[Owner]]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the node found, and what it could not see (one line each)."""

    node: str
    sample: Sample
    held: Mapping[str, Held]
    problems: tuple[str, ...] = ()


def take(
    node: str,
    probe: Supervisor,
    poller: ReservationPoller | None,
    monotonic_us: Callable[[], int],
    problem: str,
) -> Look:
    """What is on this node now; takes a second or two, up to a minute while the driver wakes its GPUs."""
    sample, silence = _sample(probe, monotonic_us)
    problems = (problem, silence, poller.state.problem if poller else "")
    sample = sample or Sample(monotonic_us(), time.time_ns() // 1000, ())
    return Look(node, sample, _held(sample, poller), tuple(line for line in problems if line))


def nothing(node: str, wall_us: int, problem: str) -> Look:
    """A look at a node whose driver must be left alone."""
    return Look(node, Sample(0, wall_us, ()), {}, (problem,))


def _sample(probe: Supervisor, monotonic_us: Callable[[], int]) -> tuple[Sample | None, str]:
    """The second of two full samples a second apart, as a process's utilisation is only known since the query before;
    or None, and why."""
    until_us = monotonic_us() + _PATIENCE_US
    while monotonic_us() < until_us:
        message = probe.receive(_SECOND_US)
        if isinstance(message, Failure):
            return None, message.message
        if isinstance(message, Sample):
            probe.receive(_SECOND_US)
            samples = probe.flush(5 * _SECOND_US)
            if samples and samples[-1].full:
                return samples[-1], "" if samples[-1].devices else "NVML shows no GPU on this node"
    return None, f"the driver did not answer within {_PATIENCE_US // _SECOND_US} s"


def _held(sample: Sample, poller: ReservationPoller | None) -> dict[str, Held]:
    devices = [device.info for device in sample.devices]
    if poller is None:
        return {device.uuid: NOBODY for device in devices}
    answers = poller.take()
    return answers[-1][1](devices) if answers else {device.uuid: UNKNOWN for device in devices}


def as_json_text(look: Look, owners: Owners) -> str:
    """`as_json`, indented for people."""
    return json.dumps(as_json(look, owners), indent=2)


def as_json(look: Look, owners: Owners) -> Json:
    """The look as the documented JSON object."""
    taken = from_us(look.sample.wall_us)
    devices = [_device(sample, look.held[sample.info.uuid], owners) for sample in look.sample.devices]
    return {"node": look.node, "taken_at": taken.isoformat().replace("+00:00", "Z"), "devices": devices}


def unseen(look: Look) -> list[str]:
    """What could not be seen, one line each; empty when the look is complete."""
    lines = list(look.problems)
    for sample in look.sample.devices:
        lines += [f"{sample.info.uuid}: {what}" for what in _unseen_of(sample, look.held[sample.info.uuid])]
    return lines


def _unseen_of(sample: DeviceSample, held: Held) -> Iterator[str]:
    if sample.unavailable:
        yield f"unavailable: {sample.error}"
    elif sample.reading is None:
        yield f"no answer: {sample.error}"
    else:
        if sample.reading.busy_source is Source.NONE:
            yield "the driver does not tell its utilisation (MIG is on?)"
        if sample.reading.memory_used_bytes is None:
            yield "the driver does not tell its memory"
        if sample.detail is None or sample.detail.processes is None:
            yield "the driver does not list its processes"
    if not held.known:
        yield "its reservations cannot be told"


def _device(sample: DeviceSample, held: Held, owners: Owners) -> Json:
    reading = sample.reading
    return {
        "uuid": sample.info.uuid,
        "index": sample.info.index,
        "model": sample.info.model,
        "utilization": _utilization(sample),
        "memory_used_bytes": reading.memory_used_bytes if reading else None,
        "power_watts": reading.power_mw / 1000 if reading and reading.power_mw is not None else None,
        "energy_mj": reading.energy_mj if reading else None,
        "source": reading.busy_source.value if reading else Source.NONE.value,
        "partitions": _partitions(held),
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


def _partitions(held: Held) -> list[Json] | None:
    if not held.known:
        return None
    if not held.holdings and not held.contest:
        return [{"id": WHOLE_GPU, "share": 1.0, "holders": []}]
    partitions = [
        {"id": holding.partition, "share": float(holding.share), "holders": [_holder(holding.owner)]}
        for holding in held.holdings
    ]
    if held.contest:
        listed = sorted(held.contest.owners, key=lambda owner: owner.text)
        partitions.append(
            {"id": WHOLE_GPU, "share": float(held.contest.share), "holders": [_holder(owner) for owner in listed]}
        )
    return partitions


def _holder(owner: Owner) -> Json:
    return {
        "namespace": owner.namespace,
        "pod": owner.pod,
        "container": owner.container,
        "pod_uid": owner.pod_uid or None,
    }


def _processes(sample: DeviceSample, held: Held, owners: Owners) -> list[Json] | None:
    if sample.detail is None or sample.detail.processes is None:
        return None
    return [_process(process, sample, held, owners) for process in sample.detail.processes]


def _process(process: GpuProcess, sample: DeviceSample, held: Held, owners: Owners) -> Json:
    container = process.process.container if process.process else None
    owner = _owner(process, held, owners)
    pod = owner if owner and owner.kind is OwnerKind.POD else None
    return {
        "pid": process.pid,
        "memory_bytes": process.memory_bytes,
        "utilization": _process_utilization(process.pid, sample),
        "kind": container.kind if container else ("none" if process.process else None),
        "pod_uid": container.pod_uid if container else None,
        "container_id": container.container_id if container else None,
        "namespace": pod.namespace if pod else None,
        "pod": pod.pod if pod else None,
        "container": pod.container or None if pod else None,
    }


def _process_utilization(pid: int, sample: DeviceSample) -> int | None:
    """Percent since the last query; a process that the driver does not mention was idle, if it mentions any."""
    busy: tuple[ProcessBusy, ...] | None = sample.detail.busy if sample.detail else None
    if busy is None:
        return None
    return next((entry.percent for entry in busy if entry.pid == pid), 0)


def _owner(process: GpuProcess, held: Held, owners: Owners) -> Owner | None:
    """Whose process it is; a pod's process that cannot be named, on a wholly held device, is taken for the holder's."""
    found = owners(process, held)
    if len(found) == 1:
        return found[0]
    in_pod = process.process is not None and process.process.container is not None
    if not found and in_pod and len(held.holdings) == 1 and held.holdings[0].share == 1:
        return held.holdings[0].owner
    return None


def as_table(look: Look, owners: Owners) -> str:
    """The look as a table: a row per process, or per holder, or for a device that has neither."""
    rows: list[tuple[str, ...]] = [_HEADER]
    for device in as_json(look, owners)["devices"]:
        rows += _rows(device)
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _rows(device: Json) -> list[tuple[str, ...]]:
    holders = [holder for partition in device["partitions"] or () for holder in partition["holders"]]
    names = {_name(holder) for holder in holders}
    lines = [(_name(process), str(process["pid"])) for process in device["processes"] or ()]
    seen = {name for name, _ in lines}
    lines += [(name, "-") for name in sorted(names - seen)]
    unknown = "?" if device["partitions"] is None else "no"
    front = _front(device)
    rows = []
    for name, pid in lines or [("-", "-")]:
        rows.append((*front, name, "yes" if name in names else unknown, pid))
        front = ("",) * len(front)
    return rows


def _front(device: Json) -> tuple[str, ...]:
    memory, power, utilization = device["memory_used_bytes"], device["power_watts"], device["utilization"]
    return (
        str(device["index"]),
        device["model"],
        "-" if utilization is None else f"{utilization} %",
        "-" if memory is None else f"{memory / (1 << 20):.0f} MiB",
        "-" if power is None else f"{power:.0f} W",
    )


def _name(holder: Mapping[str, Any]) -> str:
    if holder["namespace"] is None:
        return "-"
    return "/".join(part for part in (holder["namespace"], holder["pod"], holder["container"]) if part)
