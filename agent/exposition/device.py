"""Families of devices and of their partitions. They never meet those of pods: a sum would count the same time twice."""

from collections.abc import Callable, Iterator

from gputally.agent.exposition.family import MICRO, Family, counter, gauge, put
from gputally.agent.sample import DeviceInfo, GpmReading, Reading, Vitals
from gputally.agent.snapshot import DeviceSnapshot, Snapshot

REASONS = {  # nvmlClocksEventReason*
    0x1: "gpu-idle",
    0x2: "applications-clocks-setting",
    0x4: "software-power-cap",
    0x8: "hardware-slowdown",
    0x10: "sync-boost",
    0x20: "software-thermal-slowdown",
    0x40: "hardware-thermal-slowdown",
    0x80: "hardware-power-brake",
    0x100: "display-clock-setting",
}
_LABELS = ("node", "uuid", "model")
_PARTITION_LABELS = (*_LABELS, "partition", "profile")
_NOW = "at the last sample"


def device_families(snapshot: Snapshot) -> Iterator[Family]:
    """What is known of whole devices."""
    yield from _counters(snapshot)
    yield _info(snapshot)
    yield from _gauges(snapshot)
    yield _clocks_event_reasons(snapshot)
    yield _quality(snapshot)


def partition_families(snapshot: Snapshot) -> Iterator[Family]:
    """What is known of MIG devices."""
    used = gauge("partition_memory_used_bytes", f"Memory in use on a MIG device, {_NOW}", *_PARTITION_LABELS)
    total = gauge("partition_memory_total_bytes", f"Memory of a MIG device, {_NOW}", *_PARTITION_LABELS)
    busy = gauge(
        "partition_utilization_ratio",
        "Share of time in which any engine of a MIG device was active, by GPM; absent where the GPU has none",
        *_PARTITION_LABELS,
    )
    for device in snapshot.devices:
        for part in device.partitions:
            labels = (*_of(snapshot, device), part.info.uuid, part.info.profile)
            put(used, labels, part.memory_used_bytes)
            put(total, labels, part.memory_total_bytes)
            put(busy, labels, part.quality.graphics if part.quality else None, MICRO)
    yield from (used, total, busy)


def utilization_percent(reading: Reading) -> int | None:
    """The driver's own rate, else the newest entry of its buffer."""
    if reading.utilization_percent is None and reading.busy:
        return reading.busy[-1].percent
    return reading.utilization_percent


def _of(snapshot: Snapshot, device: DeviceSnapshot) -> tuple[str, str, str]:
    return (snapshot.node, device.uuid, device.model)


def _counters(snapshot: Snapshot) -> Iterator[Family]:
    time = counter("device_gpu_seconds", "Time of a device in each state", *_LABELS, "state")
    energy = counter("device_energy_joules", "Energy that a device drew", *_LABELS)
    unreserved = counter(
        "device_unreserved_gpu_seconds",
        "Time that processes without a reservation used of what nobody held; part of state used",
        *_LABELS,
        "owner_kind",
    )
    intruders = counter(
        "device_intruder_gpu_seconds",
        "Time that processes without a reservation used of what somebody else held; in no state",
        *_LABELS,
        "owner_kind",
    )
    xids = counter("device_xid_events", "Errors that the driver reported, by Xid; 999 is one above it", *_LABELS, "xid")
    for device in snapshot.devices:
        labels = _of(snapshot, device)
        for state, us in device.time_us.items():
            put(time, (*labels, state.value), us, MICRO)
        put(energy, labels, device.energy_mj, 1000)
        for kind, us in sorted(device.unreserved_us.items()):
            put(unreserved, (*labels, kind.value), us, MICRO)
        for kind, us in sorted(device.intruder_us.items()):
            put(intruders, (*labels, kind.value), us, MICRO)
        for xid, count in sorted(device.xids.items()):
            put(xids, (*labels, str(xid)), count)
    yield from (time, energy, unreserved, intruders, xids)


