"""Accepted windows as rows of the tables, in the order of their columns."""

import json
from collections.abc import Iterable, Iterator, Mapping

from gputally.accounting.keys import Holding, Owner
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.collector.ingest.identities import Key

_Value = int | str | None


def device_key(device: DeviceWindow) -> Key:
    """What tells devices apart: the UUID, and the model for the case that a UUID comes twice."""
    return (device.uuid, device.model)


def owner_key(owner: Owner) -> Key:
    """An owner as the columns of its table."""
    return (
        owner.kind.value,
        owner.namespace,
        owner.pod,
        owner.container,
        owner.pod_uid,
        owner.first_seen_us,
        owner.user,
        owner.unit,
    )


def owners_of(devices: Iterable[DeviceWindow]) -> set[Owner]:
    """Everybody whom these devices' lines and edges name."""
    owners = set()
    for device in devices:
        owners |= {line.key.owner for line in device.lines}
        owners |= {holding.owner for holding in (*device.start_holders, *device.end_holders)}
    return owners


def device_rows(
    windows: Iterable[tuple[int, Window]], device_ids: Mapping[Key, int], owner_ids: Mapping[Owner, int]
) -> Iterator[tuple[_Value, ...]]:
    """Rows of `window_device`."""
    for window_id, window in windows:
        for device in window.devices:
            start = _holders(device.start_holders, device.profiles, owner_ids)
            stays = device.end_holders is device.start_holders
            yield (
                window_id,
                device_ids[device_key(device)],
                device.capacity_us,
                device.energy_start_mj,
                device.energy_end_mj,
                int(device.energy_estimated),
                device.energy_breaks,
                start,
                start if stays else _holders(device.end_holders, device.profiles, owner_ids),
                int(device.unavailable_at_end),
                device.idle_power_mw,
                device.ghost_memory_byte_s,
            )


def _holders(holdings: Iterable[Holding], profiles: Mapping[str, str], owner_ids: Mapping[Owner, int]) -> str | None:
    rows = [
        (owner_ids[h.owner], h.partition, profiles.get(h.partition, ""), *h.share.as_integer_ratio()) for h in holdings
    ]
    return json.dumps(rows, separators=(",", ":")) if rows else None


def line_rows(
    windows: Iterable[tuple[int, Window]], device_ids: Mapping[Key, int], owner_ids: Mapping[Owner, int]
) -> Iterator[tuple[_Value, ...]]:
    """Rows of `line`."""
    for window_id, window in windows:
        position = 0
        for device in window.devices:
            device_id = device_ids[device_key(device)]
            for line in device.lines:
                profile = device.profiles.get(line.key.partition, "")
                yield (window_id, position, device_id, *_line_values(line, owner_ids[line.key.owner], profile))
                position += 1


def _line_values(line: Line, owner_id: int, profile: str) -> tuple[_Value, ...]:
    key, quality = line.key, line.quality
    return (
        key.partition,
        owner_id,
        key.basis.value,
        key.reason.value,
        line.source.value,
        line.used_us,
        line.idle_us,
        line.unallocated_us,
        line.unavailable_us,
        line.unobserved_us,
        line.burst_us,
        line.intruder_us,
        line.held_us,
        line.energy_idle_mj,
        line.energy_dynamic_mj,
        profile,
        line.memory_byte_s,
        *(
            (quality.measured_us, quality.sm_us, quality.occupancy_us, quality.tensor_us, quality.dram_us)
            if quality
            else (None, None, None, None, None)
        ),
    )
