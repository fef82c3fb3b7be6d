"""The invariants of a window, as equations. The agent watches them at run time, the collector at its door.

I1  used + idle + unallocated + unavailable + unobserved = capacity, per device and window, to the microsecond
I2  the lines' energy sums to the counter's difference where the counter did not break, to the millijoule
I3  nothing is negative
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction

from gputally.accounting.line import DeviceWindow, Line, Window


def violations(window: Window) -> list[str]:
    """Every rule that the window breaks, one sentence each; an empty list is a good window."""
    return [
        *_time_violations(window),
        *(text for device in window.devices for text in _device_violations(window, device)),
    ]


def conservation_error_us(window: Window) -> int:
    """The sum over devices of |states - capacity|, microseconds; must be 0 (I1)."""
    return sum(abs(sum(line.capacity_us for line in device.lines) - device.capacity_us) for device in window.devices)


def _time_violations(window: Window) -> Iterator[str]:
    if window.end_us <= window.start_us:
        yield f"the window ends ({window.end_us}) before it starts ({window.start_us})"
    uuids = [device.uuid for device in window.devices]
    if len(set(uuids)) != len(uuids):
        yield "a device stands twice in the window"


def _device_violations(window: Window, device: DeviceWindow) -> Iterator[str]:
    states = sum(line.capacity_us for line in device.lines)
    if states != device.capacity_us:
        yield f"{device.uuid}: states sum to {states} us, capacity is {device.capacity_us} us (I1)"
    if device.capacity_us > window.end_us - window.start_us:
        yield f"{device.uuid}: capacity {device.capacity_us} us is longer than the window (I1)"
    if len({line.key for line in device.lines}) != len(device.lines):
        yield f"{device.uuid}: two lines have the same key"
    energy = _energy_violation(device)
    if energy:
        yield energy
    yield from _edge_violations(device)
    for line in device.lines:
        if _negative(line):
            yield f"{device.uuid}: a line of {line.key.owner.text} is negative (I3)"
        if _quality_violation(line):
            yield f"{device.uuid}: quality figures of {line.key.owner.text} are more than its time"


def _energy_violation(device: DeviceWindow) -> str:
    if device.energy_start_mj is None or device.energy_end_mj is None or device.energy_breaks:
        return ""
    energy = sum(line.energy_mj or 0 for line in device.lines)
    difference = device.energy_end_mj - device.energy_start_mj
    if energy == difference:
        return ""
    return f"{device.uuid}: lines hold {energy} mJ, the counter moved by {difference} mJ (I2)"


def _edge_violations(device: DeviceWindow) -> Iterator[str]:
    edges = [("start", device.start_holders)]
    if device.end_holders is not device.start_holders:
        edges.append(("end", device.end_holders))
    for edge, holders in edges:
        if not _within_a_device([holding.share for holding in holders]):
            yield f"{device.uuid}: shares at the window's {edge} are not within the device"
        if len({(holding.owner, holding.partition) for holding in holders}) != len(holders):
            yield f"{device.uuid}: a holder stands twice at the window's {edge}"
    if device.ghost_memory_byte_s < 0 or (device.idle_power_mw or 0) < 0:
        yield f"{device.uuid}: memory or power is negative (I3)"


def _within_a_device(shares: Sequence[Fraction]) -> bool:
    """Whether each is a part, and all together no more than the whole."""
    if any(share.numerator <= 0 for share in shares):
        return False
    if len({share.denominator for share in shares}) == 1:  # nearly always, and to add fractions takes long
        return sum(share.numerator for share in shares) <= shares[0].denominator
    return sum(shares) <= 1


def _quality_violation(line: Line) -> bool:
    """Whether a figure says more than all of its time."""
    quality = line.quality
    if quality is None:
        return False
    figures = (quality.sm_us, quality.occupancy_us, quality.tensor_us, quality.dram_us)
    return min(figures) < 0 or max(figures) > quality.measured_us or quality.measured_us > line.capacity_us


def _negative(line: Line) -> bool:
    amounts = (
        line.used_us,
        line.idle_us,
        line.unallocated_us,
        line.unavailable_us,
        line.unobserved_us,
        line.burst_us,
        line.intruder_us,
        line.held_us,
        line.energy_idle_mj or 0,
        line.energy_dynamic_mj or 0,
        line.memory_byte_s or 0,
    )
    return min(amounts) < 0