def _info(snapshot: Snapshot) -> Family:
    family = gauge(
        "device_info",
        "A device that was sampled; its value is 1. The index is for display only: it is not stable",
        *_LABELS,
        "index",
        "minor",
        "pci_bus_id",
        "mig",
    )
    for device in snapshot.devices:
        if device.info:
            put(family, (*_of(snapshot, device), *_described(device.info)), 1)
    return family


def _described(info: DeviceInfo) -> tuple[str, str, str, str]:
    minor = "" if info.minor is None else str(info.minor)
    return (str(info.index), minor, info.pci_bus_id, "enabled" if info.mig_enabled else "disabled")


def _gauges(snapshot: Snapshot) -> Iterator[Family]:
    def of(name: str, text: str, value: Callable[[DeviceSnapshot], float | None], divisor: int = 1) -> Family:
        family = gauge(f"device_{name}", text, *_LABELS)
        for device in snapshot.devices:
            put(family, _of(snapshot, device), value(device), divisor)
        return family

    def read(take: Callable[[Reading], int | None]) -> Callable[[DeviceSnapshot], int | None]:
        return lambda device: take(device.reading) if device.reading else None

    def vital(take: Callable[[Vitals], int | None]) -> Callable[[DeviceSnapshot], int | None]:
        return lambda device: take(device.vitals) if device.vitals else None

    busy = f"Share of time in which a kernel was executing, {_NOW}; absent where MIG is enabled"
    yield of("available", "Whether a device can be used (1), or is lost or must be reset (0)", lambda d: d.available)
    yield of("memory_used_bytes", f"Memory in use on a device, {_NOW}", read(lambda r: r.memory_used_bytes))
    yield of("memory_total_bytes", "Memory of a device", read(lambda r: r.memory_total_bytes))
    yield of(
        "ghost_memory_bytes", f"Memory that processes which are gone still hold, {_NOW}", lambda d: d.ghost_memory_bytes
    )
    yield of(
        "intruder_memory_bytes",
        "Memory of processes that have no reservation of what they run on while somebody else has; monitors left out",
        lambda d: d.intruder_memory_bytes,
    )
    yield of("utilization_ratio", busy, read(utilization_percent), 100)
    yield of("power_watts", f"Power that a device draws, {_NOW}", read(lambda r: r.power_mw), 1000)
    yield of("temperature_celsius", "Temperature of a device", vital(lambda v: v.temperature_c))
    yield of("sm_clock_hertz", "Clock of a device's multiprocessors", vital(lambda v: _hertz(v.sm_clock_mhz)))
    yield of("memory_clock_hertz", "Clock of a device's memory", vital(lambda v: _hertz(v.memory_clock_mhz)))


def _hertz(mhz: int | None) -> int | None:
    return None if mhz is None else mhz * MICRO


def _clocks_event_reasons(snapshot: Snapshot) -> Family:
    """Every reason that is known, and the bits that nobody has named yet."""
    family = gauge(
        "device_clocks_event_reason", "Whether this is why a device's clocks are not higher now", *_LABELS, "reason"
    )
    for device in snapshot.devices:
        mask = device.vitals.clocks_event_reasons if device.vitals else None
        if mask is None:
            continue
        for bit, reason in _reasons(mask).items():
            put(family, (*_of(snapshot, device), reason), bool(mask & bit))
    return family


def _reasons(mask: int) -> dict[int, str]:
    unnamed = (1 << bit for bit in range(mask.bit_length()) if mask >> bit & 1)
    return REASONS | {bit: hex(bit) for bit in unnamed if bit not in REASONS}


def _quality(snapshot: Snapshot) -> Family:
    family = gauge(
        "device_activity_ratio",
        "How well a device is used, by GPM (Hopper and newer); a figure of quality, never what is billed",
        *_LABELS,
        "figure",
    )
    for device in snapshot.devices:
        for figure, value in _figures(device.quality) if device.quality else ():
            put(family, (*_of(snapshot, device), figure), value, MICRO)
    return family


def _figures(gpm: GpmReading) -> tuple[tuple[str, int | None], ...]:
    return (
        ("graphics", gpm.graphics),
        ("sm", gpm.sm),
        ("occupancy", gpm.occupancy),
        ("tensor", gpm.tensor),
        ("dram", gpm.dram),
    )
