"""Rows made from a message's columns are those that stand in the window line by line."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hypothesis import given
from sqlalchemy import Column
from tests.spoiled import messages

from gputally.accounting.keys import Holding
from gputally.accounting.line import DeviceWindow, Line, Window
from gputally.collector.database import schema
from gputally.collector.database.coded import Coded
from gputally.collector.database.seldom import Seldom
from gputally.collector.ingest.columns import WindowColumns, read
from gputally.collector.ingest.identities import Key, owner_key
from gputally.collector.ingest.layout import shared
from gputally.collector.ingest.rows import Numbered, device_rows, line_rows, number
from gputally.proto import codec
from gputally.proto import telemetry_pb2 as pb

WINDOW_ID = 5
_Row = tuple[Any, ...]


def ids(window: WindowColumns) -> tuple[Mapping[Key, int], Mapping[Key, int]]:
    """Ids for every device and every owner that is named."""
    devices = {device.key: 100 + at for at, device in enumerate(window.devices)}
    return devices, {window.layout.owners[place]: 200 + place for place in window.layout.named()}


@given(messages())
def test_rows_are_those_of_the_window_line_by_line(message: pb.Window) -> None:
    try:
        window = codec.decode(message)
    except codec.WireError:
        return
    columns = read(message)
    devices, owners = ids(columns)
    numbered = Numbered(WINDOW_ID, columns, number(columns.layout, devices, owners))
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
        place = {
            "window_id": WINDOW_ID,
            "position": position,
            "device_id": devices[part.uuid, part.model],
            "owner_id": owners[owner_key(line.key.owner)],
            "profile": part.profiles.get(line.key.partition, ""),
        }
        values = place | _line(line)
        yield tuple(_as_it_stands(column, values[column.name]) for column in schema.line.columns)


def _as_it_stands(column: Column[Any], value: Any) -> Any:
    """Words as their numbers, and nothing as NULL."""
    kind: Any = column.type
    return kind.process_bind_param(value, None) if isinstance(kind, Coded | Seldom) else value


def _line(line: Line) -> dict[str, Any]:
    quality = line.quality
    figures = (
        (quality.measured_us, quality.sm_us, quality.occupancy_us, quality.tensor_us, quality.dram_us)
        if quality
        else (None,) * 5
    )
    return {
        **{name: getattr(line, name) for name in (*schema.AMOUNTS, "memory_byte_s")},
        **dict(zip(("quality_us", "sm_us", "occupancy_us", "tensor_us", "dram_us"), figures, strict=True)),
        "partition": line.key.partition,
        "basis": line.key.basis.value,
        "reason": line.key.reason.value,
        "source": line.source.value,
    }


def test_columns_that_are_alike_are_one_object_and_long_ones_are_not_kept() -> None:
    """Nodes of a kind have them in common; a column of thousands of lines would be kept after its layout is gone."""
    assert shared([1, 2]) is shared((1, 2))
    assert shared(range(65)) == tuple(range(65))
    assert shared(range(65)) is not shared(range(65))
