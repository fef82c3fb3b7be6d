"""The names that DCGM gives to what we read, in DCGM's units: dashboards and queries made for its exporter go on.

Only what was measured is here. DCGM_FI_PROF_* are GPM's figures and absent where the GPU has none: the cost of
Kubernetes is computed from GR_ENGINE_ACTIVE by others, so utilisation is not passed off as it. Names, units and labels
are those of DCGM's field list and of dcgm-exporter's output; both spellings of the host's name are asked for.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric

from gputally.agent.exposition.device import utilization_percent
from gputally.agent.sample import DeviceInfo, GpmReading, Reading, Vitals
from gputally.agent.snapshot import DeviceSnapshot, PartitionSnapshot, Place, Snapshot

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class _Series:
    """One device, or one MIG device of it."""

    labels: dict[str, str]
    reading: Reading | None = None
    vitals: Vitals | None = None
    quality: GpmReading | None = None
    last_xid: int | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None


_Value = Callable[[_Series], float | None]


def _read(take: Callable[[Reading], float | None]) -> _Value:
    return lambda series: take(series.reading) if series.reading else None


def _vital(take: Callable[[Vitals], float | None]) -> _Value:
    return lambda series: take(series.vitals) if series.vitals else None


def _quality(take: Callable[[GpmReading], int | None]) -> _Value:
    """DCGM's ratios, from 0 to 1."""

    def ratio(series: _Series) -> float | None:
        millionths = take(series.quality) if series.quality else None
        return None if millionths is None else millionths / 1_000_000

    return ratio


def _mib(size: int | None) -> int | None:
    return None if size is None else size // _MIB


# Counters, too, are told without a type: a name that DCGM gave has no `_total`, which a counter's must have.
_FAMILIES: tuple[tuple[str, str, str, _Value], ...] = (
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %)", _read(utilization_percent)),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C)", _vital(lambda v: v.temperature_c)),
    (
        "DCGM_FI_DEV_POWER_USAGE",
        "gauge",
        "Power draw (in W)",
        _read(lambda r: None if r.power_mw is None else r.power_mw / 1000),
    ),
    (
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "unknown",
        "Energy since the driver was loaded (in mJ)",
        _read(lambda r: r.energy_mj),
    ),
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz)", _vital(lambda v: v.sm_clock_mhz)),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz)", _vital(lambda v: v.memory_clock_mhz)),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB)", lambda s: _mib(s.memory_used_bytes)),
    ("DCGM_FI_DEV_FB_TOTAL", "gauge", "Framebuffer memory in all (in MiB)", lambda s: _mib(s.memory_total_bytes)),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered", lambda s: s.last_xid),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time any engine was active", _quality(lambda q: q.graphics)),
    ("DCGM_FI_PROF_SM_ACTIVE", "gauge", "Ratio of cycles an SM has a warp assigned", _quality(lambda q: q.sm)),
    ("DCGM_FI_PROF_SM_OCCUPANCY", "gauge", "Ratio of warps resident on an SM", _quality(lambda q: q.occupancy)),
    (
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "gauge",
        "Ratio of cycles the tensor pipe is active",
        _quality(lambda q: q.tensor),
    ),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "gauge", "Ratio of cycles the memory interface is active", _quality(lambda q: q.dram)),
)


def dcgm_families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every value that DCGM has a name for, of devices and of MIG devices that were sampled."""
    series = [each for device in snapshot.devices for each in _series(snapshot.node, device)]
    for name, kind, text, value in _FAMILIES:
        yield _family(name, kind, text, value, series)


def _family(name: str, kind: str, text: str, value: _Value, series: Iterable[_Series]) -> Metric:
    family = Metric(name, text, kind)
    for each in series:
        found = value(each)
        if found is not None:
            family.add_sample(name, each.labels, found)
    return family


def _series(node: str, device: DeviceSnapshot) -> Iterator[_Series]:
    reading = device.reading
    if device.info is None or reading is None:
        return
    labels = _labels(node, device.model, device.info)
    yield _Series(
        labels | _place(device.place),
        reading,
        device.vitals,
        device.quality,
        device.last_xid,
        reading.memory_used_bytes,
        reading.memory_total_bytes,
    )
    for part in device.partitions:
        yield _Series(
            labels | _instance(part) | _place(part.place),
            quality=part.quality,
            memory_used_bytes=part.memory_used_bytes,
            memory_total_bytes=part.memory_total_bytes,
        )


def _labels(node: str, model: str, info: DeviceInfo) -> dict[str, str]:
    return {
        "gpu": str(info.index),
        "UUID": info.uuid,
        "pci_bus_id": info.pci_bus_id,
        "device": "" if info.minor is None else f"nvidia{info.minor}",
        "modelName": model,
        "Hostname": node,
        "hostname": node,
    }


def _instance(part: PartitionSnapshot) -> dict[str, str]:
    return {"GPU_I_ID": str(part.info.gpu_instance), "GPU_I_PROFILE": part.info.profile}


def _place(place: Place | None) -> dict[str, str]:
    """The labels of who holds it alone; on a shared GPU nobody's value is one pod's."""
    return {"namespace": place.namespace, "pod": place.pod, "container": place.container} if place else {}
