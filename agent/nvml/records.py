"""What NVML's arrays mean: bytes into values, values that cannot be true refused and counted. Nothing here calls NVML.

Layouts follow the published ABI (nvmlSample_t, nvmlProcessInfo_v2_t, nvmlProcessUtilizationSample_t). Time stamps are
CPU wall-clock microseconds, written by the driver: a clock that was set back sets them back too.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from struct import Struct

from gputally.agent.sample import BusySample, GpuProcess, ProcessBusy, ProcessKind

ONES_32 = 0xFFFF_FFFF
ONES_64 = 0xFFFF_FFFF_FFFF_FFFF  # also NVML_VALUE_NOT_AVAILABLE of a process's memory
AHEAD_US = 2_000_000  # how far the driver's time stamp may be ahead of our clock before we call it wrong

SAMPLE_BYTES = 16
_SAMPLE_BY_VALUE_TYPE = {  # NVML_VALUE_TYPE_*: which member of nvmlValue_t holds the value
    0: Struct("=Qd"),
    1: Struct("=QI4x"),
    2: Struct("=QQ"),
    3: Struct("=QQ"),
    4: Struct("=Qq"),
    5: Struct("=Qi4x"),
    6: Struct("=QH6x"),
}
_SAMPLE_OF_UNKNOWN_TYPE = Struct("=Q8x")
PROCESS = Struct("=I4xQ8x")  # pid, memory; the MIG instance's two ids are left out
PROCESS_BUSY = Struct("=I4xQI12x")  # pid, time stamp, sm; memory, encoder and decoder percent are left out

_PERCENTAGES = frozenset(range(101))
_CERTAINTY_OF_KIND = {ProcessKind.GRAPHICS: 0, ProcessKind.COMPUTE: 1, ProcessKind.MPS: 2}


def known(value: int | None, sentinel: int, what: str, rejected: Counter[str]) -> int | None:
    """The value, or None where the driver wrote `sentinel` for "not available" under a successful answer."""
    if value == sentinel:
        rejected[f"{what}-sentinel"] += 1
        return None
    return value


def known_percent(value: int | None, what: str, rejected: Counter[str]) -> int | None:
    """The percentage, or None where it cannot be one."""
    if value is None or 0 <= value <= 100:
        return value
    rejected[f"{what}-sentinel" if value in (ONES_32, ONES_64) else f"{what}-out-of-range"] += 1
    return None


def millionths(percent: float, what: str, rejected: Counter[str]) -> int | None:
    """A percentage with decimals in millionths of the whole, or None where it cannot be one."""
    scaled = percent * 10_000
    if -0.5 <= scaled <= 1_000_000.5:  # what rounds to a possible one; not so for NaN
        return round(scaled)
    rejected[f"{what}-out-of-range"] += 1
    return None


def sample_entries(array: bytes, value_type: int) -> list[tuple[int, int]]:
    """(time stamp, value) of an array of nvmlSample_t; of a value type that we do not know, every value is -1."""
    if value_type in _SAMPLE_BY_VALUE_TYPE:
        return list(_SAMPLE_BY_VALUE_TYPE[value_type].iter_unpack(array))
    return [(stamp, -1) for (stamp,) in _SAMPLE_OF_UNKNOWN_TYPE.iter_unpack(array)]


def busy_samples(
    entries: Iterable[tuple[int, int]], after_us: int, now_us: int, rejected: Counter[str]
) -> tuple[BusySample, ...]:
    """The entries newer than `after_us`, oldest first. A wrong value leaves its time, a wrong time leaves nothing."""
    samples = []
    latest_us = now_us + AHEAD_US
    for end_us, value in sorted(entries):
        if after_us < end_us <= latest_us and value in _PERCENTAGES:
            samples.append(BusySample(end_us, round(value)))
            after_us = end_us
            continue
        if not _is_timely(end_us, after_us, now_us, "utilization", rejected):
            continue
        percent = known_percent(value, "utilization", rejected)
        samples.append(BusySample(end_us, None if percent is None else round(percent)))
        after_us = end_us
    return tuple(samples)


def process_busy(
    array: bytes, after_us: int, now_us: int, rejected: Counter[str]
) -> tuple[tuple[ProcessBusy, ...], int]:
    """Each process's utilisation since `after_us`, and the newest time stamp that was good.

    A record's time stamp is that of the last buffer entry in which its process was active, so they differ.
    """
    busy: dict[int, ProcessBusy] = {}
    newest_us = after_us
    for pid, stamp_us, value in sorted(PROCESS_BUSY.iter_unpack(array), key=lambda record: record[1]):
        if not _is_timely(stamp_us, after_us, now_us, "process-utilization", rejected):
            continue
        newest_us = stamp_us
        percent = known_percent(value, "process-utilization", rejected)
        if percent is not None and _is_pid(pid, rejected):
            busy[pid] = ProcessBusy(pid, percent)
    return tuple(busy.values()), newest_us


def pids_of(array: bytes) -> set[int]:
    """Who stands on a process list."""
    return {pid for pid, _ in PROCESS.iter_unpack(array)}


def memory_of(array: bytes) -> int:
    """The sum of what a process list says of memory, bytes; of one that it does not know it says the same always."""
    return sum(held_bytes for _, held_bytes in PROCESS.iter_unpack(array))


def merge_processes(
    lists: Iterable[tuple[ProcessKind, bytes]], rejected: Counter[str], instance: str = ""
) -> tuple[GpuProcess, ...]:
    """One entry per pid: the largest memory any list knows, and MPS before compute before graphics.

    `instance`: UUID of the MIG device whose lists they are.
    """
    merged: dict[int, GpuProcess] = {}
    for kind, array in lists:
        for pid, memory in PROCESS.iter_unpack(array):
            if _is_pid(pid, rejected):
                entry = GpuProcess(pid, kind, None if memory == ONES_64 else memory, instance=instance)
                merged[pid] = _merged(merged[pid], entry) if pid in merged else entry
    return tuple(merged.values())


def sysfs_bus_id(bus_id: str) -> str:
    """NVML's `00000000:3B:00.0` as sysfs and ResourceSlices write it: `0000:3b:00.0`; a real high domain stays."""
    domain, colon, rest = bus_id.lower().partition(":")
    return domain[-4:] + colon + rest if domain[:-4].strip("0") == "" else domain + colon + rest


def _is_timely(stamp_us: int, after_us: int, now_us: int, what: str, rejected: Counter[str]) -> bool:
    if stamp_us <= after_us:
        rejected[f"{what}-time-stale"] += 1
    elif stamp_us > now_us + AHEAD_US:
        rejected[f"{what}-time-ahead"] += 1
    else:
        return True
    return False


def _is_pid(pid: int, rejected: Counter[str]) -> bool:
    if pid == 0:
        rejected["pid-zero"] += 1
    return pid != 0


def _merged(one: GpuProcess, other: GpuProcess) -> GpuProcess:
    kind = max(one.kind, other.kind, key=_CERTAINTY_OF_KIND.__getitem__)
    memories = [each.memory_bytes for each in (one, other) if each.memory_bytes is not None]
    return replace(one, kind=kind, memory_bytes=max(memories, default=None))
