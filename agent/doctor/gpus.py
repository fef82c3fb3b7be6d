"""Whether every GPU can be counted: the agent's own probe takes a look at them, in a process that may hang."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from gputally.accounting.states import Source
from gputally.agent.doctor.finding import Finding, fail, ok, warn
from gputally.agent.once import look as once
from gputally.agent.once.look import Look, instance_readings
from gputally.agent.probe.supervisor import Supervisor
from gputally.agent.sample import DeviceSample, GpuProcess

NAME, ACTIVITY, PROCESSES = "gpus", "gpu-activity", "gpu-processes"
# Words of the probe's messages.
_REPLACED, _SILENT, _WITHOUT = "was replaced", "did not answer", "a new probe is started without it"
_MONITOR = "NVIDIA_MIG_MONITOR_DEVICES=all for the agent's pod, which runs as uid 0"
_VISIBLE = "NVIDIA_VISIBLE_DEVICES=all for the agent's pod, and dmesg for a GPU that fell off the bus"


def check(
    start: Callable[[], Supervisor], monotonic_us: Callable[[], int], released: Callable[[], str], on_bus: int
) -> Iterator[Finding]:
    """Look at the GPUs; not while somebody needs the driver for himself, which `released` tells."""
    if why := released():
        yield warn(NAME, f"not looked at: the driver is released ({why})", "take that back when the work is done")
        return
    probe = start()
    try:
        look = _look(probe, monotonic_us)
    finally:
        probe.close()
    yield from judge(look, on_bus)


def _look(probe: Supervisor, monotonic_us: Callable[[], int]) -> Look:
    """One look; where one GPU hangs, the next is at the others, as the agent does it."""
    look = once.take("", probe, None, monotonic_us, "")
    if any(_WITHOUT in problem for problem in look.problems):
        others = once.take("", probe, None, monotonic_us, "")
        if others.sample.devices:
            return replace(others, problems=look.problems)
    return look


def judge(look: Look, on_bus: int) -> Iterator[Finding]:
    """What the look shows; `on_bus`: how many GPUs there should be at least, 0 unknown."""
    for problem in look.problems:
        found, cure = _parted(problem)
        yield fail(NAME, f"{found}", f"{cure}")
    devices = look.sample.devices
    if not devices:
        return
    if len(devices) < on_bus and not look.problems:
        yield fail(NAME, f"NVML shows {len(devices)} of {on_bus} GPUs on the PCI bus", _VISIBLE)
    yield from _unusable(devices)
    readable = [device for device in devices if device.reading is not None]
    if len(readable) == len(devices) >= on_bus and not look.problems:
        yield ok(NAME, f"{_models(devices)}{_partitions(devices)}")
    if readable:
        yield from _activity(readable)
        yield from _processes([device for device in readable if device.detail])


def _parted(problem: str) -> tuple[str, str]:
    """What is wrong, and what to do: the probe's messages say both, but where it goes on by itself."""
    if _REPLACED in problem:
        cure = "in a pod: delete the pod, which has the old driver's libraries; on a host: reload the module, or reboot"
        return problem.partition(";")[0], cure
    if _SILENT in problem:
        cure = "look for processes in state D and at dmesg; drain the node and reset the GPU, or reboot"
        return problem.partition(";")[0], cure
    mark = "; " if "; " in problem else ": "
    found, _, cure = problem.partition(mark)
    return found, cure or "look for the GPU in `lspci`, and at dmesg"


def _unusable(devices: tuple[DeviceSample, ...]) -> Iterator[Finding]:
    for device in devices:
        if device.unavailable:
            yield warn(
                NAME,
                f"{device.info.uuid} cannot be used: {device.error}",
                "drain the node and reset the GPU; its time is the platform's (unavailable)",
            )
        elif device.reading is None:
            cure = _MONITOR if "MIG" in device.error else "look at dmesg; drain the node and reset the GPU"
            yield fail(NAME, f"{device.info.uuid} gives no answer: {device.error}", cure)


def _models(devices: tuple[DeviceSample, ...]) -> str:
    counts = Counter(device.info.model for device in devices)
    return ", ".join(f"{count} × {model}" for model, count in sorted(counts.items()))


def _partitions(devices: tuple[DeviceSample, ...]) -> str:
    partitioned = [device.info for device in devices if device.info.mig_enabled]
    count = sum(len(info.instances) for info in partitioned)
    return f"; MIG on {len(partitioned)} of them, with {count} instances" if partitioned else ""


def _activity(devices: list[DeviceSample]) -> Iterator[Finding]:
    """Whether it can be measured what GPUs do; the driver takes no part of the question for idle ones."""
    whole = [device for device in devices if not device.info.mig_enabled]
    silent = [device for device in whole if device.reading and device.reading.busy_source is Source.NONE]
    instances = [reading for device in devices for reading in instance_readings(device).values()]
    dark = [reading for reading in instances if not reading.gpm_supported]
    if silent:
        yield fail(
            ACTIVITY,
            f"the driver does not tell the utilisation of {len(silent)} of {len(devices)} GPUs",
            "nothing on the node: their held time is unobserved (some virtual GPUs are so)",
        )
    if dark:
        yield fail(
            ACTIVITY,
            f"the utilisation of {len(dark)} of {len(instances)} MIG instances cannot be measured",
            "nothing on the node before Hopper, or where instances share a GPU instance: their held time is unobserved",
        )
    if not silent and not dark:
        yield ok(ACTIVITY, "the driver tells the utilisation of each")


def _processes(devices: list[DeviceSample]) -> Iterator[Finding]:
    """Whether the driver tells who is on the GPUs, and whether they are in /proc."""
    hidden = [device for device in devices if device.detail and device.detail.processes is None]
    if hidden:
        yield fail(
            PROCESSES,
            f"the driver does not list the processes of {len(hidden)} of {len(devices)} GPUs",
            "run the agent as uid 0; on a shared GPU their activity cannot be given to an owner",
        )
    listed: list[GpuProcess] = [
        process for device in devices if device.detail for process in device.detail.processes or ()
    ]
    gone = [process for process in listed if process.process is None]
    if gone:
        yield warn(
            PROCESSES,
            f"{len(gone)} of {len(listed)} processes on GPUs are not in /proc",
            "see pid-namespace and --proc-root; else they have ended and left their memory: see DeadProcessMemory",
        )
    if not hidden and not gone:
        yield ok(PROCESSES, f"{len(listed)} on the GPUs, each found in /proc")
