"""What a report must say of a scenario, worked out from the file alone: the accounting's rules, minute by minute."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

from gputally.agent.simulated.scenario import Gpu, InContainer, Instance, Scenario, Workload

MINUTE_US = 60_000_000
Name = tuple[str, str, str]


def owner(workload: Workload) -> Name:
    """Namespace, pod as the file calls it, container; or the host's user."""
    place = workload.place
    if isinstance(place, InContainer):
        return (place.pod.namespace, place.pod.name, place.container)
    return ("", "", place.user)


def held_us(scenario: Scenario, start_us: int, end_us: int) -> Counter[Name]:
    """What each container holds, whether or not it uses it, in GPU-microseconds."""
    found: Counter[Name] = Counter()
    for pod in scenario.pods:
        for container in pod.containers:
            share = sum((share_of(scenario, device_id) for device_id in container.gpus), Fraction(0))
            if share:
                found[pod.namespace, pod.name, container.name] += share * pod.present.integral(start_us, end_us)
    return found


def used_us(scenario: Scenario, start_us: int, end_us: int) -> Counter[Name]:
    """What each owner uses; on replicas no more than its share in any minute."""
    found: Counter[Name] = Counter()
    for workload, part, weight in on_parts(scenario):
        for minute_us in range(start_us, end_us, MINUTE_US):
            busy = Fraction(workload.busy.integral(minute_us, minute_us + MINUTE_US), 100)
            if part.replicas:
                busy = min(busy, MINUTE_US * replica_share(scenario, workload, part))
            found[owner(workload)] += busy * weight
    return found


def share_of(scenario: Scenario, device_id: str) -> Fraction:
    """The part of its GPU that one of the device plugin's ids stands for."""
    uuid, _, replica = device_id.partition("::")
    part, weight = next((part, weight) for part, weight in parts(scenario) if part.info.uuid == uuid)
    return weight / part.replicas if replica else weight


def replica_share(scenario: Scenario, workload: Workload, part: Gpu | Instance) -> Fraction:
    """The part of `part` that a workload's container holds."""
    place = workload.place
    assert isinstance(place, InContainer)
    held = next(one.gpus for one in place.pod.containers if one.name == place.container)
    return Fraction(sum(device_id.startswith(part.info.uuid) for device_id in held), part.replicas)


def parts(scenario: Scenario) -> Iterator[tuple[Gpu | Instance, Fraction]]:
    """What can be held, and its part of its GPU."""
    for gpu in scenario.gpus:
        if not gpu.instances:
            yield gpu, Fraction(1)
        for instance in gpu.instances:
            yield instance, Fraction(instance.info.slices or 0, gpu.info.slices or 1)


def on_parts(scenario: Scenario) -> Iterator[tuple[Workload, Gpu | Instance, Fraction]]:
    """Every workload on everything that it runs on."""
    return ((load, part, weight) for part, weight in parts(scenario) for load in part.workloads)
