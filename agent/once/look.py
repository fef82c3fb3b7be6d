"""`gputally-agent --once`: what is on this node's GPUs now, with the pods that hold them, and what was not seen."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from gputally.accounting.states import Source
from gputally.agent.held import NOBODY, UNKNOWN, Held
from gputally.agent.probe.message import Failure
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.reservations.grants import ReservationPoller
from gputally.agent.sample import DeviceSample, GpmReading, InstanceReading, Sample

_SECOND_US = 1_000_000
_PATIENCE_US = 60_000_000


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
    return seen(node, sample, poller, monotonic_us, (problem, silence))


def seen(
    node: str,
    sample: Sample | None,
    poller: ReservationPoller | None,
    monotonic_us: Callable[[], int],
    problems: Sequence[str],
) -> Look:
    """The look that a sample and the kubelet's last answer make; `problems` may be empty texts."""
    lines = (*problems, sample.problem if sample else "", poller.state.problem if poller else "")
    sample = sample or Sample(monotonic_us(), time.time_ns() // 1000, ())
    return Look(node, sample, _held(sample, poller), tuple(line for line in lines if line))


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
            before = probe.receive(_SECOND_US)
            samples = [*([before] if isinstance(before, Sample) else []), *probe.flush(5 * _SECOND_US)]
            if samples and samples[-1].full:
                found = reduce(counters_kept, samples)
                return found, "" if found.devices else "NVML shows no GPU on this node"
    return None, f"the driver did not answer within {_PATIENCE_US // _SECOND_US} s"


def counters_kept(before: Sample, sample: Sample) -> Sample:
    """The later sample; where it came too soon after the one before for a MIG device's counters, with that one's."""
    known = {uuid: each.gpm for device in before.devices for uuid, each in instance_readings(device).items()}
    return replace(sample, devices=tuple(_completed(device, known) for device in sample.devices))


def _completed(device: DeviceSample, known: Mapping[str, GpmReading | None]) -> DeviceSample:
    if device.reading is None or not device.reading.instances:
        return device
    instances = tuple(replace(each, gpm=each.gpm or known.get(each.uuid)) for each in device.reading.instances)
    return replace(device, reading=replace(device.reading, instances=instances))


def _held(sample: Sample, poller: ReservationPoller | None) -> dict[str, Held]:
    devices = [device.info for device in sample.devices]
    if poller is None:
        return {device.uuid: NOBODY for device in devices}
    answers = poller.take()
    return answers[-1][1](devices) if answers else {device.uuid: UNKNOWN for device in devices}


def unseen(look: Look) -> list[str]:
    """What could not be seen, one line each; empty when the look is complete."""
    lines = list(look.problems)
    for sample in look.sample.devices:
        lines += [f"{sample.info.uuid}: {what}" for what in _unseen_of(sample, look.held[sample.info.uuid])]
        lines += _unseen_instances(sample)
    return lines


def _unseen_of(sample: DeviceSample, held: Held) -> Iterator[str]:
    if sample.unavailable:
        yield f"unavailable: {sample.error}"
    elif sample.reading is None:
        yield f"no answer: {sample.error}"
    else:
        if sample.reading.busy_source is Source.NONE and not sample.info.instances:
            yield "the driver does not tell its utilisation"
        if sample.reading.memory_used_bytes is None:
            yield "the driver does not tell its memory"
        if sample.detail is None or sample.detail.processes is None:
            yield "the driver does not list its processes"
    if not held.known or any(not instance.held.known for instance in held.instances):
        yield "its reservations cannot be told"


def _unseen_instances(sample: DeviceSample) -> Iterator[str]:
    for instance in instance_readings(sample).values():
        if instance.gpm is None or instance.gpm.graphics is None:
            yield f"{instance.uuid}: the driver does not tell its utilisation"


def instance_readings(sample: DeviceSample) -> dict[str, InstanceReading]:
    """What was read of each MIG device, by its UUID."""
    return {instance.uuid: instance for instance in sample.reading.instances} if sample.reading else {}
