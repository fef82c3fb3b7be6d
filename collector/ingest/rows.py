"""Accepted windows as rows of the tables, in the order of their columns."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count, repeat
from typing import NamedTuple, TypeAlias

from gputally.collector.database.coded import BASIS, REASON, SOURCE
from gputally.collector.ingest.columns import Holder, WindowColumns
from gputally.collector.ingest.identities import Key
from gputally.proto.columns import BASES, REASONS, SOURCES, STATES

_Value: TypeAlias = int | str | None
_BASES = BASIS.codes(BASES)
_REASONS = REASON.codes(REASONS)
_SOURCES = SOURCE.codes(SOURCES)
_KNOWN = len(STATES)


class Numbered(NamedTuple):
    """An accepted window, and the ids of what is in its tables; an owner whom nothing names has none."""

    window_id: int
    window: WindowColumns
    devices: Sequence[int]
    owners: Sequence[int | None]


def number(
    window_id: int, window: WindowColumns, device_ids: Mapping[Key, int], owner_ids: Mapping[Key, int]
) -> Numbered:
    """A window with its ids; `device_ids` are those of all its devices, `owner_ids` of all owners that it names."""
    devices = [device_ids[device.key] for device in window.devices]
    return Numbered(window_id, window, devices, [owner_ids.get(owner) for owner in window.owners])


def device_rows(windows: Iterable[Numbered]) -> Iterator[tuple[_Value, ...]]:
    """Rows of `window_device`."""
    for window_id, window, devices, owners in windows:
        names = [_joined(*name) for name in zip(window.partitions, window.profiles, strict=True)]
        for device_id, device in zip(devices, window.devices, strict=True):
            start = _holders(device.start_holders, owners, names)
            stays = device.end_holders is device.start_holders
            yield (
                window_id,
                device_id,
                device.capacity_us,
                device.energy_start_mj,
                device.energy_end_mj,
                int(device.energy_estimated),
                device.energy_breaks,
                start,
                start if stays else _holders(device.end_holders, owners, names),
                int(device.unavailable_at_end),
                device.idle_power_mw,
                device.ghost_memory_byte_s,
            )


def _joined(partition: str, profile: str) -> str:
    """A partition and its profile, as they stand in JSON."""
    return f"{json.dumps(partition)},{json.dumps(profile)}"


def _holders(holders: Iterable[Holder], owners: Sequence[int | None], names: Sequence[str]) -> str | None:
    rows = [
        f"[{owners[owner]},{names[partition]},{numerator},{denominator}]"
        for owner, partition, numerator, denominator in holders
    ]
    return f"[{','.join(rows)}]" if rows else None


def line_rows(windows: Iterable[Numbered]) -> Iterator[tuple[_Value, ...]]:
    """Rows of `line`."""
    for window_id, window, devices, owners in windows:
        lines = window.lines
        yield from zip(
            repeat(window_id, len(lines.device)),
            count(),
            map(devices.__getitem__, lines.device),
            map(owners.__getitem__, lines.owner),
            *lines.times[:_KNOWN],
            lines.energy_idle_mj,
            lines.energy_dynamic_mj,
            lines.memory_byte_s,
            *map(_seldom, lines.times[_KNOWN:]),
            *lines.quality,
            map(_BASES.__getitem__, lines.basis),
            map(_REASONS.__getitem__, lines.reason),
            map(_SOURCES.__getitem__, lines.source),
            map(window.partitions.__getitem__, lines.partition),
            map(window.profiles.__getitem__, lines.partition),
            strict=False,  # the positions have no end
        )


def _seldom(times: Sequence[int]) -> Iterable[int | None]:
    """A column of a memo as it stands in the table."""
    return (us or None for us in times) if any(times) else repeat(None)
