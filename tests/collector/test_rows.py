"""Rows made from a message's columns are those that stand in the window line by line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import given
from tests.spoiled import messages

from gputally.accounting.keys import Holding
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.collector.ingest.columns import WindowColumns, read
from gputally.collector.ingest.identities import Key, owner_key
from gputally.collector.ingest.rows import device_rows, line_rows, number
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

WINDOW_ID = 5
_Row = tuple[Any, ...]


def ids(window: WindowColumns) -> tuple[Mapping[Key, int], Mapping[Key, int]]:
    """Ids for every device and every owner that is named."""
    devices = {device.key: 100 + at for at, device in enumerate(window.devices)}
    return devices, {window.owners[place]: 200 + place for place in window.named()}


@given(messages())
def test_rows_are_those_of_the_window_line_by_line(message: pb.Window) -> None:
    try:
        window = codec.decode(message)
    except codec.WireError:
        return
    columns = read(message)
    devices, owners = ids(columns)
    numbered = number(WINDOW_ID, columns, devices, owners)
    assert list(device_rows([numbered])) == list(_device_rows(window, devices, owners))
    assert list(line_rows([numbered])) == list(_line_rows(window, devices, owners))


def _device_rows(window: Window, devices: Mapping[Key, int], owners: Mapping[Key, int]) -> Iterator[_Row]:
    for part in window.devices:
        yield (
            WINDOW_ID,
            devices[part.uuid, part.model],
            part.capacity_us,
            part.energy_start_mj,
            part.energy_end_mj,
            int(part.energy_estimated),
            part.energy_breaks,
            _holders(part.start_holders, part, owners),
            _holders(part.end_holders, part, owners),
            int(part.unavailable_at_end),
            part.idle_power_mw,
            part.ghost_memory_byte_s,
        )


def _holders(holdings: Sequence[Holding], part: DeviceWindow, owners: Mapping[Key, int]) -> str | None:
    rows = [
        (owners[owner_key(h.owner)], h.partition, part.profiles.get(h.partition, ""), *h.share.as_integer_ratio())
        for h in holdings
    ]
    return json.dumps(rows, separators=(",", ":")) if rows else None


def _line_rows(window: Window, devices: Mapping[Key, int], owners: Mapping[Key, int]) -> Iterator[_Row]:
    lines = [(part, line) for part in window.devices for line in part.lines]
    for position, (part, line) in enumerate(lines):
        profile = part.profiles.get(line.key.partition, "")
        place = (WINDOW_ID, position, devices[part.uuid, part.model])
        yield (*place, *_line(line, owners[owner_key(line.key.owner)], profile))


def _line(line: Line, owner_id: int, profile: str) -> _Row:
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
        *((quality.measured_us, quality.sm_us, quality.occupancy_us) if quality else (None,) * 3),
        *((quality.tensor_us, quality.dram_us) if quality else (None,) * 2),
    )
